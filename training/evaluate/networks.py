"""The networks that judge, and which of them training has seen.

A figure is worth less when a loss looked through the same network: G may have learned to please it. So every network here
says whether it was `seen_by_training`, and the report marks its figures. What is known comes from the bundle
(`training.loss_networks` in its config); bundles that don't say are taken to have used the shipped recognition network and
features, and none of the judges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.errors import SynthfaceError
from training.evaluate.subject import BundleSubject, Subject
from training.gan.frozen import load_frozen

_RECOGNITION = "synthface.networks.recognition:recognition"
#: Role to the entry of the network that ships for it, as `networks/<role>.json` of a data folder would name it.
SHIPPED: Mapping[str, Mapping[str, Any]] = {
    "judge": {"factory": "synthface.networks.reconstruction:reconstruction", "network": "judge"},
    "recognition": {"factory": _RECOGNITION, "network": "dlib-resnet"},
    "second recognition": {"factory": _RECOGNITION, "network": "mobileface"},
    "features": {"factory": "training.gan.features:efficientnet"},
}
#: Roles that losses use where a bundle doesn't say.
_ASSUMED_SEEN = frozenset({"recognition", "features"})


@dataclass(frozen=True)
class Named:
    """A network under the name that its figures carry.

    Args:
        name: `mobileface`, say.
        role: what it judges: `judge`, `recognition`, `second recognition`, `features`, `inception`.
        network: see `training.gan.frozen` for what each role is called with.
        seen_by_training: whether a loss of the generator's training looked through it.
        is_assumed: whether that is a guess, the bundle not saying.
        digest: of its weights.
    """

    name: str
    role: str
    network: Any
    seen_by_training: bool = False
    is_assumed: bool = False
    digest: str = ""

    def to_plain(self) -> dict[str, Any]:
        """For the JSON."""
        names = ("name", "role", "seen_by_training", "is_assumed", "digest")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Networks:
    """All networks of an evaluation.

    Args:
        judge: reads λ and landmarks off pictures.
        recognisers: who is it?
        features: maps for Fréchet distances and path lengths.
        inception: TF-Inception's pooled features of 8-bit levels, where the user gave it.
        missing: role to why there is none.
    """

    judge: Named | None = None
    recognisers: tuple[Named, ...] = ()
    features: Named | None = None
    inception: Named | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Named | None:
        """The recogniser to judge by: one that training hasn't seen, where there is one."""
        unseen = [named for named in self.recognisers if not named.seen_by_training]
        return (unseen or list(self.recognisers) or [None])[0]

    def all(self) -> tuple[Named, ...]:
        """Every network there is."""
        found = (self.judge, *self.recognisers, self.features, self.inception)
        return tuple(named for named in found if named is not None)

    def named(self, name: str) -> Named:
        """The network of that name."""
        return next(named for named in self.all() if named.name == name)


def load_networks(
    subject: Subject, *, data: Path | None = None, inception: Path | None = None, device: str = "cpu"
) -> Networks:
    """The networks that a data folder names, and for the other roles those that ship.

    A network that can't be had is left out, and its reason kept.
    """
    missing: dict[str, str] = {}
    found: dict[str, Named] = {}
    for role, shipped in SHIPPED.items():
        try:
            found[role] = _load(role, shipped, subject, data, torch.device(device))
        except (SynthfaceError, ImportError, AttributeError) as error:
            missing[role] = str(error)
    recognisers = tuple(found[role] for role in ("second recognition", "recognition") if role in found)
    tf = None if inception is None else load_inception(inception)
    return Networks(found.get("judge"), recognisers, found.get("features"), tf, missing)


def _load(role: str, shipped: Mapping[str, Any], subject: Subject, data: Path | None, device: torch.device) -> Named:
    path = None if data is None else data / "networks" / f"{role}.json"
    if data is not None and path is not None and path.is_file():
        entry = json.loads(path.read_text(encoding="utf-8"))
        network = getattr(load_frozen([role], data, device), role)
    else:
        entry, network = shipped, _shipped(role)
        network = network.to(device) if isinstance(network, nn.Module) else network
    seen, is_assumed = seen_by_training(role, entry, subject)
    return Named(_name(entry), role, network, seen, is_assumed, digest_of(network))


def _shipped(role: str) -> Any:
    if role == "features":
        from training.gan.features import efficientnet

        return efficientnet(Path())
    if role == "judge":
        import importlib

        return importlib.import_module("synthface.networks.reconstruction").load_reconstruction("judge")
    from synthface.networks.recognition import load_recognition

    return load_recognition(str(SHIPPED[role]["network"]))


