"""InsightFace's `.bin` files: a pickle of (encoded pictures, whether each couple of them is one person), read safely.

A pickle is a program. Of all that it could call, only what such files use is admitted, and that is replaced by our own
stand-ins: no code of NumPy's or of anyone's runs on what the file says.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthface.errors import DatasetError

#: Element types that arrays may have, as pickles name them.
_TYPES = {"u1", "i1", "b1", "i4", "i8", "u4", "u8", "S1"}


class _ElementType:
    """Stands in for numpy.dtype."""

    def __init__(self, name: Any, *rest: Any) -> None:
        if name not in _TYPES:
            raise pickle.UnpicklingError(f"an array of {name!r}; allowed: {', '.join(sorted(_TYPES))}")
        self.name = str(name)
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in (">", b">"):
            self.order = ">"

    def values(self, data: Any) -> np.ndarray:
        """Bytes as a flat array."""
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("an array without bytes")
        return np.frombuffer(bytes(data), np.dtype(f"{self.order if self.name[1] != '1' else '|'}{self.name}"))


class _Array:
    """Stands in for numpy.ndarray; filled by the pickle's BUILD."""

    values = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, data = state
        if not isinstance(kind, _ElementType):
            raise pickle.UnpicklingError("an array without a type")
        values = kind.values(data)
        # Pictures and flags are flat; a shape that disagrees is damage.
        if int(np.prod(shape, dtype=np.int64)) != len(values):
            raise pickle.UnpicklingError(f"an array of shape {shape} with {len(values)} elements")
        self.values = values


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, kind: Any, *rest: Any) -> _Array:
    array = _Array()
    array.values = kind.values(data)
    return array


def _scalar(kind: Any, data: Any) -> Any:
    return kind.values(data)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stands in for _codecs.encode, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding!r}; allowed: latin1")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    """Stands in for bytes(), by which old protocols write b''."""
    if arguments:
        raise pickle.UnpicklingError("bytes() with arguments")
    return b""


class _Call:
    """A function that a pickle may call and can't change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets attributes of a function")


#: Module and name, as pickles write them, to what is called instead.
_ADMITTED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _ElementType,
    ("_codecs", "encode"): _Call(_encode),
    ("builtins", "bytes"): _Call(_bytes),
    ("__builtin__", "bytes"): _Call(_bytes),
    **{
        (f"numpy.{core}.multiarray", name): _Call(made)
        for core in ("core", "_core")
        for name, made in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Call(_from_buffer) for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only what such files use."""
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Nothing."""
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_bin(path: Path) -> tuple[list[bytes], np.ndarray]:
    """Encoded pictures (2 P) and whether couple p, pictures 2p and 2p + 1, is one person (P,).

    Raises:
        DatasetError: the file isn't in this layout, or holds anything else than pictures and flags.
    """
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pictures, same = content
        encoded = [_encoded(picture) for picture in _listed(pictures)]
        flags = np.array([_flag(value) for value in _listed(same)], bool)
    except OSError as error:
        raise DatasetError(f"{path}: can't be read ({error.strerror})") from error
    except Exception as error:  # a damaged pickle may raise almost anything
        raise DatasetError(
            f"{path}: not a .bin file of InsightFace's layout ({error}); allowed: a pickle of a list of encoded pictures "
            "and a list of flags, and nothing else. Don't open such a file with pickle unless you trust who made it"
        ) from error
    if len(encoded) != 2 * len(flags):
        raise DatasetError(f"{path}: {len(encoded)} pictures for {len(flags)} pairs; allowed: two pictures a pair")
    return encoded, flags


def _listed(value: Any) -> list[Any]:
    if isinstance(value, _Array):
        return value.values.tolist()
    if isinstance(value, list | tuple):
        return list(value)
    raise TypeError(f"found {type(value).__name__} instead of a list")


def _encoded(value: Any) -> bytes:
    if isinstance(value, _Array) and value.values.dtype.itemsize == 1:
        return value.values.tobytes()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise TypeError(f"found {type(value).__name__} instead of a picture's bytes")


def _flag(value: Any) -> bool:
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    raise TypeError(f"found {value!r} instead of a flag")
