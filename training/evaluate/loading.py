"""Finding the networks that judge: those of a data folder, those that ship, TF-Inception; and whether training saw them.

What training saw is in the bundle (`training.loss_networks` in its config: role to entry, as in `networks/<role>.json`);
bundles that don't say are taken to have used the recognition network and the features of these roles, and no judge.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synthface.errors import GeneratorError, SynthfaceError
from synthface.networks.mapping import LambdaSizes
from training.evaluate.networks import Named, Networks, device_of
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
            named = _load(role, shipped, subject, data, torch.device(device))
            if role == "judge":
                _check_judge(named, subject)
            found[role] = named
        except (SynthfaceError, ImportError, AttributeError) as error:
            missing[role] = str(error)
    by_name = {found[role].name: found[role] for role in ("second recognition", "recognition") if role in found}
    tf = None if inception is None else load_inception(inception)
    return Networks(found.get("judge"), tuple(by_name.values()), found.get("features"), tf, missing)


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


def _check_judge(judge: Named, subject: Subject) -> None:
    total = LambdaSizes.of(subject.layout).total
    found = judge.network(torch.zeros(1, 3, 64, 64, device=device_of(judge.network))).vector.shape[1]
    if found != total:
        raise GeneratorError(
            f"{judge.name} reads λ of {found} numbers, the generator's has {total}: it was trained with another morphable "
            "model; train one with this"
        )


def _shipped(role: str) -> Any:
    if role == "features":
        from training.gan.features import efficientnet

        return efficientnet(Path())
    if role == "judge":
        from synthface.networks.reconstruction import load_reconstruction

        return load_reconstruction(str(SHIPPED[role]["network"]))
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which this file is
            script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
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
