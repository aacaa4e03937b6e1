"""The signs of all angles in one picture, drawn by the renderer itself: `python -m synthface.report.axes OUT.png`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from synthface.factors import lighting as lights
from synthface.factors.types import FactorBatch
from synthface.generators import load_generator
from synthface.report.preview import contact_sheet

if TYPE_CHECKING:
    from PIL.Image import Image

_STEPS = (-40.0, -20.0, 0.0, 20.0, 40.0)
_POSE_COLUMN = {"pitch_deg": 0, "yaw_deg": 1, "roll_deg": 2}


def axes_picture(cell_px: int = 128) -> Image:
    """Yaw, pitch, roll, light azimuth and light elevation from negative to positive, one row each."""
    generator = load_generator("3dmm")
    rows = [*_POSE_COLUMN, "light azimuth", "light elevation"]
    batch = FactorBatch.neutral(generator.layout, len(rows) * len(_STEPS))
    batch.sh[:] = lights.ambient(0.45) + lights.directional(0.0, 25.0, 0.55)
    for number, name in enumerate(rows):
        for column, angle in enumerate(_STEPS):
            where = number * len(_STEPS) + column
            if name in _POSE_COLUMN:
                batch.pose_rad[where, _POSE_COLUMN[name]] = np.radians(angle)
            else:
                direction = (2 * angle, 10.0) if name == "light azimuth" else (0.0, 2 * angle)
                batch.sh[where] = lights.ambient(0.15) + lights.directional(*direction, 0.9)
    size = generator.tile_size
    pictures = []
    for start in range(0, len(batch), size):
        rows_of_tile = np.minimum(np.arange(start, start + size), len(batch) - 1)
        pictures += list(generator.generate(batch[rows_of_tile], size_px=cell_px).images)
    sheet = [pictures[n * len(_STEPS) : (n + 1) * len(_STEPS)] for n in range(len(rows))]
    headings = [f"{angle:+.0f}°  (light {2 * angle:+.0f}°)" if angle else "0" for angle in _STEPS]
    return contact_sheet(sheet, row_labels=rows, column_labels=headings, cell_px=cell_px)


if __name__ == "__main__":
    axes_picture().save(sys.argv[1])
