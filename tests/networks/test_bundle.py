"""Bundles: they come back as they were saved, and refuse to load when anything is off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from synthface.errors import GeneratorError
from synthface.factors.types import FactorBatch
from synthface.generators.base import Generator
from synthface.generators.gan import GanGenerator
from synthface.morphable import camera
from synthface.networks.bundle import BundleConfig, check_drawing, load_bundle, read_config, save_bundle
from synthface.networks.generator import GeneratorConfig, GeneratorNetwork
from synthface.networks.mapping import LambdaSizes
from synthface.networks.synthesis import SynthesisConfig
from synthface.networks.truncation import Truncation
from synthface.networks.vae import VaeConfig
from tests.toy import sphere_basis

BASIS = sphere_basis()
SIZES = LambdaSizes.of(BASIS.layout())
TILE = 4


def network(inputs: str = "lambda") -> GeneratorNetwork:
    torch.manual_seed(0)
    synthesis = SynthesisConfig("modulated", 16, 16, 128, 16, (8,))
    groups = ("identity", "expression", "lighting", "pose")
    vaes = {g: VaeConfig(len(SIZES.columns(g)), 3, 8) for g in groups} if inputs == "z" else {}
    net = GeneratorNetwork(GeneratorConfig(SIZES, synthesis, 8, inputs, 3, 0.1, vaes))  # type: ignore[arg-type]
    for name, parameter in net.named_parameters():
        if name.endswith(("strength", "gain")):
            torch.nn.init.constant_(parameter, 0.2)
    return net.eval()


def inputs(num: int = TILE) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num, SIZES.total, generator=generator), torch.randn(num, 8, generator=generator)


def config(net: GeneratorNetwork, **changes: object) -> BundleConfig:
    settings = {
        "name": "test",
        "architecture": net.config.to_dict(),
        "expression_names": BASIS.expression_names,
        "morphable_model": {"name": BASIS.name, "sha256": BASIS.digest},
        "camera": {"focal_per_pixel": camera.FOCAL_PER_PIXEL, "distance_dm": camera.DISTANCE_DM},
        "tile_size": TILE,
        "trusted_ranges": {"pose.yaw": (-30.0, 30.0)},
        "training": {"data": {"licence": "CC0"}},
    }
    return BundleConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    net = network()
    vector, noise = inputs()
    save_bundle(folder, net, config(net), vector=vector, noise=noise, card="# test\n")
    return folder


def test_a_bundle_comes_back(saved: Path) -> None:
    """Config, and pictures within what float16 weights allow."""
    bundle = load_bundle(saved)
    net = network()
    vector, noise = inputs()
    assert bundle.config.trusted_ranges == {"pose.yaw": (-30.0, 30.0)}
    assert bundle.config.expression_names == BASIS.expression_names
    assert set(bundle.config.files) == {"generator-00.safetensors", "selftest.safetensors", "README.md"}
    drawn, before = bundle.network.pictures(vector, noise.numpy()), net.pictures(vector, noise.numpy())
    assert (drawn - before).abs().max() < 0.05
    assert check_drawing(bundle) < 0.1
    assert bundle.network.config == net.config


@pytest.mark.parametrize("kind", ["lambda", "z"])
def test_architectures_survive_json(kind: str) -> None:
    made = network(kind).config
    assert GeneratorConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_generator_that_takes_z_reaches_it_through_the_encoders() -> None:
    """λ goes through each factor's encoder; changing one factor changes its z alone."""
    net = network("z")
    vector, _ = inputs()
    other = vector.clone()
    columns = SIZES.columns("pose")
    other[:, columns] += 1.0
    z, z_other = net.condition(vector), net.condition(other)
    assert z.shape == (TILE, 12)
    assert torch.equal(z[:, :9], z_other[:, :9])
    assert not torch.allclose(z[:, 9:], z_other[:, 9:])


