"""Reading the networks that dlib saves, without dlib.

A file holds, outermost layer first, the version number of each layer's wrapper, and then, innermost first, what each layer
holds, beginning with a name that carries a version (`con_4`). Integers are a byte with their length (top bit: negative) and as
many bytes, low ones first; floats are two integers, mantissa and exponent of 2; tensors are a version, four integers and
float32 little-endian; booleans the character 0 or 1.

Source: facts read from dlib 20.0.1 (`serialize.h`, `float_details.h`, `cuda/tensor.h`, `dnn/*.h`); no code is taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import GeneratorError

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A layer of a saved network.

    Args:
        kind: `con`, `affine`, `relu`, `max_pool`, `avg_pool`, `add_prev` or `fc`.
        params: its weights, flat.
        settings: its sizes and strides.
    """

    kind: str
    params: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedNetwork:
    """A network: the mean colour taken off its input (levels of 255), the input's size, layers from input to output."""

    colour_mean: tuple[float, float, float]
    size_px: int
    layers: tuple[Layer, ...]


class DlibFile:
    """A reading position in dlib's bytes.

    Raises:
        GeneratorError: anything isn't as dlib writes it; the message says at which byte.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def problem(self, what: str) -> GeneratorError:
        """An error at the reading position."""
        return GeneratorError(
            f"{self.name}: byte {self.at}: {what}; allowed: a face recognition network as dlib saves it "
            "(dlib_face_recognition_resnet_model_v1.dat)"
        )

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise self.problem(f"{count} bytes wanted, {len(self.data) - self.at} left")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """An integer of any width."""
        control = self.take(1)[0]
        if control & 0x70 or not 1 <= control & 0x0F <= 8:
            raise self.problem(f"no integer begins with 0x{control:02x}")
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def number(self) -> float:
        """A floating-point number."""
        mantissa, exponent = self.integer(), self.integer()
        if exponent >= 32000:
            return {32000: math.inf, 32001: -math.inf}.get(exponent, math.nan)
        return math.ldexp(mantissa, exponent)

    def boolean(self) -> bool:
        """A truth value."""
        char = self.take(1)
        if char not in (b"0", b"1"):
            raise self.problem(f"no boolean is {char!r}")
        return char == b"1"

    def text(self) -> str:
        """A string."""
        return self.take(self.integer()).decode("latin-1")

    def tensor(self) -> F32:
        """A tensor's values, flat."""
        if (version := self.integer()) != 2:
            raise self.problem(f"a tensor of version {version}, not 2")
        count = math.prod(self.integer() for _ in range(4))
        return np.frombuffer(self.take(4 * count), "<f4").astype(np.float32)

    def shape(self) -> tuple[int, ...]:
        """The four sizes of a view into a tensor."""
        if (version := self.integer()) != 1:
            raise self.problem(f"a view of version {version}, not 1")
        return tuple(self.integer() for _ in range(4))


def read_network(path: Path) -> SavedNetwork:
    """The network in a file that dlib saved.

    Raises:
        GeneratorError: the file isn't one, or holds layers that no face recognition network of dlib's has.
    """
    try:
        file = DlibFile(path.read_bytes(), str(path))
    except OSError as error:
        raise GeneratorError(f"{path}: can't be read ({error.strerror}); name dlib's .dat file") from error
    _loss(file)
    wrappers = _wrappers(file)
    mean, size_px = _input(file)
    layers = []
    for version in reversed(wrappers):
        if version != _TAG:
            layers.append(_layer(file))
            _state(file, version)
    if file.at != len(file.data):
        raise file.problem(f"the network ends here, {len(file.data) - file.at} bytes before the file does")
    return SavedNetwork(mean, size_px, tuple(layers))


#: Versions of wrappers: marks that shortcuts refer to, layers, and the layer that holds the input.
_TAG, _LAYER, _FIRST_LAYER = 1, 2, 3


