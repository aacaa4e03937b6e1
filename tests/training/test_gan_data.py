"""Packs, banks and what is drawn from them; the figures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from synthface.errors import DatasetError
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import MorphableModel
from synthface.morphable.render import render
from synthface.networks.mapping import GROUPS
from tests.training.test_vae import table
from training.gan import metrics
from training.gan.bank import EXPRESSION, LIGHTING, Bank, shuffled_factors
from training.gan.losses import expression_loss, mean_colour
from training.gan.mapped import MappedTensors, pack_bits, unpack_bits
from training.gan.pack import Pack, encode_photo, write_pack


def test_mapped_files_are_safetensors(world: Path) -> None:
    """What is read in place is what safetensors reads."""
    mapped = MappedTensors(world / "bank.safetensors", "synthface-bank-1")
    whole = load_file(world / "bank.safetensors")
    assert set(mapped) == set(whole)
    for name in mapped:
        assert np.array_equal(mapped[name][:], whole[name])


def test_damaged_files_are_refused(world: Path, tmp_path: Path) -> None:
    data = (world / "bank.safetensors").read_bytes()
    path = tmp_path / "bank.safetensors"
    path.write_bytes(data[:-10])
    with pytest.raises(DatasetError, match="cut short"):
        Bank(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(DatasetError, match="can't be read"):
        Bank(path)
    with pytest.raises(DatasetError, match="its format is 'synthface-bank-1'"):
        Pack(world / "bank.safetensors")
    with pytest.raises(DatasetError, match="can't be read"):
        Pack(tmp_path / "none.safetensors")


def test_bits_survive() -> None:
    mask = np.random.default_rng(0).random((3, 10, 10)) > 0.5
    assert np.array_equal(unpack_bits(pack_bits(mask), 10)[:, 0] > 0.5, mask)


def test_packs_hold_photos_and_lambda(tmp_path: Path) -> None:
    """Photos come back as JPEG leaves them, λ exactly, the validity mask bit for bit."""
    rows = table(5)
    ramp = np.linspace(0, 255, 16).astype(np.uint8)
    pixels = np.stack(
        [
            np.stack([np.tile(ramp, (16, 1)), np.full((16, 16), 40 * n, np.uint8), ramp[:, None].repeat(16, 1)], -1)
            for n in range(5)
        ]
    )
    valid = np.zeros((5, 16, 16), bool)
    valid[:, :, 3:] = True
    photos = [encode_photo(picture, quality=95) for picture in pixels]
    write_pack(tmp_path / "p.safetensors", photos, rows, size_px=16, card={"licence": "none stated"}, valid=valid)
    pack = Pack(tmp_path / "p.safetensors")
    number = torch.tensor([4, 1])
    images = pack.images(number)
    assert images.shape == (2, 3, 16, 16)
    assert (images - (torch.from_numpy(pixels[[4, 1]]).permute(0, 3, 1, 2) / 127.5 - 1)).abs().max() < 0.1
    assert torch.equal(pack.vector, rows.vector)
    assert pack.sizes == rows.sizes
    assert pack.card == {"licence": "none stated"}
    mask = pack.valid(number)
    assert mask is not None
    assert torch.equal(mask[:, 0] > 0.5, torch.from_numpy(valid[:2]))


def test_photos_of_the_wrong_size_are_refused(tmp_path: Path) -> None:
    photos = [encode_photo(np.zeros((8, 8, 3), np.uint8))] * 5
    write_pack(tmp_path / "p.safetensors", photos, table(5), size_px=16, card={})
    with pytest.raises(DatasetError, match="photo 0 is 8×8"):
        Pack(tmp_path / "p.safetensors")


def test_pairs_differ_in_one_factor_only(world: Path) -> None:
    bank = Bank(world / "bank.safetensors")
    assert len(bank.pairs[EXPRESSION]) == len(bank.pairs[LIGHTING]) == 12
    for kind, group in ((EXPRESSION, "expression"), (LIGHTING, "lighting")):
        first, second = bank.vector[bank.pairs[kind]], bank.vector[bank.pairs[kind] + 1]
        changed = (first != second).any(dim=0)
        columns = bank.sizes.columns(group)
        assert changed[columns].any()
        changed[columns] = False
        assert not changed.any()


def test_bank_rows_are_what_the_renderer_draws(world: Path) -> None:
    """Pictures, masks, colours and landmarks agree with a fresh rendering of the same λ."""
    bank, model = Bank(world / "bank.safetensors"), MorphableModel(MorphableBasis.load())
    numbers = torch.tensor([3, 40])
    rows = bank.rows(numbers)
    fresh = render(model, bank.sizes.unpack(rows.vector), 32, supersample=2)
    assert (rows.image - fresh.image).abs().max() < 0.01
    assert torch.allclose(mean_colour(fresh.image, rows.mask), rows.colour, atol=1e-5)
    assert 0.3 < rows.mask.mean() < 0.8
    assert (rows.mask * (1 - (fresh.coverage > 0.5).float())).sum() == 0, "the face lies inside the head"
    nose = rows.landmarks[:, 30]
    assert ((nose > 0.3) & (nose < 0.7)).all()


def test_flows_take_expression_pairs_to_one_another(world: Path) -> None:
    """Inside the face of both, x̂ warped by the bank's flow is nearer to x̂' than x̂ is, over all pairs."""
    bank = Bank(world / "bank.safetensors")
    numbers = bank.pairs[EXPRESSION]
    first, second, flow = bank.rows(numbers), bank.rows(numbers + 1), bank.flow(numbers)
    both = first.mask * second.mask
    warped = expression_loss(first.image, second.image, flow, both)
    still = expression_loss(first.image, second.image, torch.zeros_like(flow), both)
    assert warped < still


def test_shuffled_factors_come_whole_from_rows_of_the_table() -> None:
    rows = table(30)
    vector = shuffled_factors(rows.vector, rows.sizes, 50, generator=torch.Generator().manual_seed(0))
    sources = []
    for group in GROUPS:
        columns = rows.sizes.columns(group)
        same = (vector[:, None, columns] == rows.vector[None][:, :, columns]).all(dim=2)
        assert (same.sum(dim=1) >= 1).all()
        sources.append(same.float().argmax(dim=1))
    assert (sources[0] != sources[3]).any(), "factors are drawn independently"


def test_frechet_distance_of_known_normals() -> None:
    """Means 3 apart and standard deviations 1 and 2 in one of two directions: 9 + (2 − 1)²."""
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(100_000, 2, generator=rng)
    second = torch.randn(100_000, 2, generator=rng) * torch.tensor([2.0, 1.0]) + torch.tensor([0.0, 3.0])
    assert metrics.frechet_distance(first, second) == pytest.approx(10.0, rel=0.02)
    assert metrics.frechet_distance(first, first) == pytest.approx(0.0, abs=1e-6)


def test_correlation() -> None:
    x = torch.arange(10.0)
    assert metrics.correlation(x, 3 - 2 * x) == pytest.approx(-1.0)
    assert metrics.correlation(x, torch.ones(10)) == 0.0


def test_better_is_less_unless_said_otherwise() -> None:
    assert metrics.is_better("fd", {"fd": 1.0}, 2.0)
    assert not metrics.is_better("fd", {"fd": 3.0}, 2.0)
    assert metrics.is_better("-yaw_correlation", {"yaw_correlation": 0.9}, metrics.score("-y", {"y": 0.5}))
