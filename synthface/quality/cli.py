"""The commands that look at what a dataset promises: `capacity`, `leakage`, and `verify --labels`."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from synthface.errors import OutputError
from synthface.terminal import default_workers, device_option, generator_option, json_option, progress, say


class Limit(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """NAME=NUMBER or NAME=off, for limits of an audit."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float | None]:
        """The name and the limit."""
        from synthface.spec.names import AUDIT_LIMITS

        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if name in AUDIT_LIMITS and number == "off":
            return name, None
        with contextlib.suppress(ValueError):
            if name in AUDIT_LIMITS and float(number) > 0:
                return name, float(number)
        names = ", ".join(AUDIT_LIMITS)
        return self.fail(f"found {value!r}; allowed: NAME=NUMBER or NAME=off, NAME one of {names}", param, ctx)


@click.command()
@click.argument("spec", type=click.Path())
@click.option(
    "--distance",
    "distances",
    multiple=True,
    type=click.FloatRange(0, 2),
    help="Centred recognition distance; repeatable.",
)
@click.option(
    "--tries", default=500, show_default=True, type=click.IntRange(20), help="Identities to draw and compare."
)
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one per core, or one on a GPU.")
@generator_option
@device_option
@json_option
def capacity(
    spec: str, distances: tuple[float, ...], tries: int, workers: int | None, generator: str | None, device: str, as_json: bool
) -> None:  # fmt: skip
    """Estimate how many identities that are apart can be made of SPEC."""
    from synthface.job import prepare
    from synthface.quality.capacity import capacity_text, measure

    with progress("drawing") as on_progress:
        found = measure(
            prepare(spec, generator=generator, device=device), distances=sorted(distances), tries=tries,
            workers=workers or default_workers(device), on_progress=on_progress,
        )  # fmt: skip
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else capacity_text(found))


@click.command()
@click.argument("dataset")
@click.option(
    "--against",
    required=True,
    type=click.Path(exists=True),
    help="Photos: a prepared folder, a file of descriptors, or a folder of photos with --landmarks.",
)
@click.option(
    "--landmarks",
    type=click.Path(exists=True, dir_okay=False),
    help="Of a folder of photos: .npy (M, 68 | 468, 2), px.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 2),
    help="Fail if any identity is nearer; by default, if more are than chance allows.",
)
@click.option("--sheet", type=click.Path(dir_okay=False), help="PNG to draw the closest pairs on.")
@click.option(
    "--recognition", "network", default="dlib-resnet", show_default=True, help="Recognition network: name or folder."
)
@json_option
def leakage(
    dataset: str,
    against: str,
    landmarks: str | None,
    threshold: float | None,
    sheet: str | None,
    network: str,
    as_json: bool,
) -> None:
    """Look for people of PHOTOS, the generator's training photos, among DATASET's identities."""
    from synthface.networks.recognition import load_recognition
    from synthface.pipeline import Progress
    from synthface.quality.leakage import leakage as check
    from synthface.quality.leakage import leakage_text
    from synthface.quality.photos import read_photos
    from synthface.storage import explained

    recognition, began = load_recognition(network), time.monotonic()
    with progress("describing", unit="faces") as on_progress:

        def on_faces(done: int, total: int) -> None:
            on_progress(Progress(done, total, time.monotonic() - began))

        photos = read_photos(
            Path(against), recognition, landmarks=None if landmarks is None else Path(landmarks), on_photos=on_faces
        )
        report, picture = check(dataset, photos, recognition, source=against, threshold=threshold, on_faces=on_faces)
    if sheet is not None:
        with explained(sheet):
            picture.save(sheet)
    click.echo(json.dumps(report.to_dict()) if as_json else leakage_text(report))
    if report.has_leaked:
        raise OutputError(f"{dataset}: more identities are near to photos than by chance; look at the pairs (--sheet)")


def verify_labels(
    dataset: str, limits: dict[str, float | None], fraction: float, allow: float, estimator: str, failed: str | None,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    """`synthface verify --labels`."""
    from synthface.pipeline import Progress
    from synthface.quality.verify import failed_csv, report_text, verify_labels
    from synthface.storage import explained

    began = time.monotonic()
    with progress("auditing") as on_progress:
        report = verify_labels(
            dataset, limits=limits, allowed=allow, fraction=fraction, estimator=estimator, device=device,
            on_images=lambda done, total: on_progress(Progress(done, total, time.monotonic() - began)),
        )  # fmt: skip
    if failed is not None:
        with explained(failed):
            Path(failed).write_text(failed_csv(report), encoding="utf-8")
    click.echo(json.dumps(asdict(report) | {"problems": report.problems}) if as_json else report_text(report))
    if report.problems:
        for problem in report.problems:
            say(problem)
        raise OutputError(f"{dataset}: labels and pictures disagree")
