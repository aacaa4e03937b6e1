"""Checkpoints: whole or not at all, exact at full precision, found damaged when they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from synthface.errors import CorruptDatasetError
from synthface.networks import parts
from training import checkpoint


def step(model: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    optimiser.zero_grad()
    model(torch.randn(8, 5)).square().mean().backward()
    optimiser.step()


def made(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def tensors_of(model: nn.Module, optimiser: torch.optim.Optimizer, precision: checkpoint.Precision = "full") -> dict:
    return checkpoint.module_tensors("m", model, precision) | checkpoint.optimiser_tensors("o", optimiser, precision)


def test_resuming_at_full_precision_is_exact(tmp_path: Path) -> None:
    """Two steps, save, load, two steps: bit for bit the same as four steps."""
    model, optimiser = made()
    for seed in range(2):
        step(model, optimiser, seed)
    checkpoint.save_checkpoint(tmp_path, 2, tensors_of(model, optimiser), {"note": "half-way"})
    again, again_optimiser = made(seed=9)
    loaded = checkpoint.load_latest(tmp_path, warn=pytest.fail)
    assert loaded is not None
    assert loaded.step == 2
    assert loaded.state == {"note": "half-way"}
    checkpoint.load_module("m", again, loaded.tensors)
    assert checkpoint.load_optimiser("o", again_optimiser, loaded.tensors)
    for seed in range(2, 4):
        step(model, optimiser, seed)
        step(again, again_optimiser, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_half_precision_keeps_tiny_squares(tmp_path: Path) -> None:
    """Adam's second moments, far below what float16 can hold, survive within bfloat16's precision."""
    model, optimiser = made()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-6)
    optimiser.step()
    checkpoint.save_checkpoint(tmp_path, 1, tensors_of(model, optimiser, "half"), {})
    loaded = checkpoint.load_latest(tmp_path, warn=pytest.fail)
    assert loaded is not None
    assert loaded.tensors["m.0.weight"].dtype == torch.float16
    assert loaded.tensors["o.0.exp_avg_sq"].float().mean().item() == pytest.approx(1e-15, rel=0.01)
    again, again_optimiser = made(9)
    checkpoint.load_module("m", again, loaded.tensors)
    checkpoint.load_optimiser("o", again_optimiser, loaded.tensors)
    assert next(iter(again.parameters())).dtype == torch.float32


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "no state"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    model, optimiser = made()
    for number in (1, 2):
        step(model, optimiser, number)
        checkpoint.save_checkpoint(tmp_path, number, tensors_of(model, optimiser), {})
    part = next((tmp_path / "0000000002").glob("part-*"))
    data = part.read_bytes()
    if damage == "truncate":
        part.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "remove":
        part.unlink()
    else:
        (tmp_path / "0000000002" / "state.json").unlink()
    warnings: list[str] = []
    loaded = checkpoint.load_latest(tmp_path, warn=warnings.append)
    assert loaded is not None
    assert loaded.step == 1
    assert len(warnings) == 1
    assert "0000000002" in warnings[0]
    with pytest.raises(CorruptDatasetError):
        checkpoint.load_checkpoint(tmp_path / "0000000002")


def test_only_the_last_are_kept_and_leftovers_are_ignored(tmp_path: Path) -> None:
    (tmp_path / ".0000000009.tmp").mkdir()
    for number in range(4):
        checkpoint.save_checkpoint(tmp_path, number, {"x": torch.ones(1)}, {}, keep=2)
    assert [p.name for p in sorted(tmp_path.glob("0*"))] == ["0000000002", "0000000003"]
    assert checkpoint.load_latest(tmp_path, warn=pytest.fail).step == 3  # type: ignore[union-attr]
    assert checkpoint.load_latest(tmp_path / "nowhere", warn=pytest.fail) is None


def test_parts_stay_small_and_large_tensors_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part is above the limit, and tensors above it come back whole."""
    monkeypatch.setattr(parts, "PART_BYTES", parts._HEADER_BYTES + 4096)
    tensors = {"big": torch.randn(100, 40), "small": torch.arange(5), "other": torch.randn(30, 30)}
    hashes = parts.write_parts(tmp_path, tensors)
    assert len(hashes) >= 5
    assert all((tmp_path / name).stat().st_size < parts._HEADER_BYTES + 4096 for name in hashes)
    back = parts.read_parts(tmp_path, hashes)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
