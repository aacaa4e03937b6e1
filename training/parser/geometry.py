"""Where a face's parts lie in a picture, by the outlines that 468 landmarks draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from synthface.errors import PhotoError
from synthface.networks.parser import CLASSES

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

BACKGROUND, SKIN, HAIR, BODY, BROW, EYE, LIP, MOUTH = range(len(CLASSES))
#: Points of the face mesh around each part, later ones drawn over earlier ones.
_OUTLINES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (SKIN, (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
            136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)),
    (BROW, (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)),
    (BROW, (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)),
    (EYE, (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)),
    (EYE, (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)),
    (LIP, (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)),
    (MOUTH, (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)),
)  # fmt: skip
_FOREHEAD, _CHIN, _TEMPLES = 10, 152, (234, 454)
#: Outlines are drawn at this multiple of the size.
_FINE = 4


@dataclass(frozen=True)
class FaceMap:
    """A face in a picture of S × S px.

    Args:
        parts: (S, S) class of each pixel of the face, brows, eyes, lips and mouth included; `BACKGROUND` off the face.
        height: (S, S) along the face, 0 at the chin, 1 at the upper end of the mesh, high on the forehead.
        side: (S, S) across the face, in the same unit, 0 midway between the temples.
    """

    parts: U8
    height: F32
    side: F32


def face_map(landmarks: npt.NDArray[np.floating], size_px: int) -> FaceMap:
    """The face whose landmarks (468, 2) lie there, px of a picture of `size_px`.

    Raises:
        PhotoError: there aren't 468.
    """
    if len(landmarks) != 468:
        raise PhotoError(
            f"{len(landmarks)} landmarks a face; the outlines of its parts need the face mesh's 468: prepare the photos with "
            "--detector facemesh"
        )
    points = np.asarray(landmarks, np.float64)
    drawn = Image.new("L", (size_px * _FINE, size_px * _FINE))
    draw = ImageDraw.Draw(drawn)
    for part, outline in _OUTLINES:
        draw.polygon([tuple(p) for p in (points[list(outline)] * _FINE).tolist()], fill=part)
    parts = np.asarray(drawn)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
    up = points[_FOREHEAD] - points[_CHIN]
    length = float(np.linalg.norm(up))
    up /= length
    centres = np.stack(np.meshgrid(*[np.arange(size_px) + 0.5] * 2), axis=-1)
    height = (centres - points[_CHIN]) @ up / length
    side = (centres - points[list(_TEMPLES)].mean(axis=0)) @ np.array([-up[1], up[0]]) / length
    return FaceMap(parts, height.astype(np.float32), side.astype(np.float32))
