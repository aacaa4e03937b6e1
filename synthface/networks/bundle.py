"""Bundles: a trained generator as a folder that says everything about itself.

    config.json                  architecture, λ's names, ranges it was trained for, morphable model, camera, tile size,
                                 training data and licence, metrics, and the SHA-256 of every other file
    generator-NN.safetensors     weights, float16, in parts of at most 16 MiB
    selftest.safetensors         a tile of λ and ε, and the pictures that they must give
    priors.safetensors, .json    the λ-VAEs' decoders, where there are
    README.md                    the model card

Nothing in a bundle is executed. Reading the config needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthface.errors import CorruptDatasetError, GeneratorError
from synthface.factors.types import FactorLayout
from synthface.networks import decoders

if TYPE_CHECKING:
    from torch import Tensor

    from synthface.factors.priors import Prior
    from synthface.morphable.basis import MorphableBasis
    from synthface.networks.generator import GeneratorNetwork

FORMAT = "synthface-bundle-1"
CONFIG, CARD, SELF_TEST = "config.json", "README.md", "selftest.safetensors"
#: The self-test compares pictures reduced to this size, and lets them differ by so many of 255 levels.
SELF_TEST_PX, SELF_TEST_LEVELS = 64, 3.0


@dataclass(frozen=True)
class BundleConfig:
    """What a bundle says about itself.

    Args:
        name: of the generator.
        architecture: see `GeneratorConfig.to_dict`.
        expression_names: of λ's expression.
        morphable_model: `name` and `sha256` of the model that λ belongs to.
        camera: `focal_per_pixel` and `distance_dm` of the pictures.
        tile_size: K: pictures are always made in tiles of this many.
        trusted_ranges: factor path to the range it was trained for, in the spec's units.
        training: data, licence, recipe, images seen: what the card says.
        metrics: figures at export.
        priors: factors with a learned prior.
        files: every other file to its SHA-256.
    """

    name: str
    architecture: Mapping[str, Any]
    expression_names: tuple[str, ...]
    morphable_model: Mapping[str, str]
    camera: Mapping[str, float]
    tile_size: int = 8
    trusted_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    priors: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_px(self) -> int:
        """Of its pictures."""
        return int(self.architecture["synthesis"]["size_px"])

    def layout(self, basis: MorphableBasis, priors: Mapping[str, Prior] | None = None) -> FactorLayout:
        """The sizes and names of λ and ε, with what the generator adds to the morphable model's.

        Args:
            basis: the morphable model.
            priors: the decoders that lie in the bundle's folder.

        Raises:
            GeneratorError: `basis` isn't the model that the generator was trained with.
        """
        if basis.digest != self.morphable_model["sha256"]:
            raise GeneratorError(
                f"generator {self.name!r} was trained with morphable model {self.morphable_model['name']!r} "
                f"({self.morphable_model['sha256'][:12]}…), found {basis.name!r} ({basis.digest[:12]}…); "
                "λ would mean something else: use the version of the model that the bundle names"
            )
        return replace(
            basis.layout(num_noise=int(self.architecture["num_noise"])),
            expression_names=self.expression_names,
            trusted_ranges=dict(self.trusted_ranges),
            priors=priors or {},
        )


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Args:
        folder: where it came from.
        config: what it says.
        network: the generator, in eval mode.
    """

    folder: Path
    config: BundleConfig
    network: GeneratorNetwork

    def priors(self) -> Mapping[str, Prior]:
        """Factor to its prior."""
        return priors_of(self.folder, self.config)


def priors_of(folder: str | Path, config: BundleConfig) -> Mapping[str, Prior]:
    """The priors that lie in a bundle's folder; no torch needed."""
    return decoders.load_decoders(folder) if config.priors else {}


def read_config(folder: str | Path) -> BundleConfig:
    """A bundle's config alone; no torch needed.

    Raises:
        GeneratorError: there is no bundle, or it is of another format.
    """
    folder = Path(folder)
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise GeneratorError(
            f"{folder}: no bundle there ({CONFIG} can't be read: {error.strerror}); a bundle is a folder that "
            "`python -m training export` wrote"
        ) from error
    except ValueError as error:
        raise GeneratorError(f"{folder / CONFIG}: not JSON ({error}); copy the bundle anew") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise GeneratorError(f"{folder / CONFIG}: format is {found!r}, this version reads {FORMAT!r}")
    del data["format"]
    ranges = {name: (low, high) for name, (low, high) in data["trusted_ranges"].items()}
    tuples = {name: tuple(data[name]) for name in ("expression_names", "priors")}
    try:
        return BundleConfig(**{**data, **tuples, "trusted_ranges": ranges})
    except TypeError as error:
        raise GeneratorError(f"{folder / CONFIG}: {error}; it is of another version") from error


