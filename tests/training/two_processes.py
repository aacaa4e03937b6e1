"""Run by `test_two_processes_train_as_one` under torchrun: train, then compare the processes' networks."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from training.gan import loop
from training.gan.recipe import GanRecipe
from training.gan.trainer import Trainer
from training.gan.world import same_everywhere
from training.recipe import load_recipe

trainers: list[Trainer] = []


class Remembered(Trainer):
    """A trainer that can be looked at afterwards."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        trainers.append(self)


torch.set_num_threads(1)
recipe_path, data, out = map(Path, sys.argv[1:])
loop.Trainer = Remembered  # type: ignore[misc]
loop.run(load_recipe(recipe_path, "gan", GanRecipe), data, out, device="cpu", report=lambda line: None)
trainer = trainers[0]
assert trainer.world.size == 2
for name, network in trainer.networks.items():
    assert same_everywhere(trainer.world, network.parameters()), name
own = trainer.rng("data").initial_seed()
assert own != trainer.world.mean(torch.tensor(float(own), dtype=torch.float64)).item(), "each draws its own batch"
print("same everywhere", flush=True)
torch.distributed.destroy_process_group()