def damage_config(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / "config.json").read_text())
        change(data)
        (folder / "config.json").write_text(json.dumps(data))

    return apply


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-50])


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (lambda f: shutil.rmtree(f), "no bundle there"),
    "not json": (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    "format": (damage_config(lambda d: d.update(format="other")), "format is 'other'"),
    "unknown field": (damage_config(lambda d: d.update(extra=1)), "another version"),
    "weights cut": (cut("generator-00.safetensors"), "SHA-256"),
    "card changed": (lambda f: (f / "README.md").write_text("other"), "README.md"),
    "file missing": (lambda f: (f / "selftest.safetensors").unlink(), "can't be read"),
    "file outside": (damage_config(lambda d: d["files"].update({"../x": "0"})), "outside the bundle"),
    "architecture": (damage_config(lambda d: d["architecture"]["synthesis"].update(w_dim=8)), "don't fit"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_in_one_sentence(saved: Path, tmp_path: Path, name: str) -> None:
    apply, message = DAMAGES[name]
    folder = tmp_path / "b"
    shutil.copytree(saved, folder)
    apply(folder)
    with pytest.raises(GeneratorError, match=message):
        load_bundle(folder)


def test_the_self_test_notices_other_weights(saved: Path, tmp_path: Path) -> None:
    """Weights with right hashes that draw something else are refused."""
    import hashlib

    from safetensors.torch import load, save

    folder = tmp_path / "b"
    shutil.copytree(saved, folder)
    path = folder / "generator-00.safetensors"
    tensors = load(path.read_bytes())
    tensors["generator.synthesis.blocks.1.to_rgb.weight"] *= 1.3
    path.write_bytes(save(tensors))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    damage_config(lambda d: d["files"].update({path.name: sha}))(folder)
    with pytest.raises(GeneratorError, match="self-test failed"):
        load_bundle(folder)
    assert load_bundle(folder, self_test=False).config.name == "test"


def batch(num: int = TILE) -> FactorBatch:
    rng = np.random.default_rng(0)
    sizes = {"shape": 4, "albedo": 2, "expression": 3, "pose_rad": 3, "noise": 8}
    arrays = {name: rng.normal(size=(num, size)).astype(np.float32) * 0.3 for name, size in sizes.items()}
    sh = rng.normal(size=(num, 3, 9)).astype(np.float32)
    return FactorBatch(sh=sh, **arrays)


def test_a_bundle_is_a_generator(saved: Path) -> None:
    """Same tile, same bytes; labels come from the morphable model at the size asked for."""
    made = GanGenerator(load_bundle(saved), BASIS)
    assert isinstance(made, Generator)
    assert made.layout.trusted_ranges == {"pose.yaw": (-30.0, 30.0)}
    assert made.layout.num_noise == 8
    first, again = made.generate(batch(), size_px=16), made.generate(batch(), size_px=16)
    assert first.images.shape == (TILE, 16, 16, 3)
    assert first.images.dtype == np.uint8
    assert np.array_equal(first.images, again.images)
    assert len(np.unique(first.images)) > 20
    larger = made.generate(batch(), size_px=40)
    assert larger.images.shape == (TILE, 40, 40, 3)
    assert larger.scene.landmarks68_px.shape == (TILE, 68, 2)
    assert made.describe()["truncation"] is None


def test_pictures_depend_on_every_factor_and_on_noise(saved: Path) -> None:
    import dataclasses

    made = GanGenerator(load_bundle(saved), BASIS)
    before = made.generate(batch(), size_px=16).images
    for name in ("shape", "albedo", "expression", "sh", "pose_rad", "noise"):
        changed = dataclasses.replace(batch(), **{name: getattr(batch(), name) + np.float32(1.0)})
        assert not np.array_equal(made.generate(changed, size_px=16).images, before), name


def test_samples_do_not_influence_one_another(saved: Path) -> None:
    """A tile's rows in another order give the same pictures in that order, within one level."""
    made = GanGenerator(load_bundle(saved), BASIS)
    straight = made.generate(batch(), size_px=16).images
    order = np.array([3, 1, 0, 2])
    turned = made.generate(batch()[order], size_px=16).images[np.argsort(order)]
    assert np.abs(straight.astype(int) - turned.astype(int)).max() <= 1


def test_another_morphable_model_or_camera_is_refused(saved: Path) -> None:
    bundle = load_bundle(saved)
    with pytest.raises(GeneratorError, match="trained with morphable model 'sphere'"):
        GanGenerator(bundle, sphere_basis(num_shape=5))
    import dataclasses

    other = dataclasses.replace(bundle.config, camera={"focal_per_pixel": 4.0, "distance_dm": 10.0})
    with pytest.raises(GeneratorError, match="trained for camera"):
        GanGenerator(dataclasses.replace(bundle, config=other), BASIS)


def test_attribute_preserving_truncation_leaves_the_other_factors_differences_alone() -> None:
    """In W, what a change of pose, light or expression does stays exactly; plain truncation shrinks it to ψ."""
    net = network()
    net.w_mean.copy_(torch.randn(16) * 0.1)
    net.w_alpha.copy_(torch.randn(16) * 0.1)
    vector, noise = inputs()
    other = vector.clone()
    for group in ("expression", "lighting", "pose"):
        other[:, SIZES.columns(group)] += 0.5
    for kind, share in (("attribute-preserving", 1.0), ("plain", 0.7), ("none", 1.0)):
        truncation = Truncation(0.7, kind, 0, 4)  # type: ignore[arg-type]
        moved = net.w_plus(other, noise, truncation) - net.w_plus(vector, noise, truncation)
        free = net.w_plus(other, noise) - net.w_plus(vector, noise)
        assert torch.allclose(moved[:, :4], share * free[:, :4], atol=1e-5), kind
        assert torch.allclose(moved[:, 4:], free[:, 4:], atol=1e-6), kind


def test_attribute_preserving_truncation_draws_identities_together() -> None:
    """At ψ = 0, neutral faces of all identities have the same style, the centre's."""
    net = network()
    net.w_alpha.copy_(torch.randn(16))
    vector, noise = inputs()
    neutral = net.neutralised(vector)
    ws = net.w_plus(neutral, torch.zeros_like(noise), Truncation(0.0, last_layer=3))
    assert torch.allclose(ws[:, :3], net.w_alpha.expand(TILE, 3, -1), atol=1e-5)


def test_reading_a_config_needs_no_torch(saved: Path) -> None:
    import subprocess
    import sys

    code = f"""import sys
from synthface.networks.bundle import read_config
read_config({str(saved)!r})
print("torch" in sys.modules)"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
    assert read_config(saved).size_px == 16
