"""The `synthface` command: one short function per verb, each over one public function.

Data goes to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or spec.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import synthface
from synthface.errors import OutputError, SpecError, SynthfaceError

if TYPE_CHECKING:
    from synthface.errors import SpecProblem
    from synthface.pipeline import Progress

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_generator_option = click.option(
    "--generator", metavar="NAME", help="Instead of the spec's own: default, 3dmm, or a folder."
)
_device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where the generator runs: cpu, cuda, cuda:1."
)


class _Part(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        number, slash, count = str(value).partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return int(number), int(count)
        return self.fail(f"found {value!r}; allowed: i/n with 1 ≤ i ≤ n, 2/8 say", param, ctx)


class _Limit(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float | None]:
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(synthface.__version__, prog_name="synthface")
@click.option("--debug", is_flag=True, help="Show where in the code an error came from.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Controlled synthetic face datasets: a YAML spec in, labelled WebDataset shards out."""
    ctx.obj = debug


@cli.command()
@click.argument("spec", type=click.Path())
@click.option("--out", "-o", required=True, help="Folder or URL to write to; an unfinished dataset there is continued.")
@_generator_option
@_device_option
@click.option("--shards", "part", type=_Part(), default="1/1", help="Render only the i-th of n parts, for job arrays.")
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one per core, or one on a GPU.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--jpeg", type=click.Choice(["pillow", "simplejpeg"]), default="pillow", show_default=True, help="Encoder."
)
@click.option("--dry-run", is_flag=True, help="Check everything and show the plan, but write nothing.")
@_json_option
def render(
    spec: str, out: str, generator: str | None, device: str, part: tuple[int, int], workers: int | None, engine: str, jpeg: str,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write the dataset that SPEC describes; run again to resume."""
    if dry_run:
        _show_plan(spec, generator, as_json)
        return
    from synthface.pipeline import render as run

    with _progress("rendering") as on_progress:
        summary = run(
            spec, out, generator=generator, device=device, workers=workers or _default_workers(device), part=part,
            engine=engine, jpeg=jpeg, on_progress=on_progress,  # type: ignore[arg-type]
        )  # fmt: skip
    for shortfall in summary.shortfalls:
        _say(f"warning: {shortfall}")
    if as_json:
        click.echo(json.dumps(asdict(summary)))
        return
    rate = f" ({summary.num_images / summary.seconds:.1f}/s)" if summary.num_images else ""
    already = f", {summary.num_already_there} were there already" if summary.num_already_there else ""
    _say(f"{summary.num_images} images in {_duration(summary.seconds)}{rate}, {_size(summary.bytes)}{already}")
    if summary.is_finished:
        _say(f"finished: {summary.out}  (look: synthface report {summary.out} --out report.html)")
    else:
        _say(
            f"{summary.num_missing_shards} shards are still to be rendered by other parts; the last one finishes the dataset"
        )


@cli.command()
@click.argument("specs", type=click.Path(), nargs=-1, required=True)
@_generator_option
@_json_option
def validate(specs: tuple[str, ...], generator: str | None, as_json: bool) -> None:
    """Check specs; every problem of every file is shown."""
    from synthface.generators import generator_info
    from synthface.spec.layout import check_against_layout
    from synthface.spec.loader import load_spec

    problems: list[SpecProblem] = []
    warnings: list[SpecProblem] = []
    for path in specs:
        try:
            loaded = load_spec(Path(path))
            report = check_against_layout(loaded, generator_info(generator or loaded.generator).layout)
            problems += report.problems
            warnings += report.warnings
        except SpecError as error:
            problems += error.problems
    if as_json:
        click.echo(json.dumps({"problems": [asdict(p) for p in problems], "warnings": [asdict(w) for w in warnings]}))
    for warning in warnings:
        _say(f"warning: {warning}")
    if problems:
        raise SpecError(problems)
    if not as_json:
        _say(f"{len(specs)} spec{'s' if len(specs) > 1 else ''} fine")


@cli.command()
@click.argument("spec", type=click.Path())
@_generator_option
@_json_option
def plan(spec: str, generator: str | None, as_json: bool) -> None:
    """Show counts, splits, size and requested distributions without rendering."""
    _show_plan(spec, generator, as_json)


def _show_plan(spec: str, generator: str | None, as_json: bool) -> None:
    from synthface.report.plan import describe_plan, plan_text

    description = describe_plan(spec, generator=generator)
    click.echo(json.dumps(description) if as_json else plan_text(description))


@cli.command()
@click.argument("spec", type=click.Path())
@click.option("--out", "-o", required=True, type=click.Path(dir_okay=False), help="PNG to write.")
@click.option("--rows", default=6, show_default=True, type=click.IntRange(1, 100), help="Identities.")
@click.option("--columns", default=10, show_default=True, type=click.IntRange(1, 100), help="Images of each.")
@click.option("--cell", default=112, show_default=True, type=click.IntRange(16, 1024), help="Size of a picture, px.")
@_generator_option
@_device_option
def preview(spec: str, out: str, rows: int, columns: int, cell: int, generator: str | None, device: str) -> None:
    """Draw a contact sheet of the first pictures of SPEC."""
    from synthface.report.preview import preview as draw
    from synthface.storage import explained

    sheet = draw(spec, generator=generator, device=device, num_rows=rows, num_columns=columns, cell_px=cell)
    with explained(out):
        sheet.save(out)
    _say(f"{out}: {sheet.width} × {sheet.height} px")


@cli.command()
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
@_generator_option
@_device_option
@_json_option
def capacity(
    spec: str, distances: tuple[float, ...], tries: int, workers: int | None, generator: str | None, device: str, as_json: bool
) -> None:  # fmt: skip
    """Estimate how many identities that are apart can be made of SPEC."""
    from synthface.pipeline import prepare
    from synthface.quality.capacity import capacity_text, measure

    with _progress("drawing") as on_progress:
        found = measure(
            prepare(spec, generator=generator, device=device), distances=sorted(distances), tries=tries,
            workers=workers or _default_workers(device), on_progress=on_progress,
        )  # fmt: skip
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else capacity_text(found))


@cli.command()
@click.argument("dataset")
@click.option("--quick", is_flag=True, help="Hashes and counts only; don't open every sample.")
@click.option(
    "--labels", "with_labels", is_flag=True, help="Audit: read every label off its picture again, by networks."
)
@click.option("--limit", "limits", multiple=True, type=_Limit(), help="Audit: pose_deg=6, identity=off; repeatable.")
@click.option(
    "--fraction", default=1.0, type=click.FloatRange(0, 1, min_open=True), help="Audit: share of the pictures."
)
@click.option(
    "--allow", default=0.01, show_default=True, type=click.FloatRange(0, 1), help="Audit: share that may fail."
)
@click.option("--estimator", default="reconstruction", show_default=True, help="Audit: network, by name or folder.")
@click.option("--failed", type=click.Path(dir_okay=False), help="Audit: CSV to list failing samples in.")
@_device_option
@_json_option
def verify(
    dataset: str, quick: bool, with_labels: bool, limits: tuple[tuple[str, float | None], ...], fraction: float, allow: float,
    estimator: str, failed: str | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Hold DATASET against its manifest: hashes, counts, and every sample against its labels."""
    from synthface.manifest import verify as check
    from synthface.pipeline import Progress

    if with_labels:
        _verify_labels(dataset, dict(limits), fraction, allow, estimator, failed, device, as_json)
        return

    began = time.monotonic()
    with _progress("verifying", unit="shards") as on_progress:
        report = check(
            dataset,
            contents=not quick,
            on_shard=lambda done, total: on_progress(Progress(done, total, time.monotonic() - began)),
        )
    if as_json:
        click.echo(json.dumps(asdict(report)))
    for problem in report.problems:
        _say(f"{problem}")
    if not report.is_sound:
        raise OutputError(f"{dataset}: {len(report.problems)} problem{'s' if len(report.problems) > 1 else ''} found")
    if not as_json:
        _say(f"{dataset}: sound ({report.num_images} images in {report.num_shards} shards, {_size(report.num_bytes)})")


def _verify_labels(
    dataset: str, limits: dict[str, float | None], fraction: float, allow: float, estimator: str, failed: str | None,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    from synthface.pipeline import Progress
    from synthface.quality.verify import failed_csv, report_text, verify_labels
    from synthface.storage import explained

    began = time.monotonic()
    with _progress("auditing") as on_progress:
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
            _say(problem)
        raise OutputError(f"{dataset}: labels and pictures disagree")


@cli.command()
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
@_json_option
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
    with _progress("describing", unit="faces") as on_progress:

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


@cli.command()
@click.argument("dataset")
@click.option("--out", "-o", required=True, type=click.Path(dir_okay=False), help="HTML file to write.")
def report(dataset: str, out: str) -> None:
    """Make one HTML file of DATASET: contact sheets, distributions, tables."""
    from synthface.report.html import html_report
    from synthface.storage import explained

    text = html_report(dataset)
    with explained(out):
        Path(out).write_text(text, encoding="utf-8")
    _say(f"{out}: {_size(len(text.encode()))}")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of specs, for editors."""
    from importlib import resources

    click.echo((resources.files("synthface") / "spec" / "schema.json").read_text(encoding="utf-8"), nl=False)


@cli.command()
@_json_option
def generators(as_json: bool) -> None:
    """List the generators, with the names and ranges they take."""
    from synthface.generators import DEFAULT, GENERATORS, generator_info, shipped_bundles

    found = []
    for name in (*GENERATORS, *shipped_bundles()):
        info = generator_info(name)
        found.append(
            {
                "name": name,
                "is_default": name == DEFAULT,
                "expressions": list(info.layout.expression_names),
                "attributes": {
                    key: {"unit": axis.unit, "low": float(axis.values[0]), "high": float(axis.values[-1])}
                    for key, axis in info.layout.attributes.items()
                },
                "trusted_ranges": {key: list(bounds) for key, bounds in info.layout.trusted_ranges.items()},
                "priors": sorted(info.layout.priors),
            }
        )
    if as_json:
        click.echo(json.dumps(found))
        return
    for entry in found:
        click.echo(f"{entry['name']}{' (default)' if entry['is_default'] else ''}")
        for key, axis in entry["attributes"].items():  # type: ignore[attr-defined]
            click.echo(f"  attribute {key}: {axis['low']:.1f} to {axis['high']:.1f} {axis['unit']}")
        click.echo(f"  expressions: {', '.join(entry['expressions'])}")  # type: ignore[arg-type]


def main() -> None:
    """Entry point: run, and turn our own errors into one clear message and an exit code."""
    debug = "--debug" in sys.argv
    try:
        code = cli(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SynthfaceError as error:
        if debug:
            traceback.print_exc()
        for line in str(error).splitlines():
            _say(f"error: {line}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("stopped; whole shards are kept, run the same command again to go on")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


# ---------------------------------------------------------------------------------------------------------- helpers


def _say(text: str) -> None:
    click.echo(text, err=True)


def _default_workers(device: str) -> int:
    if not device.startswith("cpu"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _progress(verb: str, unit: str = "images") -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line every ten seconds elsewhere; both with rate and time left."""
    if not sys.stderr.isatty():
        yield _plain_progress(verb, unit)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None, rate="")

        def update(progress: Any) -> None:
            doing, of = _doing(progress, verb, unit)
            rate = f"{progress.done / progress.seconds:.1f} {of}/s" if progress.done and progress.seconds else ""
            bar.update(task, description=doing, completed=progress.done, total=progress.total, rate=rate)

        yield update


def _doing(progress: Any, verb: str, unit: str) -> tuple[str, str]:
    """What is being done to what."""
    return (verb, unit) if progress.what == "images" else ("choosing", progress.what)


def _plain_progress(verb: str, unit: str) -> Callable[[Progress], None]:
    last = time.monotonic()

    def update(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < 10 or not progress.done:
            return
        last = time.monotonic()
        rate = progress.done / progress.seconds
        left = _duration((progress.total - progress.done) / rate)
        doing, of = _doing(progress, verb, unit)
        _say(f"{doing}: {progress.done}/{progress.total} {of}, {rate:.1f}/s, {left} left")

    return update


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
