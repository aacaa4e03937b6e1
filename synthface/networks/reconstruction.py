"""p(·) and γ(·): what is λ of this picture? A small network, and the morphable model's own geometry after it.

    network = load_reconstruction()                      # "reconstruction"; "judge" for measuring what was trained with it
    read = network(images)                               # (N, 3, H, W) in [−1, 1], any size
    factors = network.sizes.unpack(read.vector)
    read.landmarks                                       # (N, 68, 2) fractions of the picture

The network reads shape, albedo, named expressions, lighting, pose, and the view: where the picture that the camera would take
of that head lies in the given one. Landmarks follow from these by projection, so gradients through them reach the picture
through λ. A rendering of λ, scaled and moved by the view, is the reconstruction.

A network is a folder: `config.json` (backbone, sizes and names of λ, morphable model, card, hash) and `model.safetensors`
(weights as float16, normalisation folded in). Source: Deng et al. 2019, CVPRW, Sec. 3 (R-Net), with landmarks by the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import MorphableModel
from synthface.morphable.skin import plain_skin
from synthface.networks.backbones import BACKBONES, BackboneConfig, fold
from synthface.networks.folders import NetworkKind
from synthface.networks.mapping import LambdaSizes
from synthface.networks.points import Points
from synthface.networks.skin_reader import Anatomy, SkinReader, SkinReaderConfig, farthest_points

KIND = NetworkKind("reconstruction", "synthface-reconstruction-1", "python -m training reconstruct export")
DEFAULT, JUDGE = "reconstruction", "judge"


class Reconstructed(NamedTuple):
    """What is read off N pictures.

    Args:
        vector: (N, total) λ, packed as `LambdaSizes` says.
        landmarks: (N, 68, 2) fractions of the picture's size, origin at the top-left corner, y down.
        view: (N, 3) log zoom, x, y: a point at p in the camera's picture of λ is at zoom · (p − ½) + ½ + (x, y) here, both in
            fractions. None where pictures are aligned anyway.
    """

    vector: Tensor
    landmarks: Tensor
    view: Tensor | None = None


@dataclass(frozen=True)
class ReconstructionConfig:
    """What a network's folder says about it.

    Args:
        name: short name.
        architecture: one of `BACKBONES`.
        settings: of the backbone.
        num_shape, num_albedo, expression_names: the sizes and names of λ.
        morphable_model, morphable_model_sha256: the model that λ belongs to.
        card: data, licence, figures.
        skin: sizes of the part that reads light and skin off the face's colours; empty where the backbone reads them alone.
    """

    name: str
    architecture: str
    settings: Mapping[str, Any]
    num_shape: int
    num_albedo: int
    expression_names: tuple[str, ...]
    morphable_model: str
    morphable_model_sha256: str
    card: Mapping[str, Any]
    skin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> LambdaSizes:
        """The lengths of λ's parts."""
        return LambdaSizes(self.num_shape, self.num_albedo, len(self.expression_names))


class Reconstruction(nn.Module):
    """The network with the scales of its numbers and the landmarks' part of the morphable model.

    Buffers: `mean` and `scale` (total,) bring the network's numbers to λ, for expressions to its logit; `view_scale` (3,).

    Args:
        config: what it is.
        points: the 68 landmarks.
        anatomy: of the points that light and skin are read off; needed where the config has `skin`.
    """

    mean: Tensor
    scale: Tensor
    view_scale: Tensor

    def __init__(self, config: ReconstructionConfig, points: Points, anatomy: Anatomy | None = None) -> None:
        super().__init__()
        self.config = config
        self.sizes = config.sizes
        settings = BackboneConfig.from_dict(config.settings)
        self.size_px = settings.size_px
        self.backbone = BACKBONES[config.architecture](settings)
        self.head = nn.Linear(self.backbone.num_features, self.sizes.total + 3)
        self.points = points
        self.skin = None
        if config.skin and anatomy is not None:
            self.skin = SkinReader(SkinReaderConfig(**config.skin), anatomy, config.num_albedo)
        self.register_buffer("mean", torch.zeros(self.sizes.total))
        self.register_buffer("scale", torch.ones(self.sizes.total))
        self.register_buffer("view_scale", torch.tensor([0.15, 0.1, 0.1]))

    def forward(self, images: Tensor) -> Reconstructed:
        """Read pictures (N, 3, H, W) in [−1, 1], square, of any size."""
        return self.decode(self.numbers(images))

    def numbers(self, images: Tensor) -> Tensor:
        """The network's own numbers (N, total + 3), of about unit size."""
        if images.shape[-1] != images.shape[-2]:
            raise ValueError(f"pictures are {tuple(images.shape)}; allowed: (N, 3, size, size), cut them square first")
        if images.shape[-1] != self.size_px:
            size = (self.size_px, self.size_px)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        return self.numbers_of(self.backbone(images.contiguous(memory_format=torch.channels_last)), images)

    def numbers_of(self, features: Tensor, images: Tensor) -> Tensor:
        """The network's numbers from its backbone's vectors (N, F) and the pictures (N, 3, s, s) that these are of."""
        numbers: Tensor = self.head(features)
        return numbers if self.skin is None else self._with_skin(self.skin, images, numbers)

    def _with_skin(self, skin: SkinReader, images: Tensor, numbers: Tensor) -> Tensor:
        """The numbers, those of albedo and light corrected by what the face's colours say where the others put it."""
        parts, logits = self.sizes.parts, self.logits(numbers)
        coefficients = torch.cat([logits[:, parts["shape"]], torch.sigmoid(logits[:, parts["expression"]])], dim=1)
        view = self.view_scale * numbers[:, self.sizes.total :]
        light = self.mean[parts["sh"]], self.scale[parts["sh"]]
        found = skin(images, coefficients, logits[:, parts["pose_rad"]], view, light)
        more = torch.zeros_like(numbers)
        more[:, parts["albedo"]] = found[:, : skin.num_albedo]
        more[:, parts["sh"]] = found[:, skin.num_albedo :]
        return numbers + more

    def logits(self, numbers: Tensor) -> Tensor:
        """λ (N, total) of the network's numbers, expressions still as logits."""
        return self.mean + self.scale * numbers[:, : self.sizes.total]

    def decode(self, numbers: Tensor) -> Reconstructed:
        """The network's numbers as λ, landmarks and view."""
        parts = {name: self.logits(numbers)[:, place] for name, place in self.sizes.parts.items()}
        parts["expression"] = torch.sigmoid(parts["expression"])
        view = self.view_scale * numbers[:, self.sizes.total :]
        landmarks = self.points(parts["shape"], parts["expression"], parts["pose_rad"], view)
        return Reconstructed(torch.cat(list(parts.values()), dim=1), landmarks, view)


