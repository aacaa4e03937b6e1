"""468 landmarks of each face: BlazeFace finds it, the face mesh looks at it with the eyes level.

Source: Kartynnik et al. 2019, `Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs`; the square around the
face as in the published graph of the networks: 1.5 times the box, turned by the line through the eyes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from training.photos.blazeface import FAR, NEAR, BlazeFace, Found, merge
from training.photos.detector import F64, U8, Face
from training.photos.tflite import Network, turned_square

#: The square around a face, in sides of its box.
_ROOM = 1.5
#: From this score on the near network's box is preferred to the far one's.
_SURE = 0.7
#: Smaller squares are smaller than the far network's input.
_MIN_SQUARE_PX = 192
#: Below this the mesh says that it doesn't look at a face.
_MIN_PRESENCE = 0.5
#: Of the mesh's points: the outer corners of the right and the left eye.
_EYE_CORNERS = (33, 263)


class FaceMesh:
    """The detector by name of `facemesh`.

    Args:
        passes: how often the mesh looks; from the second time on, the square is laid around the landmarks found before.

    Raises:
        MissingExtraError: `ai-edge-litert` isn't installed.
    """

    def __init__(self, passes: int = 1) -> None:
        self._near, self._far = BlazeFace(NEAR), BlazeFace(FAR)
        self._mesh = Network("face_landmark")
        self._passes = passes

    def find(self, photo: U8, near: F64 | None = None) -> list[Face]:
        """The faces of a photo (H, W, 3), the largest first; see `Detector`."""
        if near is not None:
            return self._landmarks(photo, [_around(near)])
        # The first way of looking that finds any.
        looks = (self._landmarks(photo, places) for places in self._looks(Image.fromarray(photo)))
        return next(filter(None, looks), [])

    def _looks(self, photo: Image.Image) -> Iterator[list[Found]]:
        """Where faces may be, by one way of looking after the other."""
        width, height = photo.size
        side, short = max(width, height), min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        near, far = (network(photo, left, top, side) for network in (self._near, self._far))
        # Where the near network isn't sure the face is small, and the far one places it better.
        yield merge([*(face for face in near if face.score >= _SURE), *far, *near])
        # A face that fills the picture: from further away.
        yield self._near(photo, left - side / 2, top - side / 2, 2.0 * side)
        # Small faces: squares of half the side, overlapping by half.
        half = max(short / 2, side / 4)
        if half >= _MIN_SQUARE_PX:
            starts = itertools.product(_starts(width, half), _starts(height, half))
            found = [face for x, y in starts for face in self._far(photo, x, y, half)]
            yield merge(sorted(found, key=lambda face: -face.score))

    def _landmarks(self, photo: U8, places: Sequence[Found]) -> list[Face]:
        """The faces at places that the mesh says are faces, the largest first."""
        faces = (self._landmark(photo, place) for place in places)
        return sorted((face for face in faces if face is not None), key=lambda face: -face.width_px)

    def _landmark(self, photo: U8, place: Found) -> Face | None:
        box, eyes = place.box, place.points[:2]
        for _ in range(self._passes):
            to_photo = _square(box, eyes, self._mesh.size_px)
            outputs = self._mesh(turned_square(photo, to_photo, self._mesh.size_px))
            points, logit = sorted((o.reshape(-1) for o in outputs), key=lambda o: -o.size)
            presence = 1 / (1 + np.exp(-float(logit[0])))
            if presence < _MIN_PRESENCE:
                return None
            xy = points.reshape(468, 3)[:, :2].astype(np.float64)
            landmarks = xy @ to_photo[:, :2].T + to_photo[:, 2]
            box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
            eyes = landmarks[list(_EYE_CORNERS)]
        return Face(landmarks, min(place.score, presence), float(np.ptp(landmarks[:, 0])))


def _square(box: F64, eyes: F64, size_px: int) -> F64:
    """(2, 3) the map from px of the mesh's picture to px of the photo."""
    centre, side = (box[:2] + box[2:]) / 2, _ROOM * (box[2:] - box[:2]).max()
    x, y = (eyes[1] - eyes[0]) / max(np.linalg.norm(eyes[1] - eyes[0]), 1e-9)
    turn = np.array([[x, -y], [y, x]]) * side / size_px
    return np.concatenate([turn, (centre - turn @ [size_px / 2, size_px / 2])[:, None]], axis=1)


def _around(five: F64) -> Found:
    """What BlazeFace would say of a face with these five points: its box is about 2.2 distances from eyes to mouth wide."""
    eyes, mouth = five[:2].mean(axis=0), five[3:].mean(axis=0)
    side = 2.2 * max(np.linalg.norm(mouth - eyes), np.linalg.norm(five[1] - five[0]))
    centre = (eyes + mouth) / 2
    return Found(np.concatenate([centre - side / 2, centre + side / 2]), five, 1.0)


def _starts(length: int, side: float) -> list[float]:
    """Where squares begin that cover `length`, overlapping by half."""
    count = max(1, int(np.ceil((length - side) / (side / 2))) + 1) if length > side else 1
    return [float(v) for v in np.linspace(0, max(length - side, 0), count)]
