"""A run: load, train until the clock, the images or the recipe say stop, and write what was seen on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthface.errors import OutputMismatchError
from training import checkpoint
from training.gan.data import load_data
from training.gan.frozen import Frozen, load_frozen
from training.gan.metrics import is_better, measure, score
from training.gan.recipe import GanRecipe
from training.gan.sheets import write_sheets
from training.gan.trainer import Trainer
from training.gan.world import World, join_world
from training.recipe import save_resolved

Report = Callable[[str], None]

CHECKPOINTS, BEST, LOG, METRICS, SHEETS = "checkpoints", "best", "log.jsonl", "metrics.jsonl", "sheets"
RESOLVED = "recipe.resolved.json"


@dataclass(frozen=True)
class Limits:
    """When to stop before the recipe is done: after so many minutes, or at so many images; None is no limit."""

    max_minutes: float | None = None
    max_images: int | None = None


@dataclass(frozen=True)
class Finished:
    """How a run ended.

    Args:
        num_images: real pictures seen.
        is_done: whether the recipe's last stage is over.
        figures: the last ones measured.
    """

    num_images: int
    is_done: bool
    figures: Mapping[str, float]


def run(
    recipe: GanRecipe,
    data_folder: Path,
    out: Path,
    *,
    limits: Limits = Limits(),
    resume: bool = False,
    device: str | None = None,
    report: Report = print,
) -> Finished:
    """Train, from the last checkpoint in `out` on where `resume` says so.

    Raises:
        DatasetError: the data folder lacks something, or something in it is damaged.
        OutputMismatchError: `out` holds a run and `resume` isn't set.
    """
    started = time.monotonic()
    world = join_world(device)
    data = load_data(data_folder, recipe)
    frozen = load_frozen(recipe.frozen, data_folder, world.device)
    trainer = Trainer(recipe, data, frozen, world)
    best = _resume(trainer, out, resume, report)
    if world.is_main:
        out.mkdir(parents=True, exist_ok=True)
        save_resolved(out / RESOLVED, "gan", recipe)
    with closing(_Writer(out, trainer.progress.num_images, world)) as writer:
        return _train(trainer, frozen, out, limits, started, best, writer, report)


def _train(
    trainer: Trainer,
    frozen: Frozen,
    out: Path,
    limits: Limits,
    started: float,
    best: float | None,
    writer: _Writer,
    report: Report,
) -> Finished:
    outputs, progress, world = trainer.recipe.outputs, trainer.progress, trainer.world
    figures: dict[str, float] = {}
    sums = _Sums()
    saved_at = progress.num_images
    while (stage := trainer.recipe.stage_at(progress.num_images)) is not None:
        if _is_over(limits, progress.num_images, started, world):
            break
        before = progress.num_images
        sums.add(trainer.step(stage))
        now = progress.num_images

        def passed(every: int, before: int = before, now: int = now) -> bool:
            return before // every != now // every

        if passed(outputs.log_every):
            entry = {"images": now, "stage": stage.name, "level": trainer.level, **sums.take(world)}
            writer.log(entry)
            report(_line(entry))
        if passed(outputs.sheet_every) or passed(outputs.metrics_every):
            trainer.match_noise(stage)
        if world.is_main and passed(outputs.sheet_every):
            write_sheets(trainer, out / SHEETS)
        if world.is_main and passed(outputs.metrics_every):
            figures = measure(trainer, frozen)
            writer.metrics({"images": now, "stage": stage.name, **figures})
            report(_line({"images": now, **figures}))
            if is_better(outputs.best, figures, best):
                best = score(outputs.best, figures)
                _save(trainer, out / BEST, best, figures, keep=1)
        if passed(outputs.checkpoint_every):
            _save(trainer, out / CHECKPOINTS, best, figures, keep=outputs.keep)
            saved_at = now
    if progress.num_images != saved_at:
        _save(trainer, out / CHECKPOINTS, best, figures, keep=outputs.keep)
    return Finished(progress.num_images, trainer.recipe.stage_at(progress.num_images) is None, figures)


def _is_over(limits: Limits, num_images: int, started: float, world: World) -> bool:
    if limits.max_images is not None and num_images >= limits.max_images:
        return True
    if limits.max_minutes is None:
        return False
    return world.any(time.monotonic() - started >= 60 * limits.max_minutes)


def _resume(trainer: Trainer, out: Path, resume: bool, report: Report) -> float | None:
    """Load the last whole checkpoint; returns the best score so far."""
    folder = out / CHECKPOINTS
    if not resume:
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputMismatchError(
                f"{out}: holds a run already; add --resume to go on with it, or name another folder"
            )
        return None
    found = checkpoint.load_latest(folder, warn=report)
    if found is None:
        report(f"{out}: no checkpoint yet, starting from the beginning")
        return None
    for line in trainer.load(found.tensors, found.state["progress"]):
        report(f"starting anew: {line}")
    report(f"resumed at {trainer.progress.num_images} images")
    best = found.state["best"]
    return None if best is None else float(best)


def _save(trainer: Trainer, folder: Path, best: float | None, figures: Mapping[str, float], *, keep: int) -> None:
    if trainer.world.is_main:
        state = {"progress": asdict(trainer.progress), "best": best, "figures": dict(figures)}
        checkpoint.save_checkpoint(folder, trainer.progress.num_images, trainer.tensors(), state, keep=keep)


class _Sums:
    """Means of losses between two log lines, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._since = time.monotonic()
        self._steps = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(term)) + term
            self._counts[name] = self._counts.get(name, 0) + 1
        self._steps += 1

    def take(self, world: World) -> dict[str, float]:
        means = {name: float(world.mean(total)) / self._counts[name] for name, total in self._sums.items()}
        now = time.monotonic()
        means["seconds_per_step"] = (now - self._since) / max(self._steps, 1)
        self.__init__()  # type: ignore[misc]
        return means


class _Writer:
    """`log.jsonl`, `metrics.jsonl`, and TensorBoard where it is installed; the main process writes."""

    def __init__(self, out: Path, num_images: int, world: World) -> None:
        self._is_main = world.is_main
        if not self._is_main:
            return
        self._out = out
        for name in (LOG, METRICS):
            _forget_after(out / name, num_images)
        self._board = _tensorboard(out, num_images)

    def log(self, entry: Mapping[str, Any]) -> None:
        self._append(LOG, "loss", entry)

    def metrics(self, entry: Mapping[str, Any]) -> None:
        self._append(METRICS, "metrics", entry)

    def close(self) -> None:
        if self._is_main and self._board is not None:
            self._board.close()

    def _append(self, name: str, group: str, entry: Mapping[str, Any]) -> None:
        if not self._is_main:
            return
        with open(self._out / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(entry)) + "\n")
        if self._board is not None:
            for key, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{group}/{key}", value, entry["images"])


def _forget_after(path: Path, num_images: int) -> None:
    """Drop the lines of a log that the resumed run will write again, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["images"] <= num_images:
                kept.append(line + "\n")
        except ValueError:
            break
    path.write_text("".join(kept), encoding="utf-8")


def _tensorboard(out: Path, num_images: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except (ImportError, RuntimeError, OSError):
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=num_images)


def _line(entry: Mapping[str, Any]) -> str:
    shown = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in entry.items()]
    return "  ".join(text for text in shown if not text.endswith("None"))
