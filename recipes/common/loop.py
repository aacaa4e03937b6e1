"""The training loop: any task, one process or several, any precision, resumed where it was stopped.

Several processes are started by `torchrun` or `accelerate launch`; each reads its own part of the shards, and gradients are
averaged. Running the same command again goes on from the last checkpoint, with the batch that would have come next.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recipes.common.schedule import ScheduleSettings, optimiser
from recipes.common.stream import Batches, Place, Prepare
from synthface.errors import OutputMismatchError, SynthfaceError
from synthface.shards.labels import labels
from training import checkpoint
from training.gan.world import World
from training.recipe import to_plain

Report = Callable[[str], None]
CHECKPOINTS, LOG, SETTINGS = "checkpoints", "log.jsonl", "settings.json"


@dataclass(frozen=True)
class LoopSettings:
    """What every task's training has.

    Args:
        split: of the dataset.
        batch: samples a step, over all processes.
        workers: reading processes of each process.
        seed: of weights, order and augmentation.
        buffer: samples that the order is mixed through.
        precision: `auto` is bfloat16 on GPUs that have it, float16 on others, full on CPUs.
        schedule: rates and budget.
        log_every, checkpoint_every: steps.
    """

    split: str | None = "train"
    batch: int = 256
    workers: int = 4
    seed: int = 0
    buffer: int = 2000
    precision: Literal["auto", "full", "bfloat16", "float16"] = "auto"
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    log_every: int = 100
    checkpoint_every: int = 1000


class Task(Protocol):
    """What is trained: its modules, how samples become batches, and the loss.

    `prepare` runs in the workers, so it holds no modules; `files` are the extensions that it needs.
    """

    modules: Mapping[str, nn.Module]
    files: Sequence[str]
    prepare: Prepare

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, and figures to log."""


def train(
    task: Task,
    dataset: str | Path,
    settings: LoopSettings,
    out: Path,
    world: World,
    *,
    about: Any = None,
    max_minutes: float | None = None,
    max_steps: int | None = None,
    report: Report = print,
) -> bool:
    """Train until the budget is spent, from the last checkpoint in `out` on; returns whether it is spent.

    Args:
        task: its modules are trained in place.
        dataset: folder or URL that `synthface render` wrote.
        settings: of the loop.
        out: for settings, log and checkpoints.
        world: this process among its like.
        about: the whole recipe; a run goes on only under the same one.
        max_minutes, max_steps: stop there, with a checkpoint.
        report: told what goes on.

    Raises:
        OutputMismatchError: `out` holds a run with other settings or another number of processes.
        DatasetError: the dataset can't be read.
    """
    with closing(_Run(task, dataset, settings, out, world, about, report)) as run:
        return run.until(max_minutes, max_steps)