def load_bundle(folder: str | Path, *, device: str = "cpu", self_test: bool = True) -> Bundle:
    """Load a bundle, check its hashes, and see that it draws what it drew when it was made.

    Raises:
        GeneratorError: something is missing, damaged, or draws something else.
    """
    from synthface.networks.generator import GeneratorConfig, GeneratorNetwork
    from synthface.networks.parts import load_module, read_parts

    folder = Path(folder)
    config = read_config(folder)
    _check_files(folder, config.files)
    parts = {name: sha for name, sha in config.files.items() if name.startswith("generator-")}
    try:
        tensors = read_parts(folder, parts)
        network = GeneratorNetwork(GeneratorConfig.from_dict(config.architecture))
        load_module("generator", network, {name: tensor.float() for name, tensor in tensors.items()})
    except (CorruptDatasetError, OSError) as error:
        raise GeneratorError(f"{error}; copy the bundle anew") from error
    except (RuntimeError, TypeError, KeyError) as error:
        raise GeneratorError(f"{folder}: weights don't fit the architecture in {CONFIG} ({error})") from error
    network.eval().requires_grad_(False).to(device)
    bundle = Bundle(folder, config, network)
    if self_test:
        check_drawing(bundle, device=device)
    return bundle


def save_bundle(
    folder: str | Path, network: GeneratorNetwork, config: BundleConfig, *, vector: Tensor, noise: Tensor, card: str
) -> BundleConfig:
    """Write a bundle; returns its config with the hashes filled in.

    Args:
        folder: to write to; priors that lie there already are taken along.
        network: its weights are stored as float16, and the self-test's pictures are drawn with those.
        config: without `files`.
        vector, noise: λ (K, total) and ε (K, E) of the self-test, K = `config.tile_size`.
        card: the model card, Markdown.
    """
    from safetensors.torch import save

    from synthface.networks.generator import GeneratorNetwork as Network
    from synthface.networks.parts import load_module, module_tensors, write_parts

    assert len(vector) == config.tile_size
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = module_tensors("generator", network, "half")
    stored = Network(network.config).eval()
    load_module("generator", stored, {name: tensor.float() for name, tensor in tensors.items()})
    files = write_parts(folder, tensors, stem="generator")
    expected = _reduced(stored.pictures(vector, noise.numpy()))
    (folder / SELF_TEST).write_bytes(save({"vector": vector, "noise": noise, "pictures": expected}))
    (folder / CARD).write_text(card, encoding="utf-8")
    for name in (SELF_TEST, CARD, *((decoders.WEIGHTS, decoders.CONFIG) if config.priors else ())):
        files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    whole = BundleConfig(**{**vars(config), "files": files})
    text = json.dumps({"format": FORMAT, **asdict(whole)}, indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return whole


def check_drawing(bundle: Bundle, *, device: str = "cpu") -> float:
    """Draw the self-test's tile; returns the greatest difference in levels of 255.

    Raises:
        GeneratorError: the pictures differ from those drawn at export by more than rounding can explain.
    """
    from safetensors.torch import load

    test = load((bundle.folder / SELF_TEST).read_bytes())
    drawn = _reduced(bundle.network.pictures(test["vector"].to(device), test["noise"].numpy())).cpu()
    off = float((drawn - test["pictures"]).abs().max()) * 127.5
    if not np.isfinite(off) or off > SELF_TEST_LEVELS:
        raise GeneratorError(
            f"{bundle.folder}: self-test failed: a pinned λ draws a picture that is off by {off:.1f} of 255 levels, "
            f"allowed: {SELF_TEST_LEVELS}; this torch build ({device}) computes something else: try device cpu"
        )
    return off


def _reduced(pictures: Tensor) -> Tensor:
    from torch.nn.functional import adaptive_avg_pool2d

    return adaptive_avg_pool2d(pictures.float(), min(SELF_TEST_PX, pictures.shape[-1])).contiguous()


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        if Path(name).name != name:
            raise GeneratorError(f"{folder / CONFIG}: names a file outside the bundle, {name!r}; don't use this bundle")
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise GeneratorError(f"{folder / name}: can't be read ({error.strerror}); copy the bundle anew") from error
        if found != expected:
            raise GeneratorError(
                f"{folder / name}: its SHA-256 is {found[:12]}…, {CONFIG} says {expected[:12]}…; "
                "the file is damaged or of another version: copy the bundle anew"
            )
