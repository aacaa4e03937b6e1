"""What all commands share: options, progress on stderr, and figures for people."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from synthface.pipeline import Progress

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
generator_option = click.option(
    "--generator", metavar="NAME", help="Instead of the spec's own: default, 3dmm, or a folder."
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where the generator runs: cpu, cuda, cuda:1."
)


def say(text: str) -> None:
    """A line on stderr."""
    click.echo(text, err=True)


def default_workers(device: str) -> int:
    """One process per core, or one on a GPU."""
    if not device.startswith("cpu"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def progress(verb: str, unit: str = "images") -> Iterator[Callable[[Progress], None]]:
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
        left = duration((progress.total - progress.done) / rate)
        doing, of = _doing(progress, verb, unit)
        say(f"{doing}: {progress.done}/{progress.total} {of}, {rate:.1f}/s, {left} left")

    return update


def duration(seconds: float) -> str:
    """Seconds in a unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(num_bytes: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
