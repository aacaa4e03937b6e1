"""Copies of photos that go beyond their poses and lights: rolled, turned by the fitted mesh, relit, exposed anew, mirrored.

Few portraits look aside or are lit from the side; a discriminator that has seen no others calls such faces fake whatever
they look like. Each copy comes with the λ that renders it, and with a mask of the pixels that are photo.

- **Roll** is a rotation about the point that the camera looks at, the picture's middle: exact, light included.
- **Turning**: the mesh at its new pose fetches each pixel from where its surface point was in the photo. Around the head the
  displacement goes on smoothly and dies away, so that hair comes along. What the photo doesn't show is masked.
  The light turns with the head, as its shading in the photo does.
- **Relighting**: the photo times the ratio of both shadings, in linear light; outside the head only the exposure changes.
- **Exposure**: the photo and its light times a factor; exact but for clipping.

Source: the pose profiles of Zhu et al. 2016 (3DDFA), simplified; ratio images of Shashua and Riklin-Raviv 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from synthface.factors import lighting
from synthface.morphable import camera
from synthface.morphable.lighting import linear_to_srgb, shading
from synthface.morphable.model import Factors, Mesh, MorphableModel, rotation_matrix
from synthface.morphable.rasterizer import Fragments, blend, rasterize
from synthface.morphable.scene import VISIBILITY_TOLERANCE_DM

F32 = npt.NDArray[np.float32]

#: Samples per pixel and axis of a copy.
SUPERSAMPLE = 2
#: What is kept of a photo around the frame, share of the frame's size.
MARGIN = 0.25
#: Copies made at once.
_CHUNK = 16
#: Least cosine between surface and line of sight, in the photo, for its colour to be believed elsewhere: from none to full.
_GRAZING = (0.1, 0.25)
#: How far from the head the turning dies away, share of the frame.
_REACH = 0.35
#: Shading below this share of the light's even part isn't divided by.
_DARKEST = 0.12
#: Surfaces that face the camera less than this, as a cosine, are relit less: their fitted shading is least certain.
_FACING = 0.5


@dataclass(frozen=True)
class Widening:
    """How far copies go.

    Args:
        copies: of each photo, beside itself.
        mirrored: flip each photo as well, and every other copy.
        roll_deg: standard deviation.
        turned: share of the copies that are turned.
        yaw_deg, pitch_deg: greatest turn.
        max_yaw_deg, max_pitch_deg: greatest angle afterwards.
        relit: share of the copies that get another light.
        directed: greatest share of the new light that comes from one direction.
        exposure: standard deviation of the logarithm of the exposure.
        seed: of everything.
    """

    copies: int = 3
    mirrored: bool = True
    roll_deg: float = 6.0
    turned: float = 0.6
    yaw_deg: float = 25.0
    pitch_deg: float = 10.0
    max_yaw_deg: float = 40.0
    max_pitch_deg: float = 20.0
    relit: float = 0.5
    directed: float = 0.6
    exposure: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Framed:
    """Photos with what is around the camera's frame.

    Args:
        pixels: (N, 3, S, S) linear RGB in [0, 1]; the frame and `MARGIN` on each side.
        covered: (N, 4) left, top, right, bottom of the photo, frame coordinates: −1 … 1 from edge to edge, y down.
    """

    pixels: Tensor
    covered: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Framed:
        return Framed(self.pixels[rows], self.covered[rows])


@dataclass(frozen=True)
class Plan:
    """What N copies are to be.

    Args:
        turn_rad: (N, 3) added to pitch, yaw, roll.
        light: (N, 9) new monochrome coefficients, relative to the constant one; NaN keeps the light.
        exposure: (N,) factor.
        is_mirrored: (N,).
    """

    turn_rad: Tensor
    light: Tensor
    exposure: Tensor
    is_mirrored: Tensor


def draw_plan(pose_rad: F32, numbers: npt.NDArray[np.int64], copy: int, widening: Widening) -> Plan:
    """What copy number `copy` of the photos with these poses (N, 3) and numbers (N,) is to be."""
    rows = [
        _draw(pose_rad[n], widening, np.random.default_rng([widening.seed, copy, int(number)]))
        for n, number in enumerate(numbers)
    ]
    turn, light, exposure = (torch.tensor(np.stack(part), dtype=torch.float32) for part in zip(*rows, strict=True))
    flips = torch.full((len(numbers),), widening.mirrored and copy % 2 == 1)
    return Plan(turn, light, exposure, flips)


def untouched(num: int, *, mirrored: bool) -> Plan:
    """Photos as they are, or flipped."""
    return Plan(torch.zeros(num, 3), torch.full((num, 9), math.nan), torch.ones(num), torch.full((num,), mirrored))


def _draw(pose_rad: F32, widening: Widening, rng: np.random.Generator) -> tuple[F32, F32, float]:
    turn = np.zeros(3, np.float32)
    is_turned, is_relit = rng.random() < widening.turned, rng.random() < widening.relit
    greatest = np.radians([widening.pitch_deg, widening.yaw_deg])
    limit = np.radians([widening.max_pitch_deg, widening.max_yaw_deg])
    if is_turned:
        aim = pose_rad[:2] + rng.uniform(-greatest, greatest)
        # A pose that is beyond the limit already isn't brought back.
        turn[:2] = np.clip(aim, np.minimum(-limit, pose_rad[:2]), np.maximum(limit, pose_rad[:2])) - pose_rad[:2]
    turn[2] = np.radians(rng.normal() * widening.roll_deg)
    light = np.full(9, np.nan, np.float32)
    if is_relit:
        towards = lighting.direction(rng.uniform(-80, 80), rng.uniform(-20, 60))
        light = lighting.sh_basis(towards) / lighting.CONSTANTS[0] * rng.uniform(0.15, widening.directed)
        light[0] = 1.0
    return turn, light.astype(np.float32), float(np.exp(rng.normal() * widening.exposure))


@dataclass(frozen=True)
class Copies:
    """N copies.

    Args:
        pixels: (N, H, W, 3) uint8 sRGB.
        valid: (N, H, W) which pixels are photo.
        sh: (N, 3, 9) their light.
        pose_rad: (N, 3) their pose.
    """

    pixels: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_]
    sh: Tensor
    pose_rad: Tensor


@torch.no_grad()
def make_copies(model: MorphableModel, framed: Framed, factors: Factors, plan: Plan, size_px: int) -> Copies:
    """Carry out a plan.

    Args:
        model: the morphable model.
        framed: N photos.
        factors: (N) their λ.
        plan: what each is to be; flipping is of picture and mask only, λ is for the caller to mirror.
        size_px: H = W of the copies.
    """
    parts = []
    for start in range(0, len(plan.exposure), _CHUNK):
        rows = slice(start, start + _CHUNK)
        part = Plan(*(values[rows] for values in vars(plan).values()))
        parts.append(_copy(model, framed[rows], Factors(*(f[rows] for f in factors)), part, size_px))
    pixels, valid, sh, pose = (torch.cat(column) for column in zip(*parts, strict=True))
    return Copies(pixels.numpy(), valid.numpy(), sh, pose)


def _copy(
    model: MorphableModel, framed: Framed, factors: Factors, plan: Plan, size_px: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    fine = size_px * SUPERSAMPLE
    pose = factors.pose_rad + plan.turn_rad
    sh = _turned_light(factors.sh, factors.pose_rad, pose)
    where = _rolled_grid(plan.turn_rad[:, 2], fine)
    trust = torch.ones(len(pose), 1, fine, fine)
    gain = plan.exposure[:, None, None, None].expand(-1, 1, fine, fine).clone()
    is_turned = (plan.turn_rad[:, :2] != 0).any(dim=1)
    is_relit = ~plan.light[:, 0].isnan()
    seen = torch.nonzero(is_turned | is_relit)[:, 0]
    if len(seen):
        head = Factors(*(f[seen] for f in factors))._replace(pose_rad=pose[seen])
        mesh = model(head)
        clip = camera.project(mesh.vertices)
        fragments = rasterize(clip, model.faces, size_px, size_px)
        for number, row in enumerate(seen.tolist()):
            one = slice(number, number + 1)
            mine = Fragments(*(part[one] for part in fragments))
            if is_turned[row]:
                old = Factors(*(f[row : row + 1] for f in factors))
                where[row], trust[row] = _turned_grid(model, old, mine, where[row : row + 1], fine)
            if is_relit[row]:
                new = sh[row : row + 1, :, :1] * plan.light[row][None, None]
                ratio, sh[row] = _relight(model, Mesh(*(part[one] for part in mesh)), mine, sh[row : row + 1], new)
                gain[row] *= F.interpolate(ratio, size=(fine, fine), mode="bilinear", align_corners=False)[0]
    sh = sh * plan.exposure[:, None, None]
    return *_developed(framed, where, trust, gain, plan.is_mirrored), sh, pose


def _developed(
    framed: Framed, where: Tensor, trust: Tensor, gain: Tensor, is_mirrored: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixels (N, H, W, 3) and validity (N, H, W) of photos read at `where` (N, 2H, 2W, 2) and brightened by `gain`."""
    linear = F.grid_sample(framed.pixels, where / (1 + 2 * MARGIN), align_corners=False, padding_mode="border") * gain
    low, high = framed.covered[:, None, None, :2], framed.covered[:, None, None, 2:]
    inside = ((where >= low) & (where <= high)).all(dim=-1)[:, None]
    pixels = (linear_to_srgb(F.avg_pool2d(linear, SUPERSAMPLE)) * 255).round().to(torch.uint8)
    valid = F.avg_pool2d(inside * trust, SUPERSAMPLE) > 0.75
    flip = is_mirrored[:, None, None, None]
    pixels, valid = (torch.where(flip, x.flip(3), x) for x in (pixels, valid))
    return pixels.permute(0, 2, 3, 1), valid[:, 0]


