"""A small world for rehearsals and tests: renderings as photos, with everything that training needs beside them.

`python -m training toy OUT` writes `lambda.parquet`, `pack.safetensors`, `bank.safetensors` and small networks that have
learned to read these pictures. Nothing here looks like a person; everything goes through the real code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.factors import lighting
from synthface.factors.types import FactorBatch
from synthface.generators.morphable import backdrop
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.camera import clip_to_pixels
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.networks.mapping import LambdaSizes
from training.gan import bank, pack
from training.gan.frozen import Reconstructed, name_frozen
from training.lambda_table import LambdaTable, write_table


@dataclass(frozen=True)
class ToyRecipe:
    """How large the world is.

    Args:
        num_photos: rendered as photos.
        size_px: of the photos.
        network_steps: training steps of each small network.
        max_yaw_deg: poses are uniform within it; pitch within a third of it.
        bank: of the bank.
        seed: of everything.
    """

    num_photos: int = 256
    size_px: int = 32
    network_steps: int = 150
    max_yaw_deg: float = 30.0
    bank: bank.BankRecipe = field(default_factory=lambda: bank.BankRecipe(128, 32, 32, 32))
    seed: int = 0


def draw_factors(basis: MorphableBasis, num: int, recipe: ToyRecipe) -> FactorBatch:
    """λ and ε of the world's photos: all factors independent."""
    rng = np.random.default_rng(recipe.seed)
    active = rng.random((num, basis.num_expression)) < 0.1
    azimuth, elevation = rng.uniform(-70, 70, num), rng.uniform(-20, 50, num)
    sh = lighting.ambient(np.full(num, 0.35)) + lighting.directional(azimuth, elevation, np.full(num, 0.8))
    pose_deg = rng.uniform(-1, 1, (num, 3)) * np.array([recipe.max_yaw_deg / 3, recipe.max_yaw_deg, 3.0])
    arrays = {
        "shape": rng.normal(size=(num, basis.num_shape)),
        "albedo": rng.normal(size=(num, basis.num_albedo)),
        "expression": active * rng.uniform(0, 0.8, active.shape),
        "sh": sh,
        "pose_rad": np.deg2rad(pose_deg),
        "noise": rng.normal(size=(num, 32)),
    }
    return FactorBatch(**{name: values.astype(np.float32) for name, values in arrays.items()})


@dataclass(frozen=True)
class ToyPictures:
    """Pictures (N, 3, H, W) in [−1, 1], their λ (N, total), landmarks (N, 68, 2) in sizes, scalp (N, 1, H, W)."""

    images: Tensor
    vector: Tensor
    landmarks: Tensor
    scalp: Tensor


@torch.no_grad()
def draw_pictures(model: MorphableModel, factors: FactorBatch, size_px: int) -> ToyPictures:
    """The world's photos, with what is true of them."""
    sizes = LambdaSizes.of(model.basis.layout())
    is_scalp = np.append(model.basis.face_part == model.basis.part_names.index("scalp"), False)
    pieces = []
    for start in range(0, len(factors), 32):
        part = factors[start : start + 32]
        tensors = Factors.of(part)
        behind = backdrop(torch.from_numpy(part.noise), size_px)
        rendered = render(model, tensors, size_px, supersample=2, background=behind)
        scalp = F.avg_pool2d(torch.from_numpy(is_scalp)[rendered.fragments.face_idx][:, None].float(), 2)
        landmarks = clip_to_pixels(rendered.clip[:, model.landmarks68], 1)
        pieces.append((rendered.image, sizes.pack(tensors), landmarks, scalp))
    return ToyPictures(*(torch.cat(column) for column in zip(*pieces, strict=True)))


class Reader(nn.Module):
    """A small convolutional network: pictures to numbers, or to a map.

    Args:
        num_out: numbers to read; 0 for a map.
        size_px: pictures are brought to this size first.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_out: int, size_px: int = 32, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        strides = (2, 2, 2) if num_out else (2, 1, 1)
        for num_in, num, stride in zip((5, width, 2 * width), (width, 2 * width, 2 * width), strides, strict=True):
            layers += [nn.Conv2d(num_in, num, 3, padding=1, stride=stride), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        side = size_px // 8
        self.head = nn.Linear(2 * width * side * side, num_out) if num_out else nn.Conv2d(2 * width, 1, 1)
        self.num_out, self.size_px = num_out, size_px
        self.register_buffer("mean", torch.zeros(max(num_out, 1)))
        self.register_buffer("scale", torch.ones(max(num_out, 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Numbers (N, num_out), or a map of logits (N, 1, size, size)."""
        x = F.interpolate(images, size=(self.size_px, self.size_px), mode="bilinear", align_corners=False)
        ramp = torch.linspace(-1, 1, self.size_px, device=x.device)
        places = torch.stack([ramp.expand(self.size_px, -1), ramp[:, None].expand(-1, self.size_px)])
        x = self.body(torch.cat([x, places.expand(len(x), -1, -1, -1)], dim=1))
        if self.num_out == 0:
            return F.interpolate(self.head(x), scale_factor=2, mode="bilinear", align_corners=False)
        numbers: Tensor = self.head(x.flatten(1))
        return numbers * self.scale + self.mean


