"""Importing recognition networks: small files written here byte by byte come back as networks that compute the same."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from synthface.errors import GeneratorError, PhotoError
from synthface.networks.recognition import (
    Recogniser,
    Recognition,
    centred_similarity,
    load_recognition,
    save_recognition,
)
from training.__main__ import main
from training.gan.frozen import load_frozen, name_frozen
from training.photos.align import CANVAS_PX
from training.photos.prepared import PhotoRows, write_prepared
from training.recognition.convert import import_dlib
from training.recognition.dlib_file import read_network
from training.recognition.measure import describe, with_mean
from training.recognition.tfjs_file import import_mobileface

F32 = npt.NDArray[np.float32]
RNG = np.random.default_rng(5)


# --- what dlib writes


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def number(value: float) -> bytes:
    mantissa, exponent = np.frexp(np.float32(value))
    return integer(int(mantissa * 2**24)) + integer(int(exponent) - 24)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: F32 | None = None) -> bytes:
    data = np.zeros(0, np.float32) if values is None else values
    shape = (len(data), 1, 1, 1) if len(data) else (0, 0, 0, 0)
    return integer(2) + b"".join(map(integer, shape)) + data.astype("<f4").tobytes()


def view(*shape: int) -> bytes:
    return integer(1) + b"".join(map(integer, shape))


class DlibWriter:
    """A network as dlib saves it, and the layers' numbers for computing it in another way."""

    def __init__(self) -> None:
        self.layers: list[bytes | None] = []  # None: the wrapper of a mark
        self.weights: list[dict[str, F32]] = []

    def convolution(self, inputs: int, filters: int, taps: int, stride: int, padding: int, name: str = "con_4") -> None:
        weight = RNG.normal(size=(filters, inputs, taps, taps)).astype(np.float32) / (taps * inputs**0.5)
        bias = RNG.normal(size=filters).astype(np.float32) * 0.1
        params = np.concatenate([weight.reshape(-1), bias])
        sizes = (filters, taps, taps, stride, stride, padding, padding)
        self.layers.append(
            text(name)
            + tensor(params)
            + b"".join(map(integer, sizes))
            + view(*weight.shape)
            + view(1, filters, 1, 1)
            + b"".join(map(number, (1.0, 1.0, 1.0, 0.0)))
        )
        scale, shift = (
            RNG.uniform(0.5, 1.5, filters).astype(np.float32),
            RNG.normal(size=filters).astype(np.float32) * 0.1,
        )
        affine = text("affine_") + tensor(np.concatenate([scale, shift])) + view(1, filters, 1, 1) * 2 + integer(0)
        self.layers.append(affine)
        self.weights.append({"weight": weight, "bias": bias, "scale": scale, "shift": shift})

    def relu(self) -> None:
        self.layers.append(text("relu_"))

    def pool(self, kind: str, taps: int, stride: int) -> None:
        self.layers.append(text(kind) + b"".join(map(integer, (taps, taps, stride, stride, 0, 0))))

    def block(self, inputs: int, filters: int, stride: int) -> None:
        self.layers.append(None)
        self.convolution(inputs, filters, 3, stride, 1 if stride == 1 else 0)
        self.relu()
        self.convolution(filters, filters, 3, 1, 1)
        if stride == 2:
            self.layers += [None, None]
            self.pool("avg_pool_2", 2, 2)
        self.layers.append(text("add_prev_"))
        self.relu()

    def dense(self, inputs: int, outputs: int) -> None:
        self.pool("avg_pool_2", 0, 1)
        weight = RNG.normal(size=(inputs, outputs)).astype(np.float32)
        self.layers.append(
            text("fc_2")
            + integer(outputs)
            + integer(inputs)
            + tensor(weight.reshape(-1))
            + view(inputs, outputs, 1, 1)
            + view(0, 0, 0, 0)
            + integer(1)
            + b"".join(map(number, (1.0, 1.0, 1.0, 0.0)))
        )
        self.weights.append({"weight": weight})

    def data(self, size_px: int, colour_mean: tuple[float, ...] = (122.782, 117.001, 104.298)) -> bytes:
        versions = [1 if layer is None else 2 for layer in self.layers]
        versions[0] = 3
        state = b"110" + tensor() * 3
        body = b"".join(
            layer + state + (integer(1) if n == 0 else b"") for n, layer in enumerate(self.layers) if layer is not None
        )
        head = (
            integer(1) + text("loss_metric_2") + number(0.04) + number(0.6) + b"".join(map(integer, reversed(versions)))
        )
        input_layer = text("input_rgb_image_sized") + b"".join(map(number, colour_mean)) + integer(size_px) * 2
        return head + input_layer + body


