"""One process or several: which device, which share of the batch, and how gradients meet.

Several processes are started by `torchrun` (or `accelerate launch`) and need the package accelerate, which sets up the
devices. Gradients are averaged by hand after each backward pass, so that R1's second derivatives and several networks
need no wrappers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthface.errors import MissingExtraError, SynthfaceError


@dataclass(frozen=True)
class World:
    """This process among its like.

    Args:
        rank, size: its number and how many there are.
        device: where it computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """This process's part of a batch."""
        if batch % self.size:
            raise SynthfaceError(f"a batch of {batch} can't be shared out to {self.size} processes; change the recipe")
        return batch // self.size

    def average_gradients(self, *modules: nn.Module) -> None:
        """Average the gradients of all processes, in one message."""
        if self.size == 1:
            return
        parameters = [p for module in modules for p in module.parameters() if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.reshape(parameter.shape)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.size > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
            value /= self.size
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: they must stop together."""
        return bool(self.mean(torch.tensor(float(flag), device=self.device)).item() > 0)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)


def join_world(device: str | None = None) -> World:
    """This process's place: alone, or as `WORLD_SIZE` says.

    Raises:
        MissingExtraError: there are several processes and accelerate isn't installed.
        SynthfaceError: fewer processes came together than were started.
    """
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if expected == 1:
        return World(0, 1, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    try:
        from accelerate import PartialState
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError("accelerate", "training", "training in several processes") from error
    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    if state.num_processes != expected:
        raise SynthfaceError(
            f"{expected} processes were started, but {state.num_processes} came together; start them with torchrun"
        )
    return World(state.process_index, state.num_processes, state.device)


def same_everywhere(world: World, tensors: Iterable[Tensor]) -> bool:
    """Whether every process holds the same numbers: what hand-averaged gradients must keep true."""
    total = torch.stack([tensor.detach().double().sum() for tensor in tensors]).sum()
    return bool(torch.equal(world.mean(total), total) or torch.allclose(world.mean(total), total, rtol=1e-12, atol=0.0))
