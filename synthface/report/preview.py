"""Contact sheets: many small pictures on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from synthface.engines.local import single_threaded
from synthface.identity_stage import choose_for, chosen_job
from synthface.job import Job, prepare
from synthface.spec.model import Quality
from synthface.tiles import pictures

U8 = npt.NDArray[np.uint8]

_GAP, _LABEL_HEIGHT, _MARGIN = 3, 18, 8
_PAPER, _INK = (250, 250, 248), (40, 40, 40)


def contact_sheet(
    rows: Sequence[Sequence[U8]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    cell_px: int = 112,
) -> Image.Image:
    """Pictures (H, W, 3) in a grid, each shrunk to fit a cell; rows may differ in length."""
    font = ImageFont.load_default(size=12)
    left = _MARGIN + (
        max((int(font.getlength(text)) for text in row_labels), default=-_GAP) + _GAP if row_labels else 0
    )
    top = _MARGIN + (_LABEL_HEIGHT if column_labels else 0)
    step = cell_px + _GAP
    width = left + step * max((len(row) for row in rows), default=0) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, top + step * len(rows) - _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(column_labels):
        middle = left + number * step + cell_px / 2
        draw.text((middle, top - 4), text, fill=_INK, font=font, anchor="mb")
    for y, row in enumerate(rows):
        if y < len(row_labels):
            draw.text((left - _GAP - 2, top + y * step + cell_px / 2), row_labels[y], fill=_INK, font=font, anchor="rm")
        for x, picture in enumerate(row):
            image = Image.fromarray(picture)
            if image.size != (cell_px, cell_px):
                image = image.resize((cell_px, cell_px), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + x * step, top + y * step))
    return sheet


def preview(
    spec: object,
    *,
    generator: str | None = None,
    device: str = "cpu",
    num_rows: int = 6,
    num_columns: int = 10,
    cell_px: int = 112,
) -> Image.Image:
    """A spec's first pictures as a sheet: a row per identity, its images from left to right.

    With several conditions each has its share of the columns, under its name. Where identities are chosen, only these few
    are: people of the dataset, but perhaps under other numbers. Pictures are as drawn first, before any audit.

    Raises:
        SpecError: the spec is wrong.
    """
    job = prepare(spec, generator=generator, device=device)  # type: ignore[arg-type]
    job = replace(job, spec=replace(job.spec, quality=Quality()))
    count = min(num_rows, job.plan.num_identities)
    job = chosen_job(job, choose_for(job, count=max(count, len(job.spec.splits))))
    columns = _columns(job, num_columns)
    rows, labels = [], []
    with single_threaded():
        for identity in range(min(num_rows, job.plan.num_identities)):
            rows.append([_picture_of(job, identity * job.plan.images_per_identity + image) for image, _ in columns])
            labels.append(f"{identity}")
    names = [name for _, name in columns]
    return contact_sheet(rows, row_labels=labels, column_labels=names if any(names) else (), cell_px=cell_px)


def _columns(job: Job, num_columns: int) -> list[tuple[int, str]]:
    """(image within the identity, heading) of each column: an equal share of every condition."""
    chosen, first = [], 0
    share = max(1, num_columns // len(job.plan.counts))
    for stratum, count in zip(job.plan.strata, job.plan.counts, strict=True):
        for k in range(min(share, count)):
            chosen.append((first + k, stratum.name if k == 0 and len(job.plan.counts) > 1 else ""))
        first += count
    return chosen


def _picture_of(job: Job, logical: int) -> U8:
    """The picture of an image counted identity by identity; its whole tile is made, so that it is the dataset's own."""
    row = int(job.plan.row_of(np.array([logical]))[0])
    shard = next(s for s in job.plan.shards if s.start <= row < s.stop)
    start = shard.start + (row - shard.start) // job.info.tile_size * job.info.tile_size
    if start not in job._state.setdefault("preview_tiles", {}):
        (tile,) = pictures(job, start, min(start + job.info.tile_size, shard.stop))
        job._state["preview_tiles"] = {start: tile.images}
    image: U8 = job._state["preview_tiles"][start][row - start]
    return image
