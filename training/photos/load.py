"""The photos of a folder: which files, under which keys, and their pixels whatever the file's colours and orientation."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from synthface.errors import PhotoError

#: Files with other suffixes aren't photos.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2"}
    | {".avif", ".heic", ".heif"}
)


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Args:
        sources: photos as paths below the folder, sorted; the order of landmark arrays.
        ignored: files that aren't photos by their suffix, sorted.
    """

    sources: tuple[str, ...]
    ignored: tuple[str, ...]


class UnreadablePhotoError(PhotoError):
    """A photo's file is damaged, too large, or of a kind that Pillow doesn't read."""


def list_photos(folder: Path) -> Listing:
    """All photos below a folder; hidden files and folders aren't looked at.

    Raises:
        PhotoError: it isn't a folder, or there is no photo in it.
    """
    if not folder.is_dir():
        raise PhotoError(f"{folder}: not a folder; name the folder that holds the photos")
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = sorted(path.as_posix() for path in relative if not any(part.startswith(".") for part in path.parts))
    photos = tuple(name for name in files if Path(name).suffix.lower() in SUFFIXES)
    if not photos:
        raise PhotoError(f"{folder}: no photo among {len(files)} files; allowed: {', '.join(sorted(SUFFIXES))}")
    return Listing(photos, tuple(name for name in files if Path(name).suffix.lower() not in SUFFIXES))


def photo_keys(sources: Iterable[str]) -> tuple[str, ...]:
    """A key per photo: its path without suffix, in ASCII letters, digits, `-` and `_`; numbered where two would be alike."""
    taken: set[str] = set()
    keys = []
    for source in sources:
        plain = (
            unicodedata.normalize("NFKD", Path(source).with_suffix("").as_posix()).encode("ascii", "ignore").decode()
        )
        stem = re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-") or "photo"
        key, number = stem, 2
        while key in taken:
            key, number = f"{stem}_{number}", number + 1
        taken.add(key)
        keys.append(key)
    return tuple(keys)


def load_photo(path: Path, *, max_megapixels: float = 100.0) -> Image.Image:
    """A photo as upright 8-bit sRGB.

    Grey, CMYK, 16-bit and palette pictures are converted, transparent ones laid on mid-grey, animations reduced to their
    first picture, embedded colour profiles applied.

    Raises:
        UnreadablePhotoError: with the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which nobody can act on
            with Image.open(path) as image:
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise UnreadablePhotoError(f"{megapixels:.0f} megapixels, more than {max_megapixels:.0f}")
                image.load()
                return _plain(ImageOps.exif_transpose(image))
    except UnreadablePhotoError:
        raise
    except MemoryError:
        raise UnreadablePhotoError("not enough memory") from None
    except Exception as error:  # decoders raise all kinds on damaged files
        raise UnreadablePhotoError(f"{str(error) or type(error).__name__}".replace(str(path), "the file")) from error


def _plain(image: Image.Image) -> Image.Image:
    """8-bit sRGB without alpha."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _deep_grey(image)
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    return _to_srgb(image, profile).convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits; what isn't in that range has no known white."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UnreadablePhotoError(
            f"{image.mode} pixels from {values.min():.4g} to {values.max():.4g}; save it in 8 bits"
        )
    return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture with its colour profile applied, where it has one that fits."""
    if not profile:
        return image
    mode = "RGB" if image.mode == "RGBA" else image.mode
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return (
            ImageCms.profileToProfile(image.convert(mode), own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            or image
        )
    except ImageCms.PyCMSError:
        return image  # of another colour space than the picture: viewers show it without, too
