"""Labels for every pixel."""

from __future__ import annotations

import numpy as np

from synthface.annotators.base import TileLabels, TileView
from synthface.columns import Column, Origin, SampleFile
from synthface.shards.encode import encode_npy, encode_png


class _Map:
    """One file per sample and no columns."""

    file: SampleFile

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """None."""
        return ()

    def files(self) -> tuple[SampleFile, ...]:
        """One file."""
        return (self.file,)


class FaceMask(_Map):
    """Facial skin."""

    file = SampleFile(
        "mask.png",
        "image/png",
        Origin.RENDERED,
        "255 on facial skin, brows and lips; 0 on eyes, mouth interior, ears, neck, scalp and background.",
    )

    def annotate(self, view: TileView) -> TileLabels:
        """Single-channel PNGs."""
        masks = view.crop.maps(view.scene.face_mask.astype(np.uint8) * np.uint8(255))
        return TileLabels(files={"mask.png": [encode_png(mask) for mask in masks]})


class Parts(_Map):
    """Part segmentation."""

    file = SampleFile(
        "seg.png",
        "image/png",
        Origin.RENDERED,
        "Part number of each pixel, 0 background; names in the manifest's `part_names`.",
    )

    def annotate(self, view: TileView) -> TileLabels:
        """Single-channel PNGs."""
        return TileLabels(files={"seg.png": [encode_png(parts) for parts in view.crop.maps(view.scene.parts)]})


class Depth(_Map):
    """Distance."""

    file = SampleFile(
        "depth.npy",
        "application/x-npy",
        Origin.RENDERED,
        "Distance along the viewing axis in dm, float32 (H, W); 0 on the background.",
    )

    def annotate(self, view: TileView) -> TileLabels:
        """Arrays (H, W)."""
        return TileLabels(files={"depth.npy": [encode_npy(depth) for depth in view.crop.maps(view.scene.depth)]})


class Normals(_Map):
    """Surface orientation."""

    file = SampleFile(
        "normals.npy",
        "application/x-npy",
        Origin.RENDERED,
        "Unit normals, float16 (H, W, 3), camera frame before any crop: x right, y up, z to the camera; 0 on the background.",
    )

    def annotate(self, view: TileView) -> TileLabels:
        """Arrays (H, W, 3)."""
        normals = view.crop.maps(view.scene.normals).astype(np.float16)
        return TileLabels(files={"normals.npy": [encode_npy(sample) for sample in normals]})


class Albedo(_Map):
    """Colour without light."""

    file = SampleFile(
        "albedo.png",
        "image/png",
        Origin.RENDERED,
        "The surface's own colour without any light, sRGB; black on the background.",
    )

    def annotate(self, view: TileView) -> TileLabels:
        """RGB PNGs."""
        return TileLabels(files={"albedo.png": [encode_png(albedo) for albedo in view.crop.maps(view.scene.albedo)]})