def fit_reader(images: Tensor, target: Tensor, *, steps: int, seed: int) -> Reader:
    """A reader of numbers (N, D) or of a map (N, 1, H, W) from pictures."""
    is_map = target.dim() == 4
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = Reader(0 if is_map else target.shape[1], images.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    if not is_map:
        reader.mean.copy_(target.mean(dim=0))
        reader.scale.copy_(target.std(dim=0).clamp_min(1e-6))
    optimiser = torch.optim.Adam(reader.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (32,), generator=generator)
        read = reader(images[rows])
        if is_map:
            loss = F.binary_cross_entropy_with_logits(read, target[rows])
        else:
            loss = ((read - target[rows]) / reader.scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return reader.eval().requires_grad_(False)


class ToyRecogniser(nn.Module):
    """Reads the identity coefficients and calls them a descriptor."""

    mean: Tensor

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader
        self.register_buffer("mean", reader.mean.clone())

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Descriptors (N, D); these pictures are aligned, so landmarks aren't needed."""
        read: Tensor = self.reader(images)
        return read


class ToyReconstructor(nn.Module):
    """Reads λ and landmarks."""

    def __init__(self, reader: Reader, num_lambda: int) -> None:
        super().__init__()
        self.reader, self.num_lambda = reader, num_lambda

    def forward(self, images: Tensor) -> Reconstructed:
        """λ (N, total) and landmarks (N, 68, 2)."""
        read = self.reader(images)
        return Reconstructed(read[:, : self.num_lambda], read[:, self.num_lambda :].reshape(-1, 68, 2))


class ToyParser(nn.Module):
    """Reads the scalp, in place of hair."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, images: Tensor) -> Tensor:
        """Probability (N, 1, H, W)."""
        return torch.sigmoid(self.reader(images))


class ToyFeatures(nn.Module):
    """Two maps of a network that has learned nothing: random convolutions tell pictures apart well enough."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.second = nn.Conv2d(3, 8, 5, 2, 2), nn.Conv2d(8, 16, 3, 2, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of 8 and 16 channels, of half and a quarter of the size."""
        first = F.relu(self.first(images))
        return first, F.relu(self.second(first))


def build_world(out: Path, recipe: ToyRecipe, report: Callable[[str], None] = lambda line: None) -> None:
    """Write the whole world to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    basis = MorphableBasis.load()
    model, sizes = MorphableModel(basis), LambdaSizes.of(basis.layout())
    factors = draw_factors(basis, recipe.num_photos, recipe)
    pictures = draw_pictures(model, factors, recipe.size_px)
    report(f"{recipe.num_photos} photos")
    keys = tuple(f"{n:06d}" for n in range(recipe.num_photos))
    table = LambdaTable.of(factors, keys, basis.expression_names, basis.name)
    write_table(out / "lambda.parquet", table)
    pixels = ((pictures.images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    photos = [pack.encode_photo(picture, quality=95) for picture in pixels]
    card = {"source": "renderings of the default morphable model", "licence": "CC0"}
    pack.write_pack(out / pack.NAME, photos, table, size_px=recipe.size_px, card=card)
    _fit_networks(out / "networks", pictures, sizes, recipe)
    for role, factory in (("recognition", "recognition"), ("reconstruction", "reconstruction"), ("parser", "parser")):
        name_frozen(out, role, f"training.gan.toy:{factory}")
    name_frozen(out, "judge", "training.gan.toy:reconstruction", name="judge")
    name_frozen(out, "features", "training.gan.toy:features")
    report("networks")
    recogniser = recognition(out)
    bank.build_bank(out / bank.NAME, model, table.vector, sizes, recipe.bank, recogniser=recogniser)
    report(f"{2 * recipe.bank.num_pairs} renderings")


def _fit_networks(folder: Path, pictures: ToyPictures, sizes: LambdaSizes, recipe: ToyRecipe) -> None:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    everything = torch.cat([pictures.vector, pictures.landmarks.flatten(1)], dim=1)
    targets = {
        "recognition": pictures.vector[:, sizes.columns("identity")],
        "reconstruction": everything,
        "judge": everything,
        "parser": pictures.scalp,
    }
    for number, (name, target) in enumerate(targets.items()):
        reader = fit_reader(pictures.images, target, steps=recipe.network_steps, seed=recipe.seed + number)
        tensors = {key: value.contiguous() for key, value in reader.state_dict().items()}
        save_file(
            tensors, folder / f"{name}.safetensors", {"size_px": str(recipe.size_px), "sizes_total": str(sizes.total)}
        )


def recognition(data: Path) -> ToyRecogniser:
    """The world's f_id."""
    return ToyRecogniser(_load_reader(data, "recognition")[0])


def reconstruction(data: Path, *, name: str = "reconstruction") -> ToyReconstructor:
    """The world's reconstruction network, or its `judge`."""
    return ToyReconstructor(*_load_reader(data, name))


def parser(data: Path) -> ToyParser:
    """The world's parser."""
    return ToyParser(_load_reader(data, "parser")[0])


def features(data: Path) -> ToyFeatures:
    """The world's features."""
    return ToyFeatures()


def _load_reader(data: Path, name: str) -> tuple[Reader, int]:
    from safetensors import safe_open

    with safe_open(data / "networks" / f"{name}.safetensors", "pt") as file:
        meta = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    num_out = 0 if tensors["head.weight"].dim() == 4 else len(tensors["mean"])
    reader = Reader(num_out, int(meta["size_px"]))
    reader.load_state_dict(tensors)
    return reader.eval().requires_grad_(False), int(meta["sizes_total"])