class _Run:
    def __init__(
        self,
        task: Task,
        dataset: str | Path,
        settings: LoopSettings,
        out: Path,
        world: World,
        about: Any,
        report: Report,
    ) -> None:
        self.task, self.settings, self.out, self.world, self.report = task, settings, out, world, report
        num_images = len(labels(dataset, split=settings.split, columns=["index"]))
        self.num_steps = max(1, round(settings.schedule.epochs * num_images / settings.batch))
        _claim(out, {"dataset": str(dataset), "processes": world.size, "settings": to_plain(about or settings)}, world)
        self.modules = list(task.modules.values())
        for module in self.modules:
            module.to(world.device).train()
        self.optimiser = optimiser(self.modules, settings.schedule)
        self.kind = _precision(settings.precision, world.device)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.kind == torch.float16)
        self.step, start = self._resumed()
        self.batches = Batches(
            dataset,
            settings.split,
            task.prepare,
            files=task.files,
            batch=world.share(settings.batch),
            workers=settings.workers,
            seed=settings.seed,
            buffer=settings.buffer,
            start=start,
        )
        self._stream: Iterator[Sequence[Tensor]] | None = None

    def until(self, max_minutes: float | None, max_steps: int | None) -> bool:
        """Steps until a limit; the last one is saved."""
        began, first = time.monotonic(), self.step
        last = self.num_steps if max_steps is None else min(self.num_steps, max_steps)
        sums: dict[str, Tensor] = {}
        since = time.monotonic()
        while self.step < last:
            late = max_minutes is not None and time.monotonic() - began > 60 * max_minutes
            if max_minutes is not None and self.world.any(late):
                break
            for name, value in self._one().items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
            if self.step % self.settings.log_every == 0:
                speed = self.settings.batch * self.settings.log_every / (time.monotonic() - since)
                self._log(sums, speed)
                sums, since = {}, time.monotonic()
            if self.step % self.settings.checkpoint_every == 0 and self.step < last:
                self._save()
        if self.step > first:
            self._save()
        return self.step >= self.num_steps

    def close(self) -> None:
        """Stop the reading processes."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]

    def _one(self) -> dict[str, Tensor]:
        """One step. Randomness inside the modules follows from the step, so that resuming repeats it."""
        schedule, world = self.settings.schedule, self.world
        self._stream = self._stream or iter(self.batches)
        batch = [part.to(world.device, non_blocking=True) for part in next(self._stream)]
        torch.manual_seed((self.settings.seed * 1_000_003 + self.step) * world.size + world.rank)
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.rate(self.step / self.num_steps)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(world.device.type, self.kind or torch.bfloat16, enabled=self.kind is not None):
            loss, figures = self.task.loss(batch)
        self.scaler.scale(loss).backward()
        world.average_gradients(*self.modules)
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_([p for m in self.modules for p in m.parameters()], schedule.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        return {"loss": loss.detach(), **figures}

    def _log(self, sums: Mapping[str, Tensor], speed: float) -> None:
        means = {name: value.item() / self.settings.log_every for name, value in sums.items()}
        if not np.isfinite(means["loss"]):
            raise SynthfaceError(
                f"{self.out}: the loss is {means['loss']} at step {self.step}; lower schedule.learning_rate, lengthen "
                "schedule.warmup, or train in full precision"
            )
        rate = self.optimiser.param_groups[0]["lr"]
        entry = {"step": self.step, "of": self.num_steps, **means, "rate": rate, "images_per_second": speed}
        if self.world.is_main:
            with (self.out / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            self.report("  ".join(f"{name} {value:.4g}" for name, value in entry.items()))

    def _save(self) -> None:
        own = torch.tensor([[self.batches.place.epoch, self.batches.place.batches]], device=self.world.device)
        places = self.world.gather_rows(own).tolist()
        if self.world.is_main:
            tensors = checkpoint.optimiser_tensors("optimiser", self.optimiser)
            for name, module in self.task.modules.items():
                tensors |= checkpoint.module_tensors(name, module)
            state = {"places": places, "scaler": self.scaler.state_dict()}
            checkpoint.save_checkpoint(self.out / CHECKPOINTS, self.step, tensors, state)

    def _resumed(self) -> tuple[int, Place]:
        found = checkpoint.load_latest(self.out / CHECKPOINTS, warn=self.report)
        if found is None:
            return 0, Place()
        for name, module in self.task.modules.items():
            checkpoint.load_module(name, module, found.tensors)
        checkpoint.load_optimiser("optimiser", self.optimiser, found.tensors)
        if found.state["scaler"]:
            self.scaler.load_state_dict(found.state["scaler"])
        self.report(f"going on at step {found.step} of {self.num_steps}")
        return found.step, Place(*found.state["places"][self.world.rank])


def _claim(out: Path, content: Mapping[str, Any], world: World) -> None:
    """Write down what the run is, or see that it is the same."""
    path = out / SETTINGS
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in content if found.get(name) != json.loads(json.dumps(content[name]))]
        if differing:
            raise OutputMismatchError(
                f"{out}: holds a run with other {' and '.join(differing)}; give another folder, or {path.name}'s own"
            )
    elif world.is_main:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    """What products are computed in; None: float32."""
    if name == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"full": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
