"""Backbones that begin with the published face mesh network.

`facemesh` takes its trunk and learns on; `landmarks` takes it whole, as it is, looks twice as its authors do, and reads λ off
where the landmarks are once the head is turned to the front. The two err differently, so one can judge the other.
`training.reconstruct.pretrained` brings the published weights.

Source: Kartynnik et al. 2019, `Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs`; aligning by
Umeyama 1991.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from synthface.networks.backbones import BackboneConfig

#: Landmarks of the face mesh, and of these the outer corners of the right and the left eye.
NUM_LANDMARKS, _EYE_CORNERS = 468, (33, 263)
#: The mesh's own picture, px, and the square around a face, in sides of the landmarks' box.
_MESH_PX, _ROOM = 192, 1.5


class DepthwiseBlock(nn.Module):
    """3 × 3 for each channel, 1 × 1 across them, beside an identity that is pooled and padded where sizes change."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(num_in, num_in, 3, stride, padding=2 - stride, groups=num_in)
        self.pointwise = nn.Conv2d(num_in, num_out, 1)
        self.activation = nn.PReLU(num_out)
        self.stride, self.grown = stride, num_out - num_in

    def forward(self, x: Tensor) -> Tensor:
        """Maps of 1/stride of the size."""
        beside = x if self.stride == 1 else F.max_pool2d(x, self.stride)
        if self.grown:
            beside = F.pad(beside, (0, 0, 0, 0, 0, self.grown))
        result: Tensor = self.activation(beside + self.pointwise(self.depthwise(_odd(x, self.stride))))
        return result


class Stem(nn.Module):
    """3 × 3 to half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.activation = nn.Conv2d(3, width, 3, 2), nn.PReLU(width)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [−1, 1] to maps of half the size."""
        # The published network takes levels in [0, 1].
        result: Tensor = self.activation(self.conv(_odd(images * 0.5 + 0.5, 2)))
        return result


def _odd(x: Tensor, stride: int) -> Tensor:
    """Another row and column at the far sides where a stride of 2 needs them, as TensorFlow pads even sizes."""
    return F.pad(x, (0, 1, 0, 1)) if stride == 2 else x


def _trunk(config: BackboneConfig) -> nn.Sequential:
    """Stem and stages; the first stage keeps the stem's size, the others halve it."""
    layers: list[nn.Module] = [Stem(config.stem)]
    before = config.stem
    for stage, (width, num) in enumerate(zip(config.widths, config.blocks, strict=True)):
        if stage:
            layers.append(DepthwiseBlock(before, width, 2))
        layers += [DepthwiseBlock(width, width) for _ in range(num)]
        before = width
    return nn.Sequential(*layers)


class FaceMeshTrunk(nn.Module):
    """The face mesh up to where its branches part, and a dense layer over all that is left of the picture.

    Args:
        config: sizes; `last` is unused.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = _trunk(config)
        self.dense = nn.Linear(config.widths[-1] * config.grid**2, config.features)
        self.num_features = config.features

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, size, size) in [−1, 1] to vectors (N, features)."""
        maps = F.adaptive_avg_pool2d(self.layers(images), self.config.grid)
        return F.leaky_relu(self.dense(maps.flatten(1)), self.config.leak)