def small() -> DlibWriter:
    """Its maps go 35 → 17 → 8 → 3, and the shortcut of the halving block is 4 wide: the sum is filled up with zeros."""
    writer = DlibWriter()
    writer.convolution(3, 4, 3, 2, 0)
    writer.relu()
    writer.pool("max_pool_2", 3, 2)
    writer.block(4, 4, 1)
    writer.block(4, 6, 2)
    writer.dense(6, 5)
    return writer


def computed(writer: DlibWriter, chip: Tensor) -> Tensor:
    """The descriptor of a crop, layer by layer from what was written."""
    convolutions = iter(writer.weights[:-1])

    def normalised(x: Tensor, stride: int, padding: int) -> Tensor:
        w = {name: torch.from_numpy(value) for name, value in next(convolutions).items()}
        y = F.conv2d(x, w["weight"], w["bias"], stride, padding)
        return y * w["scale"][:, None, None] + w["shift"][:, None, None]

    mean = torch.tensor([122.782, 117.001, 104.298])[:, None, None]
    x = F.max_pool2d(normalised(((chip + 1) * 127.5 - mean) / 256, 2, 0).relu(), 3, 2)
    x = (x + normalised(normalised(x, 1, 1).relu(), 1, 1)).relu()
    y = normalised(normalised(x, 2, 0).relu(), 1, 1)
    assert y.shape[-2:] == (3, 3)
    total = torch.zeros(len(x), 6, 4, 4)
    total[:, :, :3, :3] += y
    total[:, :4] += F.avg_pool2d(x, 2)
    return total.relu().mean(dim=(2, 3)) @ torch.from_numpy(writer.weights[-1]["weight"])


@pytest.fixture
def dat(tmp_path: Path) -> Path:
    path = tmp_path / "small.dat"
    path.write_bytes(small().data(35))
    return path


def test_numbers_are_read_as_they_were_written() -> None:
    from training.recognition.dlib_file import DlibFile

    values = (0, 1, -1, 255, 256, -70000, 2**40)
    file = DlibFile(b"".join(map(integer, values)), "test")
    assert tuple(file.integer() for _ in values) == values
    floats = (0.0, 1.0, -0.5, 122.782, -1e-7, 3e12)
    file = DlibFile(b"".join(map(number, floats)) + integer(0) + integer(32001) + b"01", "test")
    assert [file.number() for _ in floats] == [pytest.approx(value, rel=1e-6) for value in floats]
    assert file.number() == -np.inf
    assert [file.boolean(), file.boolean()] == [False, True]


def test_dlibs_network_computes_what_its_layers_say(tmp_path: Path) -> None:
    writer = small()
    path = tmp_path / "small.dat"
    path.write_bytes(writer.data(35))
    network = import_dlib(path)
    assert network.config.settings["blocks"] == ((4, 1), (6, 2))
    chip = torch.from_numpy(RNG.uniform(-1, 1, (2, 3, 35, 35)).astype(np.float32))
    assert torch.allclose(network.network(chip), computed(writer, chip), atol=1e-5)
    save_recognition(tmp_path / "out", network)
    again = load_recognition(tmp_path / "out")
    assert torch.allclose(again.network(chip), computed(writer, chip), atol=1e-2)
    assert again.config.card["source_sha256"] == network.config.card["source_sha256"]


def test_newer_layers_are_read_too(tmp_path: Path) -> None:
    """relu_2 and affine_2 end in a boolean, con_6 in two."""
    writer = small()
    newer: list[bytes | None] = []
    for layer in writer.layers:
        if layer is not None:
            for old, new, tail in (("relu_", "relu_2", b"0"), ("affine_", "affine_2", b"0"), ("con_4", "con_6", b"10")):
                if layer.startswith(text(old)):
                    layer = text(new) + layer[len(text(old)) :] + tail
                    break
        newer.append(layer)
    old, new = DlibWriter(), DlibWriter()
    old.layers, new.layers = writer.layers, newer
    (tmp_path / "old.dat").write_bytes(old.data(35))
    (tmp_path / "new.dat").write_bytes(new.data(35))
    networks = [import_dlib(tmp_path / name).network for name in ("old.dat", "new.dat")]
    chip = torch.rand(1, 3, 35, 35)
    assert torch.equal(networks[0](chip), networks[1](chip))


def cut(data: bytes) -> bytes:
    return data[:-7]


def longer(data: bytes) -> bytes:
    return data + b"\0"


def other_layer(data: bytes) -> bytes:
    return data.replace(text("relu_"), text("tanh_"), 1)


def other_loss(data: bytes) -> bytes:
    return data.replace(b"loss_metric_2", b"loss_mmod_abc", 1)


