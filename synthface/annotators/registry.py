"""Annotators by the names that specs use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synthface.annotators.base import Annotator
from synthface.annotators.estimated import Estimator, Parsing
from synthface.annotators.maps import Albedo, Depth, FaceMask, Normals, Parts
from synthface.annotators.points import Boxes, DenseLandmarks, Gaze, Landmarks

#: `lambda` isn't here: identity coefficients and ε are known before there is a picture, so sampling emits them.
ANNOTATORS: Mapping[str, Annotator] = {
    "landmarks": Landmarks(),
    "landmarks_dense": DenseLandmarks(),
    "boxes": Boxes(),
    "gaze": Gaze(),
    "face_mask": FaceMask(),
    "parts": Parts(),
    "depth": Depth(),
    "normals": Normals(),
    "albedo": Albedo(),
    "parsing": Parsing(),
}


def annotators_of(names: Iterable[str]) -> tuple[Annotator, ...]:
    """The annotators that a spec names, in the registry's order."""
    wanted = set(names)
    return tuple(annotator for name, annotator in ANNOTATORS.items() if name in wanted)


def networks_of(names: Iterable[str]) -> dict[str, str]:
    """Annotation to the hash of the network that estimates it, for those named that are estimated."""
    wanted = set(names)
    return {
        name: annotator.sha256
        for name, annotator in ANNOTATORS.items()
        if name in wanted and isinstance(annotator, Estimator)
    }
