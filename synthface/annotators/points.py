"""Landmarks, boxes and gaze."""

from __future__ import annotations

import numpy as np

from synthface.annotators.base import TileLabels, TileView
from synthface.columns import Column, Origin, SampleFile
from synthface.crops import five_points

_PX = {"unit": "px", "frame": "image"}
_ORIGIN_NOTE = "x to the right, y down, origin at the image's top-left corner, pixel centres at ½; may lie outside"


class Landmarks:
    """The 68 points of iBUG 300-W, whether each is visible, and five points for alignment."""

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """Three columns."""
        return (
            Column(
                "landmarks68_px",
                "float32",
                Origin.RENDERED,
                f"68 points in iBUG 300-W order; {_ORIGIN_NOTE}.",
                (68, 2),
                **_PX,
            ),
            Column(
                "landmarks68_visible",
                "bool",
                Origin.RENDERED,
                "Whether the point is in the picture and the head doesn't hide it.",
                (68,),
            ),
            Column(
                "five_points_px",
                "float32",
                Origin.RENDERED,
                "Middles of the eyes (image left first), tip of the nose, corners of the mouth.",
                (5, 2),
                **_PX,
            ),
        )

    def files(self) -> tuple[SampleFile, ...]:
        """None."""
        return ()

    def annotate(self, view: TileView) -> TileLabels:
        """Projected vertices."""
        points = view.crop.points(view.scene.landmarks68_px)
        inside = ((points >= 0) & (points < view.crop.size_px)).all(axis=2)
        return TileLabels(
            {
                "landmarks68_px": points,
                "landmarks68_visible": view.scene.landmarks68_visible & inside,
                "five_points_px": five_points(points),
            }
        )


class DenseLandmarks:
    """Points spread over the face."""

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """One column."""
        text = f"Points spread evenly over the face, the 68 first; {_ORIGIN_NOTE}."
        return (Column("landmarks_dense_px", "float32", Origin.RENDERED, text, (num_dense, 2), **_PX),)

    def files(self) -> tuple[SampleFile, ...]:
        """None."""
        return ()

    def annotate(self, view: TileView) -> TileLabels:
        """Projected vertices."""
        return TileLabels({"landmarks_dense_px": view.crop.points(view.scene.landmarks_dense_px)})


class Boxes:
    """Upright boxes round the face and the head."""

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """Two columns."""
        text = "x0, y0, x1, y1 of the upright box round"
        return (
            Column(
                "box_px",
                "float32",
                Origin.RENDERED,
                f"{text} the facial skin; may reach outside the image.",
                (4,),
                **_PX,
            ),
            Column(
                "head_box_px",
                "float32",
                Origin.RENDERED,
                f"{text} the head without neck and shoulders; may reach outside.",
                (4,),
                **_PX,
            ),
        )

    def files(self) -> tuple[SampleFile, ...]:
        """None."""
        return ()

    def annotate(self, view: TileView) -> TileLabels:
        """Extremes of the projected vertices."""
        scene, basis = view.scene, view.scene.basis
        face, head = (view.crop.points(scene.vertices_px(v)) for v in (basis.face_vertices, basis.head_vertices))
        return TileLabels({"box_px": _box(face), "head_box_px": _box(head)})


def _box(points: np.ndarray) -> np.ndarray:
    # One coordinate at a time: reducing the middle axis of (N, P, 2) is ten times slower.
    x, y = points[..., 0], points[..., 1]
    return np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)


class Gaze:
    """Where the eyes look."""

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """Two columns."""
        text = (
            "Unit vector along the optical axis of the subject's {} eye: x to the image's right, y up, z to the camera."
        )
        return tuple(
            Column(f"gaze_{side}", "float32", Origin.RENDERED, text.format(side), (3,), frame="camera")
            for side in ("left", "right")
        )

    def files(self) -> tuple[SampleFile, ...]:
        """None."""
        return ()

    def annotate(self, view: TileView) -> TileLabels:
        """From the eyeballs' geometry."""
        return TileLabels({f"gaze_{side}": view.scene.gaze(side) for side in ("left", "right")})