def other_stride(data: bytes) -> bytes:
    """The pooling of the stem by 3 instead of 2."""
    pool = text("max_pool_2") + integer(3) * 2
    return data.replace(pool + integer(2) * 2, pool + integer(3) * 2, 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"byte \d+: .* bytes wanted"),
        (longer, "1 bytes before the file does"),
        (other_layer, "a layer 'tanh_', not one of"),
        (other_loss, "a loss 'loss_mmod_abc'"),
        (other_stride, "layers 1 to 4 have sizes or strides"),
        (lambda data: b"\x89PNG" + data, "no integer begins with 0x89"),
    ],
)
def test_other_files_are_refused(dat: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    whole = dat.read_bytes()
    damaged = damage(whole)
    assert damaged != whole
    dat.write_bytes(damaged)
    with pytest.raises(GeneratorError, match=message):
        import_dlib(dat)


def test_layers_in_another_order_are_refused(tmp_path: Path) -> None:
    writer = DlibWriter()
    writer.convolution(3, 4, 3, 2, 0)
    writer.relu()
    writer.dense(4, 5)
    (tmp_path / "odd.dat").write_bytes(writer.data(35))
    assert [layer.kind for layer in read_network(tmp_path / "odd.dat").layers][:3] == ["con", "affine", "relu"]
    with pytest.raises(GeneratorError, match="after layer 0 come con, affine, relu, avg_pool"):
        import_dlib(tmp_path / "odd.dat")
    with pytest.raises(GeneratorError, match="can't be read"):
        import_dlib(tmp_path / "nothing.dat")


# --- TensorFlow.js


def graph_model(folder: Path, **changes: object) -> tuple[Path, dict[str, F32]]:
    """A small MobileFace as TensorFlow.js stores it: channels last, weights end to end."""
    widths = (4, 4, 6, 6, 8)
    shapes: dict[str, tuple[int, ...]] = {"conv1_weight": (3, 3, 3, 4), "prelu1_gamma": (4,)}
    for n, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        unit = f"stage{n}_unit1"
        shapes[f"{unit}_conv0_0_weight"] = (1, 1, before, after)
        shapes |= {f"{unit}_{name}_df": (3, 3, after, 1) for name in ("conv0_1", "conv1", "conv2")}
        shapes |= {f"{unit}_prelu{k}_gamma": (after,) for k in range(3)}
    shapes |= {"dense/kernel": (8 * 16, 5), "batchnorm0/mul": (5,), "batchnorm0/sub": (5,)}
    weights = {name: RNG.normal(size=shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}
    entries = [{"name": name, "shape": list(shape), "dtype": "float32", **changes} for name, shape in shapes.items()]
    manifest = {"format": "graph-model", "weightsManifest": [{"paths": ["small.bin"], "weights": entries}]}
    (folder / "small.json").write_text(json.dumps(manifest))
    (folder / "small.bin").write_bytes(b"".join(struct.pack(f"<{w.size}f", *w.reshape(-1)) for w in weights.values()))
    return folder / "small.json", weights


def test_mobileface_computes_what_its_graph_says(tmp_path: Path) -> None:
    path, weights = graph_model(tmp_path)
    w = {name: torch.from_numpy(value) for name, value in weights.items()}
    chip = torch.from_numpy(RNG.uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32))

    def prelu(x: Tensor, name: str) -> Tensor:
        return x.clamp_min(0) + w[name][:, None, None] * x.clamp_max(0)

    x = ((chip + 1) * 127.5 - 127.5) * 0.0078125
    x = prelu(F.conv2d(x, w["conv1_weight"].permute(3, 2, 0, 1), stride=2, padding=1), "prelu1_gamma")
    for unit in (f"stage{n}_unit1" for n in range(1, 5)):
        x = F.conv2d(x, w[f"{unit}_conv0_0_weight"].permute(3, 2, 0, 1))
        steps = []
        for k, (name, stride) in enumerate((("conv0_1", 2), ("conv1", 1), ("conv2", 1))):
            kernel = w[f"{unit}_{name}_df"].permute(2, 3, 0, 1)
            x = prelu(F.conv2d(x, kernel, stride=stride, padding=1, groups=len(kernel)), f"{unit}_prelu{k}_gamma")
            steps.append(x)
        x = steps[2] + steps[0]
    flat = x.permute(0, 2, 3, 1).reshape(2, -1)
    expected = flat @ w["dense/kernel"] * w["batchnorm0/mul"] + w["batchnorm0/sub"]
    assert torch.allclose(import_mobileface(path).network(chip), expected, atol=1e-5)


def test_other_graph_models_are_refused(tmp_path: Path) -> None:
    path, _ = graph_model(tmp_path, quantization={"dtype": "uint8"})
    with pytest.raises(GeneratorError, match="is quantised"):
        import_mobileface(path)
    path, _ = graph_model(tmp_path)
    (tmp_path / "small.bin").write_bytes((tmp_path / "small.bin").read_bytes() + b"\0")
    with pytest.raises(GeneratorError, match=r"\d+ bytes of weights, \d+ named"):
        import_mobileface(path)
    path, _ = graph_model(tmp_path)
    path.write_text(path.read_text().replace("prelu1_gamma", "prelu9_gamma"))
    with pytest.raises(GeneratorError, match="another network than MobileFace"):
        import_mobileface(path)
    path.write_text(path.read_text().replace("small.bin", "../small.bin"))
    with pytest.raises(GeneratorError, match="in other folders"):
        import_mobileface(path)


# --- the mean descriptor


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    """Four photos of noise and 68 landmarks each; the last has none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(4):
        Image.fromarray(RNG.integers(0, 255, (60, 80, 3), np.uint8)).save(folder / f"{n}.png")
    landmarks = RNG.uniform(15, 50, (4, 68, 2))
    landmarks[3] = np.nan
    np.save(tmp_path / "landmarks.npy", landmarks)
    return folder, tmp_path / "landmarks.npy"


def test_the_mean_is_that_of_the_photos_that_have_landmarks(dat: Path, photos: tuple[Path, Path]) -> None:
    network = import_dlib(dat)
    landmarks = torch.from_numpy(np.load(photos[1])).float() / torch.tensor([80.0, 60.0])
    rows = []
    for n in range(3):
        image = torch.from_numpy(np.array(Image.open(photos[0] / f"{n}.png"))).permute(2, 0, 1)[None] / 127.5 - 1
        rows.append(network(image, landmarks[n : n + 1]))
    expected = torch.cat(rows)
    measured = with_mean(network, *photos)
    assert torch.allclose(measured.mean, expected.mean(dim=0), atol=1e-5)
    figures = measured.config.card["measured"]
    assert figures["num_photos"] == 3
    assert figures["strangers"]["num_pairs"] == 3
    distances = [1 - centred_similarity(expected[a], expected[b], measured.mean) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert figures["strangers"]["centred_distance_at"]["0.5"] == pytest.approx(float(np.median(distances)), abs=1e-3)


def test_prepared_folders_bring_their_landmarks(dat: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    folder.mkdir()
    landmarks = RNG.uniform(0.3, 0.7, (2, 68, 2)).astype(np.float32) * CANVAS_PX
    ones = np.ones(2, np.float32)
    rows = PhotoRows(("a", "b"), ("a.jpg", "b.jpg"), np.ones((2, 3), np.float32), landmarks, ones, ones, ones)
    jpegs = []
    for n in range(2):
        Image.fromarray(np.full((CANVAS_PX, CANVAS_PX, 3), 60 * n + 60, np.uint8)).save(tmp_path / "a.jpg")
        jpegs.append((tmp_path / "a.jpg").read_bytes())
    write_prepared(folder, rows, jpegs)
    described = describe(import_dlib(dat), folder)
    assert described.shape == (2, 5)
    assert not torch.allclose(described[0], described[1])


def test_photos_without_the_right_landmarks_are_refused(dat: Path, photos: tuple[Path, Path]) -> None:
    network = import_dlib(dat)
    with pytest.raises(PhotoError, match="not a prepared folder"):
        describe(network, photos[0])
    np.save(photos[1], np.load(photos[1])[:, :5])
    with pytest.raises(PhotoError, match="five landmarks each"):
        describe(network, *photos)
    landmarks = np.full((4, 68, 2), np.nan)
    landmarks[0] = RNG.uniform(15, 50, (68, 2))
    np.save(photos[1], landmarks)
    with pytest.raises(PhotoError, match="1 photos with landmarks"):
        describe(network, *photos)


def test_the_commands_import_and_measure(dat: Path, photos: tuple[Path, Path], tmp_path: Path) -> None:
    out = str(tmp_path / "net")
    run = CliRunner()
    assert run.invoke(main, ["recognition", "import", str(dat), "--out", out]).exit_code == 0
    assert load_recognition(out).mean.norm() == 0
    result = run.invoke(main, ["recognition", "mean", out, str(photos[0]), "--landmarks", str(photos[1])])
    assert result.exit_code == 0
    assert '"num_photos": 3' in result.output
    assert load_recognition(out).mean.norm() > 0
    path, _ = graph_model(tmp_path)
    assert run.invoke(main, ["recognition", "import", str(path), "--out", out]).exit_code == 0
    assert load_recognition(out).config.name == "mobileface"


def test_a_data_folder_names_the_network_that_its_losses_use(tmp_path: Path) -> None:
    name_frozen(tmp_path, "recognition", "synthface.networks.recognition:recognition", network="mobileface")
    network: Recogniser | None = load_frozen(["recognition"], tmp_path, torch.device("cpu")).recognition
    assert isinstance(network, Recognition)
    assert network.config.name == "mobileface"
    landmarks = torch.rand(2, 68, 2)
    assert network(torch.rand(2, 3, 64, 64), landmarks).shape == (2, len(network.mean))