def _turned_light(sh: Tensor, pose_rad: Tensor, new_pose_rad: Tensor) -> Tensor:
    """The light (N, 3, 9) that makes the turned head look as the photo shows it: turned with the head."""
    turn = rotation_matrix(new_pose_rad) @ rotation_matrix(pose_rad).transpose(1, 2)
    return torch.from_numpy(lighting.rotate(sh.numpy(), turn.numpy())).float()


def _rolled_grid(roll_rad: Tensor, size_px: int) -> Tensor:
    """Where in the frame (N, S, S, 2) each pixel of pictures rolled by (N,) comes from; y down."""
    centres = (torch.arange(size_px) + 0.5) * (2.0 / size_px) - 1.0
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    # Counter-clockwise in the picture, whose y points down.
    cos, sin = roll_rad.cos()[:, None, None], roll_rad.sin()[:, None, None]
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def _turned_grid(
    model: MorphableModel, old: Factors, fragments: Fragments, rolled: Tensor, fine: int
) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from (1, fine, fine, 2), and whether to believe it (1, fine, fine), for one turned head.

    Args:
        model: the morphable model.
        old: λ of the photo.
        fragments: the head at its new pose.
        rolled: where it would come from, were the head only rolled.
        fine: the copy's size times `SUPERSAMPLE`.
    """
    mesh = model(old)
    clip = camera.project(mesh.vertices)
    size = fragments.face_idx.shape[-1]
    zbuf = rasterize(clip, model.faces, size, size).zbuf[0]
    place = clip[0, :, :2] / clip[0, :, 3:] * torch.tensor([1.0, -1.0])
    pixel = ((place + 1) * (0.5 * size)).long().clamp(0, size - 1)
    is_seen = clip[0, :, 3] < zbuf[pixel[:, 1], pixel[:, 0]] + 3 * VISIBILITY_TOLERANCE_DM
    view = F.normalize(torch.tensor([0.0, 0.0, camera.DISTANCE_DM]) - mesh.vertices[0], dim=-1)
    cosine = (mesh.normals[0] * view).sum(-1)
    trust = is_seen * ((cosine - _GRAZING[0]) / (_GRAZING[1] - _GRAZING[0])).clamp(0, 1)
    looked_up = blend(fragments.face_idx, fragments.bary, model.faces, torch.cat([place, trust[:, None]], dim=1)[None])[
        0
    ]
    on_head = (fragments.face_idx[0] >= 0).numpy()
    trust = looked_up[..., 2] * torch.from_numpy(on_head)
    base = F.interpolate(rolled.permute(0, 3, 1, 2), size=(size, size), mode="area")[0]
    moved = looked_up[..., :2].permute(2, 0, 1) - base
    moved = _spread(moved[None], (trust > 0.5)[None, None].float())[0]
    distance = torch.from_numpy(ndimage.distance_transform_edt(~on_head)).float() / size
    moved = moved * torch.exp(-((distance / _REACH) ** 2))
    field = torch.cat([moved, torch.where(torch.from_numpy(on_head), trust, torch.ones_like(trust))[None]])
    field = F.interpolate(field[None], size=(fine, fine), mode="bilinear", align_corners=False)
    return rolled[0] + field[0, :2].permute(1, 2, 0), (field[:, 2] > 0.5).float()


def _spread(values: Tensor, weight: Tensor) -> Tensor:
    """Values (N, C, S, S) where the weight (N, 1, S, S) is 0, filled in smoothly from around: pull and push."""
    levels = [(values * weight, weight)]
    while levels[-1][1].shape[-1] > 1:
        levels.append(tuple(F.avg_pool2d(x, 2) for x in levels[-1]))  # type: ignore[arg-type]
    filled = levels[-1][0] / levels[-1][1].clamp_min(1e-6)
    for summed, share in reversed(levels[:-1]):
        coarse = F.interpolate(filled, size=share.shape[-2:], mode="bilinear", align_corners=False)
        believed = (4 * share).clamp_max(1.0)
        filled = believed * (summed / share.clamp_min(1e-6)) + (1 - believed) * coarse
    return filled


def _relight(
    model: MorphableModel, mesh: Mesh, fragments: Fragments, old: Tensor, new: Tensor
) -> tuple[Tensor, Tensor]:
    """What to multiply a picture by (1, 1, S, S) to bring its head from one light to another, and that light.

    The new light is made as strong as keeps the face's mean brightness; what lies around the head stays as it is, with a
    soft border.
    """
    normals = F.normalize(blend(fragments.face_idx, fragments.bary, model.faces, mesh.normals)[0], dim=-1, eps=1e-12)
    floor = old[..., 0].mean() * float(lighting.LAMBERT[0] * lighting.CONSTANTS[0]) * _DARKEST
    before, after = (shading(normals[None], sh)[0].mean(dim=-1).clamp_min(floor) for sh in (old, new))
    parts = fragments.face_idx[0]
    on_face = torch.as_tensor(np.append(model.basis.face_mask, False))[parts]
    scale = (before[on_face].mean() / after[on_face].mean()) if on_face.any() else torch.tensor(1.0)
    log_ratio = (after * scale / before).clamp(0.4, 2.5).log()
    on_head = (parts >= 0)[None, None].float()
    spread = _spread(log_ratio[None, None], on_head)
    taps = 2 * round(0.04 * parts.shape[-1]) + 1
    strength = _strength(model, parts) * (normals[..., 2] / _FACING).clamp(0.0, 1.0)
    soft = F.avg_pool2d(F.pad(strength[None, None], [taps // 2] * 4, mode="replicate"), taps, stride=1)
    return (spread * soft).exp(), (new * scale)[0]


def _strength(model: MorphableModel, face_idx: Tensor) -> Tensor:
    """How far the light's change shows at each pixel (S, S) of triangle numbers: hair is no Lambertian surface."""
    share = {"background": 0.0, "scalp": 0.5}
    of_part = torch.tensor([share.get(name, 1.0) for name in model.basis.part_names])
    part = torch.as_tensor(np.append(model.basis.face_part, 0).astype(np.int64))
    return of_part[part[face_idx]]