class MeshLayers(nn.Module):
    """The face mesh whole: squares (N, 3, 192, 192) to landmarks (N, 468, 3) in their px and the maps before them (N, D)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.trunk = _trunk(config)
        self.branch = nn.Sequential(
            DepthwiseBlock(width, width, 2), DepthwiseBlock(width, width), DepthwiseBlock(width, width)
        )
        self.landmarks = nn.Sequential(
            nn.Conv2d(width, 32, 1), nn.PReLU(32), DepthwiseBlock(32, 32), nn.Conv2d(32, 3 * NUM_LANDMARKS, 3)
        )

    def forward(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """See above."""
        branch = self.branch(self.trunk(squares.contiguous(memory_format=torch.channels_last)))
        return self.landmarks(branch).reshape(-1, NUM_LANDMARKS, 3), branch.flatten(1)


class LandmarkReader(nn.Module):
    """The face mesh as it is, looking twice, and a small network that reads where its landmarks are.

    Buffers: `template` (468, 3) and `trust` (468,) that heads are aligned by; `centre` and `spread` of what is read.

    Args:
        config: sizes; `features` is the width of the small network.
    """

    template: Tensor
    trust: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = MeshLayers(config)
        #: Aligned landmarks, turn, angles, scale and place; then the maps before the landmarks.
        read = 3 * NUM_LANDMARKS + 9 + 3 + 1 + 2
        maps = config.widths[-1] * 9
        # Any shape that isn't flat will do until the units are set.
        shape = torch.arange(3.0 * NUM_LANDMARKS).sin().reshape(NUM_LANDMARKS, 3)
        self.register_buffer("template", shape)
        self.register_buffer("trust", torch.ones(NUM_LANDMARKS))
        self.register_buffer("centre", torch.zeros(read + maps))
        self.register_buffer("spread", torch.ones(read + maps))
        self.read = nn.Sequential(
            nn.Linear(read + maps, config.features),
            nn.LeakyReLU(config.leak),
            nn.Linear(config.features, config.features),
            nn.LeakyReLU(config.leak),
        )
        self.num_features = config.features + read

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, size, size) in [−1, 1] to vectors (N, num_features)."""
        return self.readout(self.seen(images))

    def seen(self, images: Tensor) -> Tensor:
        """Landmarks (468 · 3; x right, y down, z away, fractions of the picture) and maps, flat, (N, S)."""
        with torch.no_grad():
            # At first sight: the picture and half as much again around it, upright.
            turn = torch.eye(2, dtype=images.dtype, device=images.device).expand(len(images), 2, 2) * _ROOM
            first, _ = self._look(images, turn, images.new_full((len(images), 2), 0.5))
            turn, middle = _square(first[..., :2])
        landmarks, maps = self._look(images, turn, middle)
        return torch.cat([landmarks.flatten(1), maps], dim=1)

    def _look(self, images: Tensor, turn: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (N, 468, 3), fractions, and maps, of the square that `turn` (N, 2, 2) and `middle` (N, 2) lay."""
        theta = torch.cat([turn, (2 * middle - 1)[:, :, None]], dim=2)
        grid = F.affine_grid(theta, [len(images), 3, _MESH_PX, _MESH_PX], align_corners=False)
        squares = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        landmarks, maps = self.layers(squares)
        places = (landmarks[..., :2] / _MESH_PX - 0.5) @ turn.transpose(1, 2) + middle[:, None]
        side = torch.linalg.vector_norm(turn[:, :, 0], dim=1)
        return torch.cat([places, landmarks[..., 2:] / _MESH_PX * side[:, None, None]], dim=2), maps

    def described(self, seen: Tensor) -> Tensor:
        """What is read of (N, S), before it is standardised."""
        landmarks, maps = seen[:, : 3 * NUM_LANDMARKS].reshape(-1, NUM_LANDMARKS, 3), seen[:, 3 * NUM_LANDMARKS :]
        turn, scale, middle, aligned = align(landmarks * landmarks.new_tensor([1, -1, -1]), self.template, self.trust)
        return torch.cat(
            [aligned.flatten(1), turn.flatten(1), angles(turn), scale.log()[:, None], middle[:, :2], maps], dim=1
        )

    def readout(self, seen: Tensor) -> Tensor:
        """Vectors (N, num_features) of (N, S): the small network's, then what it read, but for the maps."""
        standard = ((self.described(seen) - self.centre) / self.spread).clamp(-6, 6)
        return torch.cat([self.read(standard), standard[:, : self.num_features - self.config.features]], dim=1)

    @torch.no_grad()
    def set_units(self, seen: Tensor) -> None:
        """Template, trust and units from what was seen of some thousand pictures (N, S), most of them near frontal."""
        landmarks = seen[:, : 3 * NUM_LANDMARKS].reshape(-1, NUM_LANDMARKS, 3) * seen.new_tensor([1, -1, -1])
        # Begin with the flattest of them: level eyes, and as wide as they come.
        across = landmarks[:, _EYE_CORNERS[1]] - landmarks[:, _EYE_CORNERS[0]]
        frontal = landmarks[(across[:, 0] - 3 * across[:, 1:].abs().sum(dim=1)).argmax()]
        self.template.copy_((frontal - frontal.mean(dim=0)) / frontal.std())
        for _ in range(4):
            _, _, _, aligned = align(landmarks, self.template, self.trust)
            self.template.copy_(aligned.mean(dim=0))
            scatter = (aligned - self.template).square().sum(dim=2).mean(dim=0)
            self.trust.copy_(1 / (scatter + 0.5 * scatter.median()))
        described = self.described(seen)
        self.centre.copy_(described.mean(dim=0))
        self.spread.copy_(described.std(dim=0).clamp_min(1e-5))


def _square(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Turn (N, 2, 2) and middle (N, 2) of the square around landmarks (N, 468, 2), level with the eyes."""
    low, high = landmarks.amin(dim=1), landmarks.amax(dim=1)
    side = _ROOM * (high - low).amax(dim=1).clamp(0.2, 2.0)
    along = landmarks[:, _EYE_CORNERS[1]] - landmarks[:, _EYE_CORNERS[0]]
    x, y = F.normalize(along, dim=1).unbind(dim=1)
    turn = torch.stack([torch.stack([x, -y], dim=1), torch.stack([y, x], dim=1)], dim=1)
    return turn * side[:, None, None], (low + high) / 2


def align(points: Tensor, template: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn (N, 3, 3), scale (N,), middle (N, 3) that bring a template (L, 3) nearest to points (N, L, 3); these brought back.

    Source: Umeyama 1991, Eqs. 40–43, with weights.
    """
    weight = (trust / trust.sum())[:, None]
    middle, own = (points * weight).sum(dim=1, keepdim=True), (template * weight).sum(dim=0)
    u, s, v = torch.linalg.svd((points - middle).transpose(1, 2) @ ((template - own) * weight))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ v)
    turn = u @ (sign[:, :, None] * v)
    scale = (s * sign).sum(dim=1) / ((template - own).square() * weight).sum()
    aligned = ((points - middle) @ turn) / scale[:, None, None] + own
    return turn, scale, middle[:, 0], aligned


def angles(turn: Tensor) -> Tensor:
    """Pitch, yaw, roll (N, 3), rad, of R_z R_y R_x (N, 3, 3)."""
    pitch = torch.atan2(turn[:, 2, 1], turn[:, 2, 2])
    yaw = torch.asin((-turn[:, 2, 0]).clamp(-0.9999, 0.9999))
    return torch.stack([pitch, yaw, torch.atan2(turn[:, 1, 0], turn[:, 0, 0])], dim=1)
