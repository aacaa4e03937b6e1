"""Photos as a leakage check reads them: names, descriptors, and faces to look at.

Three things will do: a folder that `python -m training prepare` wrote (photos with their landmarks), a folder of photos with
a file of landmarks, or a file of descriptors that `python -m training recognition describe` wrote, which needs no photos.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.errors import PhotoError
from synthface.quality.canonical import recognition_digest

if TYPE_CHECKING:
    from synthface.networks.recognition import Recognition

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

DESCRIPTORS = "synthface-descriptors-1"
_PACKED, _TABLE = "photos.safetensors", "photos.parquet"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Photos:
    """M photos with a face in each.

    Args:
        names: their paths below the folder.
        descriptors: (M, D) raw.
        face: number to the face as f_id sees it, (H, W, 3); None where there are only descriptors.
    """

    names: tuple[str, ...]
    descriptors: F32
    face: Callable[[int], U8] | None

    def __len__(self) -> int:
        return len(self.names)


def read_photos(
    path: Path,
    recognition: Recognition,
    *,
    landmarks: Path | None = None,
    on_photos: Callable[[int, int], None] = lambda done, total: None,
) -> Photos:
    """Photos and what f_id says of them.

    Args:
        path: a prepared folder, a folder of photos, or a file of descriptors.
        recognition: f_id.
        landmarks: of a folder of photos: .npy (M, 68 or 468, 2), px, in the order of the sorted paths, NaN for no face.
        on_photos: told (done, total) after each.

    Raises:
        PhotoError: there are no photos, or no landmarks to crop their faces by.
    """
    if path.is_file():
        return _read_descriptors(path, recognition)
    if (path / _TABLE).is_file():
        names, load = _prepared(path)
    elif path.is_dir():
        names, load = _folder(path, landmarks)
    else:
        raise PhotoError(f"{path}: isn't there; name a folder of photos or a file of descriptors")
    rows = []
    for number in range(len(names)):
        crop = _crop(recognition, *load(number))
        rows.append(_described(recognition, crop))
        on_photos(number + 1, len(names))
    if len(rows) < 2:
        raise PhotoError(f"{path}: {len(rows)} photos with a face; give at least 2, better thousands")
    return Photos(names, np.stack(rows), lambda number: picture_of(_crop(recognition, *load(number))))


def write_descriptors(path: Path, names: tuple[str, ...], descriptors: F32, recognition: Recognition) -> None:
    """A file of descriptors (M, D) that stands for the photos."""
    from safetensors.numpy import save_file

    about = {"format": DESCRIPTORS, "recognition_sha256": recognition_digest(recognition), "names": json.dumps(names)}
    save_file({"descriptors": np.ascontiguousarray(descriptors, np.float32)}, path, metadata=about)


def _read_descriptors(path: Path, recognition: Recognition) -> Photos:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about, descriptors = file.metadata() or {}, file.get_tensor("descriptors")
        names = tuple(json.loads(about["names"]))
        is_ours = about["format"] == DESCRIPTORS and len(names) == len(descriptors)
    except (SafetensorError, KeyError, ValueError) as error:
        raise PhotoError(f"{path}: no file of descriptors ({error}); {_HOW}") from error
    if not is_ours:
        raise PhotoError(f"{path}: no file of descriptors (format {about['format']!r}); {_HOW}")
    if about["recognition_sha256"] != recognition_digest(recognition):
        raise PhotoError(f"{path}: its descriptors are of another recognition network; {_HOW}")
    return Photos(names, descriptors, None)


_HOW = "`python -m training recognition describe PHOTOS OUT` writes one"


def _prepared(folder: Path) -> tuple[tuple[str, ...], Callable[[int], tuple[U8, F32]]]:
    """A prepared folder: JPEG files end to end in one file, and a table of landmarks in px of each."""
    import pyarrow.parquet as pq
    from safetensors import SafetensorError, safe_open

    try:
        table = pq.read_table(folder / _TABLE, columns=["source", "landmarks"])
        packed: Any = safe_open(folder / _PACKED, framework="numpy")
        offsets = packed.get_tensor("offsets")
    except (OSError, SafetensorError, ValueError) as error:
        raise PhotoError(f"{folder}: not a whole prepared folder ({error}); prepare the photos again") from error
    points = np.stack(table.column("landmarks").to_pylist()).astype(np.float32).reshape(table.num_rows, -1, 2)
    if points.shape[1] == 5:
        raise PhotoError(f"{folder}: five landmarks each; allowed: 68 or 468, which hold the corners of the eyes")
    jpeg = packed.get_slice("jpeg")

    def load(number: int) -> tuple[U8, F32]:
        return _decoded(jpeg[int(offsets[number]) : int(offsets[number + 1])].tobytes()), points[number]

    return tuple(table.column("source").to_pylist()), load


def _folder(folder: Path, landmarks: Path | None) -> tuple[tuple[str, ...], Callable[[int], tuple[U8, F32]]]:
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if landmarks is None:
        raise PhotoError(
            f"{folder}: where are the faces? Give --landmarks FILE.npy, a folder that `python -m training prepare` wrote, or "
            f"a file of descriptors ({_HOW})"
        )
    try:
        points = np.load(landmarks, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{landmarks}: can't be read as an array ({error})") from error
    if (
        points.ndim != 3
        or points.shape[1] not in (68, 468)
        or points.shape[2] not in (2, 3)
        or len(points) != len(files)
    ):
        raise PhotoError(
            f"{landmarks}: found the shape {points.shape} for {len(files)} photos; allowed: ({len(files)}, 68 or 468, 2), px, "
            "in the order of their sorted paths, NaN where a photo has no face"
        )
    found = [number for number in range(len(files)) if np.isfinite(points[number]).all()]

    def load(number: int) -> tuple[U8, F32]:
        which = found[number]
        return _decoded((folder / files[which]).read_bytes()), points[which, :, :2].astype(np.float32)

    return tuple(files[number] for number in found), load


def _decoded(content: bytes) -> U8:
    from PIL import Image, ImageOps

    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


def _crop(recognition: Recognition, image: U8, landmarks_px: F32) -> Any:
    """The crop (1, 3, size, size) that f_id looks at."""
    import torch

    # Copies: torch warns of arrays that may only be read, as tables and photos give them.
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    size = torch.tensor([image.shape[1], image.shape[0]])
    points = (torch.from_numpy(np.array(landmarks_px, np.float32)) / size)[None]
    return recognition.crop(pixels.to(recognition.mean.device), points.to(recognition.mean.device))


def _described(recognition: Recognition, crop: Any) -> F32:
    import torch

    with torch.no_grad():
        descriptor: F32 = recognition.network(crop)[0].cpu().numpy()
    return descriptor


def face_of(recognition: Recognition, image: U8, landmarks_px: F32) -> tuple[F32, U8]:
    """Descriptor (D,) of a picture's face, and the face (size, size, 3) as f_id sees it."""
    crop = _crop(recognition, image, landmarks_px)
    return _described(recognition, crop), picture_of(crop)


def picture_of(crop: Any) -> U8:
    """A crop (1, 3, H, W) as a picture (H, W, 3)."""
    pixels: U8 = ((crop[0].permute(1, 2, 0) + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return pixels
