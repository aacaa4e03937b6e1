"""Run by `test_two_processes_train_as_one` under torchrun: train, then compare what the processes hold and have read."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.common import loop
from recipes.common.pictures import NO_CHANGE
from recipes.recognition.training import RecognitionSettings, RecognitionTask
from training.gan.world import join_world, same_everywhere
from training.recipe import load_recipe

torch.set_num_threads(1)
settings_path, dataset, out = map(Path, sys.argv[1:])
settings = load_recipe(settings_path, "recognition", RecognitionSettings)
settings = replace(settings, augment=NO_CHANGE, loop=replace(settings.loop, batch=4, buffer=0))
read: list[int] = []


class Remembered:
    """Prepares faces and remembers which."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> tuple[Any, ...]:
        read.append(int(sample["key"]))
        return self._inner(sample, rng)


world = join_world("cpu")
assert world.size == 2
task = RecognitionTask(settings, np.arange(9))
task.prepare = Remembered(task.prepare)  # type: ignore[assignment]
for steps in (2, 4):  # stopped and gone on
    loop.train(task, dataset, settings.loop, out, world, max_steps=steps, report=lambda line: None)
    torch.distributed.barrier()
for name, module in task.modules.items():
    assert same_everywhere(world, module.parameters()), name
mine = torch.tensor(sorted(set(read[:8])) + [-1] * (8 - len(set(read[:8]))))
both = world.gather_rows(mine[None])
shared = set(both[0].tolist()) & set(both[1].tolist()) - {-1}
assert not shared, f"both processes read {shared}"
print("same everywhere", flush=True)
torch.distributed.destroy_process_group()