def _loss(file: DlibFile) -> None:
    version, name = file.integer(), file.text()
    if version != 1 or not name.startswith("loss_metric_"):
        raise file.problem(f"a loss {name!r} of version {version}, not loss_metric_")
    if name == "loss_metric_2":
        file.number(), file.number()


def _wrappers(file: DlibFile) -> list[int]:
    versions = [file.integer()]
    while versions[-1] in (_TAG, _LAYER):
        versions.append(file.integer())
    if versions[-1] != _FIRST_LAYER:
        raise file.problem(f"a layer of version {versions[-1]}, not {_TAG} to {_FIRST_LAYER}")
    return versions


def _input(file: DlibFile) -> tuple[tuple[float, float, float], int]:
    if (name := file.text()) != "input_rgb_image_sized":
        raise file.problem(f"an input {name!r}, not input_rgb_image_sized")
    mean = (file.number(), file.number(), file.number())
    height, width = file.integer(), file.integer()
    if height != width:
        raise file.problem(f"pictures of {width} × {height} px, not square")
    return mean, height


def _layer(file: DlibFile) -> Layer:
    name = file.text()
    kind, _, version = name.rpartition("_")
    reader = _READERS.get(kind)
    if reader is None:
        raise file.problem(f"a layer {name!r}, not one of {', '.join(sorted(_READERS))}")
    return reader(file, int(version or 1))


def _state(file: DlibFile, version: int) -> None:
    """What training left in a layer: three flags and three tensors, of no use here."""
    for _ in range(3):
        file.boolean()
    for _ in range(3):
        file.tensor()
    if version == _FIRST_LAYER:
        file.integer()


def _con(file: DlibFile, version: int) -> Layer:
    params = file.tensor()
    names = ("filters", "rows", "columns", "stride_y", "stride_x", "padding_y", "padding_x")
    settings = {name: file.integer() for name in names}
    filters, biases = file.shape(), file.shape()
    for _ in range(4):
        file.number()
    flags = [file.boolean() for _ in range(max(0, version - 4))]
    assert len(flags) <= 2
    if flags[1:] == [True]:
        raise file.problem("a convolution with a fused rectifier")
    settings["inputs"] = filters[1]
    settings["biases"] = math.prod(biases) if not flags or flags[0] else 0
    return Layer("con", params, settings)


def _affine(file: DlibFile, version: int) -> Layer:
    params = file.tensor()
    gamma, _ = file.shape(), file.shape()
    file.integer()
    disabled = version >= 2 and file.boolean()
    return Layer("affine", params, {"channels": math.prod(gamma), "disabled": int(disabled)})


def _relu(file: DlibFile, version: int) -> Layer:
    return Layer("relu", settings={"disabled": int(version >= 2 and file.boolean())})


def _pool(kind: str) -> Callable[[DlibFile, int], Layer]:
    def read(file: DlibFile, version: int) -> Layer:
        names = ("rows", "columns", "stride_y", "stride_x", "padding_y", "padding_x")
        return Layer(kind, settings={name: file.integer() for name in names})

    return read


def _add_prev(file: DlibFile, version: int) -> Layer:
    return Layer("add_prev")


def _fc(file: DlibFile, version: int) -> Layer:
    outputs, inputs = file.integer(), file.integer()
    params = file.tensor()
    file.shape(), file.shape()
    has_bias = file.integer() == 0
    for _ in range(4):
        file.number()
    if version >= 3:
        file.boolean()
    return Layer("fc", params, {"outputs": outputs, "inputs": inputs, "has_bias": int(has_bias)})


_READERS: Mapping[str, Callable[[DlibFile, int], Layer]] = {
    "con": _con,
    "affine": _affine,
    "relu": _relu,
    "max_pool": _pool("max_pool"),
    "avg_pool": _pool("avg_pool"),
    "add_prev": _add_prev,
    "fc": _fc,
}
