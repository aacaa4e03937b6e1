"""Which photos are of use, and why the others aren't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from training.photos.align import CANVAS_PX, MARGIN_PX, five_points, model_five_points, model_landmarks68, resemblance
from training.photos.detector import Face

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PrepareRecipe:
    """What a photo must be to be accepted. The defaults suit generators of 128²; for 256² double the first two.

    Args:
        min_eye_distance_px: from eye to eye in the source. At 128² the model's eyes are 43 px apart.
        min_sharpness: variance of the face's Laplacian, 8-bit units, at `FRAME_PX`. Sharp photos of 384² have 110 to 470, of
            155² (eyes 36 px apart) 22 to 87; blurred by 2 px of 384² 4 to 10, by 3 px at most 4. It falls with the square of
            the exposure: at a third of the light sharp ones have 13 to 54.
        min_coverage: share of the crop, margin and all, that the photo must cover.
        max_outside: share of the face's landmarks that may lie beyond the photo's edges.
        max_roll_deg: in the picture plane, either way.
        max_second_face: how wide another face may be, as a share of the largest one's width; 1 takes the largest, whoever
            else is there.
        min_score: the detector's confidence.
        max_megapixels: larger photos aren't opened.
        jpeg_quality: of the packed photos.
    """

    min_eye_distance_px: float = 36.0
    min_sharpness: float = 10.0
    min_coverage: float = 0.6
    max_outside: float = 0.02
    max_roll_deg: float = 45.0
    max_second_face: float = 0.5
    min_score: float = 0.5
    max_megapixels: float = 100.0
    jpeg_quality: int = 95

    def __post_init__(self) -> None:
        for name in ("min_coverage", "max_outside", "max_second_face", "min_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: found {getattr(self, name)}; allowed: 0 to 1")
        for name in ("min_eye_distance_px", "min_sharpness", "max_roll_deg"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: found {getattr(self, name)}; allowed: 0 or more")
        if not 1 <= self.jpeg_quality <= 100 or self.max_megapixels <= 0:
            raise ValueError("jpeg_quality must be 1 to 100 and max_megapixels more than 0")


class Rejection(Exception):  # noqa: N818
    """Why a photo isn't taken.

    Args:
        reason: one of `REASONS`.
        detail: what was found, and what was needed.
        place: (4,) left, top, right, bottom of the face, px of the photo, where there is one.
    """

    def __init__(self, reason: str, detail: str = "", place: F64 | None = None) -> None:
        assert reason in REASONS
        super().__init__(reason, detail)
        self.reason, self.detail, self.place = reason, detail, place


#: In the order in which photos are looked at; a photo has the first that applies.
REASONS = (
    "can't be read",
    "no landmarks",
    "no face",
    "several faces",
    "too unsure",
    "odd landmarks",
    "too far rolled",
    "too small",
    "cut off by the edge",
    "little around the face",
    "blurred",
    "duplicate",
)


def choose_face(faces: Sequence[Face], recipe: PrepareRecipe) -> Face:
    """The face that the photo is of.

    Raises:
        Rejection: there is none, or more than one.
    """
    if not faces:
        raise Rejection("no face")
    first, *others = faces
    rival = max((face.width_px for face in others), default=0.0) / first.width_px
    if rival > recipe.max_second_face:
        detail = f"{len(faces)} faces; the second is {rival:.2f} times as wide, more than {recipe.max_second_face:g}"
        raise Rejection("several faces", detail)
    if first.score < recipe.min_score:
        detail = f"confidence {first.score:.2f}, less than {recipe.min_score:g}"
        raise Rejection("too unsure", detail, _box(first.landmarks))
    return first


#: Eyes, nose and mouth of a face turned by 60° still have a correlation of 0.95 with the mean head's; with left and right
#: exchanged it is 0.2.
_MIN_ALIKE = 0.8


def check_place(landmarks: F64, crop: F64, size: tuple[int, int], recipe: PrepareRecipe) -> None:
    """Whether the face is one, upright, large enough and inside the photo.

    Args:
        landmarks: (L, 2) px of the photo.
        crop: (3,) px of the photo to px of the frame.
        size: width and height of the photo.
        recipe: the bounds.

    Raises:
        Rejection: it isn't.
    """
    five = five_points(landmarks)
    roll, alike = resemblance(five, model_five_points())
    if alike < _MIN_ALIKE:
        raise Rejection(
            "odd landmarks", "not a face's; do they begin with the eye on the image's left?", _box(landmarks)
        )
    if abs(np.degrees(roll)) > recipe.max_roll_deg:
        detail = f"rolled by {abs(np.degrees(roll)):.0f}°, more than {recipe.max_roll_deg:g}°"
        raise Rejection("too far rolled", detail, _box(landmarks))
    distance = float(np.linalg.norm(five[1] - five[0]))
    if distance < recipe.min_eye_distance_px:
        detail = f"{distance:.0f} px from eye to eye, less than {recipe.min_eye_distance_px:g}"
        raise Rejection("too small", detail, _box(landmarks))
    # Five points say nothing about chin and brow: there the mean head's landmarks stand in.
    whole = landmarks if len(landmarks) > 5 else (model_landmarks68() - crop[1:]) / crop[0]
    outside = float(((whole < 0) | (whole > size)).any(axis=1).mean())
    if outside > recipe.max_outside:
        detail = f"{outside:.0%} of the landmarks are beyond the edge, more than {recipe.max_outside:.0%}"
        raise Rejection("cut off by the edge", detail, _box(landmarks))


def check_picture(coverage: float, sharp: float, landmarks: F64, recipe: PrepareRecipe) -> None:
    """Whether the crop is covered and sharp enough.

    Raises:
        Rejection: it isn't.
    """
    if coverage < recipe.min_coverage:
        detail = f"the photo covers {coverage:.2f} of the crop, less than {recipe.min_coverage:g}"
        raise Rejection("little around the face", detail, _box(landmarks))
    if sharp < recipe.min_sharpness:
        detail = f"sharpness {sharp:.1f}, less than {recipe.min_sharpness:g}"
        raise Rejection("blurred", detail, _box(landmarks))


def _box(landmarks: F64) -> F64:
    return np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])


#: ITU-R BT.601, as 8-bit luminance is commonly measured.
_LUMA = np.array([0.299, 0.587, 0.114])


def sharpness(canvas: U8) -> float:
    """Variance of the Laplacian of the face's luminance, 8-bit units.

    Args:
        canvas: (`CANVAS_PX`, `CANVAS_PX`, 3) the aligned photo: at the frame's scale, whatever the source's.
    """
    grey = canvas @ _LUMA
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian[_face()].var())


@lru_cache(maxsize=1)
def _face() -> npt.NDArray[np.bool_]:
    """(`CANVAS_PX` − 2)² an ellipse from the brows to below the mouth, where alignment puts them."""
    five = model_five_points() + MARGIN_PX
    eyes, mouth = five[:2].mean(axis=0), five[3:].mean(axis=0)
    centre = (eyes + mouth) / 2
    across, along = 0.85 * (five[1, 0] - five[0, 0]), 0.9 * (mouth[1] - eyes[1])
    x = np.arange(1, CANVAS_PX - 1) + 0.5
    return ((x[None] - centre[0]) / across) ** 2 + ((x[:, None] - centre[1]) / along) ** 2 < 1