def seen_by_training(role: str, entry: Mapping[str, Any], subject: Subject) -> tuple[bool, bool]:
    """Whether a loss of the generator's training used the network, and whether that is only assumed."""
    if not isinstance(subject, BundleSubject):
        return False, False
    used = subject.bundle.config.training.get("loss_networks")
    if used is None:
        return role in _ASSUMED_SEEN, True
    return _same(entry) in {_same(other) for other in used.values()}, False


def _same(entry: Mapping[str, Any]) -> tuple[str, str]:
    """What two entries of one network agree on; options such as the size that pictures are brought to don't count."""
    return str(entry.get("factory")), _name(entry)


def _name(entry: Mapping[str, Any]) -> str:
    """The network's own name, else that of its factory."""
    factory = str(entry.get("factory", ""))
    if factory == SHIPPED["features"]["factory"]:
        return "efficientnet-lite0"
    default = "dlib-resnet" if factory == _RECOGNITION else factory.rpartition(":")[2]
    return str(entry.get("network") or entry.get("name") or default)


def digest_of(network: Any) -> str:
    """SHA-256 of a module's tensors, shortened; of its type's name for anything else."""
    sha = hashlib.sha256(type(network).__qualname__.encode())
    if isinstance(network, nn.Module):
        for name, tensor in network.state_dict().items():
            sha.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def load_inception(path: Path) -> Named:
    """TF-Inception as a TorchScript file that takes uint8 pictures and `return_features=True`, and gives (N, 2048).

    That is the form in which StyleGAN2-ADA, StyleGAN3 and EDM use it (`inception-2015-12-05.pt`); with it, and only with
    it, a Fréchet distance is called FID.

    Raises:
        SynthfaceError: it isn't there, isn't TorchScript, or gives something else.
    """
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which this file is
            script = torch.jit.load(str(path), map_location="cpu").eval()
        probe = script(torch.zeros(1, 3, 299, 299, dtype=torch.uint8), return_features=True)
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        raise SynthfaceError(
            f"{path}: not TF-Inception as TorchScript ({str(error).splitlines()[0]}); give inception-2015-12-05.pt"
        ) from error
    if not isinstance(probe, Tensor) or probe.shape != (1, 2048):
        raise SynthfaceError(f"{path}: gives {getattr(probe, 'shape', type(probe))}, TF-Inception gives (1, 2048)")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Named("inception", "inception", _Inception(script), digest=digest)


class _Inception:
    """Pictures in [−1, 1] to TF-Inception's features."""

    def __init__(self, script: Callable[..., Tensor]) -> None:
        self.script = script

    def __call__(self, images: Tensor) -> Tensor:
        return self.script(((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8), return_features=True)


def describe(named: Named, images: Tensor, landmarks: Tensor) -> dict[str, Tensor]:
    """What a network reads off pictures (N, 3, H, W) whose faces are at landmarks (N, L, 2).

    Returns:
        For the judge `vector` (N, total) and `landmarks` (N, 68, 2); for the others (N, D) under their name.
    """
    images, landmarks = (x.to(device_of(named.network)) for x in (images, landmarks))
    if named.role == "judge":
        read = named.network(images)
        return {"vector": read.vector, "landmarks": read.landmarks}
    if named.role in ("recognition", "second recognition"):
        return {named.name: named.network(images, landmarks)}
    if named.role == "features":
        return {named.name: named.network(images)[-1].mean(dim=(2, 3))}
    return {named.name: named.network(images).flatten(1)}


def unit_descriptors(read: Mapping[str, Tensor], named: Named) -> Tensor:
    """A recogniser's descriptors (N, D) among readings, centred and brought to unit length, in double precision."""
    raw = read[named.name].double()
    return F.normalize(raw - named.network.mean.cpu().to(raw), dim=1)


def device_of(network: Any) -> torch.device:
    """Where a module lies; the CPU for anything else."""
    tensors = [*network.parameters(), *network.buffers()] if isinstance(network, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def perceptual_distance(features: Any, first: Tensor, second: Tensor) -> Tensor:
    """How different pictures look, (N,): per map, the squared distance of unit feature vectors, averaged over places.

    Source: Zhang et al. 2018 (LPIPS) without its learned weights; with no features, the mean squared difference of pixels.
    """
    if features is None:
        return (first - second).square().mean(dim=(1, 2, 3))
    device = device_of(features)
    total = torch.zeros(len(first), dtype=first.dtype)
    for a, b in zip(features(first.to(device)), features(second.to(device)), strict=True):
        difference = F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)
        total = total + difference.square().sum(dim=1).mean(dim=(1, 2)).to(total)
    return total
