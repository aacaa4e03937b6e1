"""The `synthface` command: one short function per verb, each over one public function.

Data goes to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or spec.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import synthface
from synthface.errors import OutputError, SpecError, SynthfaceError
from synthface.quality.cli import Limit, capacity, leakage, verify_labels
from synthface.terminal import default_workers as _default_workers
from synthface.terminal import device_option as _device_option
from synthface.terminal import duration as _duration
from synthface.terminal import generator_option as _generator_option
from synthface.terminal import json_option as _json_option
from synthface.terminal import progress as _progress
from synthface.terminal import say as _say
from synthface.terminal import size as _size

if TYPE_CHECKING:
    from synthface.errors import SpecProblem


class _Part(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        number, slash, count = str(value).partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return int(number), int(count)
        return self.fail(f"found {value!r}; allowed: i/n with 1 ≤ i ≤ n, 2/8 say", param, ctx)


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
@click.argument("dataset")
@click.option("--quick", is_flag=True, help="Hashes and counts only; don't open every sample.")
@click.option(
    "--labels", "with_labels", is_flag=True, help="Audit: read every label off its picture again, by networks."
)
@click.option("--limit", "limits", multiple=True, type=Limit(), help="Audit: pose_deg=6, identity=off; repeatable.")
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
        verify_labels(dataset, dict(limits), fraction, allow, estimator, failed, device, as_json)
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


cli.add_command(capacity)
cli.add_command(leakage)


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
