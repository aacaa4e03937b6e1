"""One photo: read, find the face, judge, align, encode."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from synthface.errors import PhotoError
from training.photos.align import (
    CANVAS_PX,
    FRAME_PX,
    MARGIN_PX,
    apply_crop,
    crop_of,
    cut,
    five_points,
    model_five_points,
)
from training.photos.detector import Detector, Face
from training.photos.load import UnreadablePhotoError, load_photo
from training.photos.parts import Accepted, Rejected
from training.photos.quality import PrepareRecipe, Rejection, check_picture, check_place, choose_face, sharpness

F64 = npt.NDArray[np.float64]

#: Size of a rejected photo on the sheet.
THUMBNAIL_PX = 144


@dataclass(frozen=True)
class Preparer:
    """What it takes to prepare a photo.

    Args:
        recipe: the bounds.
        detector: finds faces; None where all landmarks are given.
        is_given: whether landmarks are given; with a detector they say which face is meant.
    """

    recipe: PrepareRecipe
    detector: Detector | None
    is_given: bool

    def __call__(self, path: Path, given: F64 | None = None) -> Accepted | Rejected:
        """Prepare the photo at `path`; `given` (L, 2) are its landmarks where the user brings them."""
        photo: Image.Image | None = None
        try:
            photo = self._load(path)
            return self._accept(photo, self._face(photo, given, path))
        except Rejection as rejection:
            return Rejected(rejection.reason, rejection.detail, _thumbnail(photo, rejection.place))

    def _load(self, path: Path) -> Image.Image:
        try:
            return load_photo(path, max_megapixels=self.recipe.max_megapixels)
        except UnreadablePhotoError as error:
            raise Rejection("can't be read", str(error)) from error

    def _face(self, photo: Image.Image, given: F64 | None, path: Path) -> Face:
        if self.is_given and given is None:
            raise Rejection("no landmarks", "none are given for it")
        if self.detector is None:
            assert given is not None
            return Face(given, 1.0, float(np.ptp(given[:, 0])))
        near = None if given is None else five_points(given)
        try:
            faces = self.detector.find(np.asarray(photo), near)
        except Exception as error:  # a stranger's code
            raise PhotoError(f"{path}: the detector failed on it: {type(error).__name__}: {error}") from error
        return choose_face(faces, self.recipe)

    def _accept(self, photo: Image.Image, face: Face) -> Accepted:
        crop = crop_of(five_points(face.landmarks), model_five_points())
        check_place(face.landmarks, crop, photo.size, self.recipe)
        canvas, coverage = cut(photo, crop, CANVAS_PX, margin=MARGIN_PX / FRAME_PX)
        pixels = np.asarray(canvas)
        sharp = sharpness(pixels)
        check_picture(coverage, sharp, face.landmarks, self.recipe)
        return Accepted(
            jpeg=_jpeg(canvas, self.recipe.jpeg_quality),
            digest=hashlib.sha256(pixels.tobytes()).digest()[:16],
            crop=crop,
            landmarks=apply_crop(crop, face.landmarks) + MARGIN_PX,
            score=face.score,
            sharpness=sharp,
            coverage=coverage,
        )


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _thumbnail(photo: Image.Image | None, place: F64 | None) -> bytes:
    """A small JPEG of a rejected photo: of the face and as much again around it, else of the whole."""
    if photo is None:
        return b""
    if place is not None and np.isfinite(place).all():
        half = max(8.0, float((place[2:] - place[:2]).max()))
        centre = ((place[:2] + place[2:]) / 2).clip(0, photo.size)
        low, high = (centre - half).clip(0), np.minimum(centre + half, photo.size)
        photo = photo.crop((*np.floor(low).astype(int).tolist(), *np.ceil(high).astype(int).tolist()))
    photo = photo.copy()
    photo.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return _jpeg(photo, 85)