def new_reconstruction(config: ReconstructionConfig, basis: MorphableBasis) -> Reconstruction:
    """A network to train, its weights drawn from torch's generator; outputs begin near the means."""
    network = Reconstruction(config, Points.of(basis, basis.landmarks68), anatomy(basis, config.skin))
    nn.init.normal_(network.head.weight, std=1e-3)
    nn.init.zeros_(network.head.bias)
    return network


def anatomy(basis: MorphableBasis, skin: Mapping[str, Any]) -> Anatomy | None:
    """Points spread over the face for `SkinReader`; None where the network has none."""
    if not skin:
        return None
    normals = MorphableModel(basis).normals(torch.from_numpy(basis.mean_shape)[None])[0]
    face = torch.from_numpy(basis.face_vertices)
    chosen = face[farthest_points(torch.from_numpy(basis.mean_shape)[face], SkinReaderConfig(**skin).points)]
    points = Points.of(basis, chosen.numpy())
    albedo = torch.from_numpy(basis.mean_albedo)[chosen]
    is_skin = torch.from_numpy(plain_skin(basis))[chosen].float()
    return Anatomy(points.mean, points.linear, normals[chosen].float(), albedo, is_skin)


def load_reconstruction(source: str | Path = DEFAULT) -> Reconstruction:
    """A reconstruction network in eval mode, without gradient to its weights.

    Args:
        source: the name of one that ships, or a folder that `save_reconstruction` wrote.

    Raises:
        GeneratorError: files are missing, damaged, or of another format or architecture.
    """
    with KIND.folder(source) as folder:
        return _load(folder)


def reconstruction(data: Path, *, network: str = DEFAULT) -> Reconstruction:
    """The factory for a data folder's `networks/reconstruction.json` and `networks/judge.json`.

    Args:
        data: the data folder.
        network: the name of a network that ships, or a folder, relative to the data folder.
    """
    inside = data / network
    return load_reconstruction(inside if inside.is_dir() else network)


def save_reconstruction(folder: Path, network: Reconstruction) -> None:
    """Write a network: weights as float16 (normalisation must be folded in: see `backbones.fold`), buffers as float32."""
    buffers = {name for name, _ in network.named_buffers()}
    assert not any("running" in name for name in buffers), "fold the normalisation before saving"
    tensors = {name: value.float() if name in buffers else value.half() for name, value in network.state_dict().items()}
    KIND.write(folder, vars(network.config), tensors)


def _load(folder: Path) -> Reconstruction:
    data, sha256 = KIND.read_config(folder, BACKBONES)
    try:
        data["expression_names"] = tuple(map(str, data["expression_names"]))
        config = ReconstructionConfig(**data)
    except (KeyError, TypeError) as error:
        raise KIND.outdated(folder, error) from error
    tensors = KIND.read_weights(folder, sha256)
    try:
        bases = (torch.zeros(num, 68, 3) for num in (config.num_shape, config.sizes.expression))
        points = SkinReaderConfig(**config.skin).points if config.skin else 0
        network = Reconstruction(
            config,
            Points(torch.zeros(68, 3), *bases),
            Anatomy.empty(points, config.num_shape + config.sizes.expression),
        )
        fold(network)
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise KIND.unfit(folder, error) from error
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
