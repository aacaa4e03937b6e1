"""The only door to randomness: numbers that depend on (seed, stream, index) and on nothing else.

Scheme `philox4x64-v1`: Philox4x64-10 (Salmon et al. 2011) with key = the first 128 bits of SHA-256 over seed and stream name,
counter = (block, index, 0, 0). Four 64-bit words a block; a word u becomes ((u >> 11) + ½) · 2⁻⁵³, which is never 0 or 1.
Only integer arithmetic is used, so the uniforms are the same everywhere and for ever; `tests/golden` pins some.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SCHEME = "philox4x64-v1"

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.integer]

_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_MASK32, _SHIFT32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@lru_cache(maxsize=65536)
def stream_key(seed: int, stream: str) -> tuple[int, int]:
    """The 128-bit Philox key of a stream."""
    digest = hashlib.sha256(f"synthface/{SCHEME}/{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def bits(seed: int, stream: str, index: Index, count: int) -> U64:
    """Random 64-bit words (N, count) of a stream at indices (N,)."""
    return stream_bits(seed, (stream,), np.asarray(index)[None], count)[0]


def stream_bits(seed: int, streams: tuple[str, ...], index: Index, count: int) -> U64:
    """Random words (S, N, count) of several streams at indices (S or 1, N), in one pass."""
    keys = np.array([stream_key(seed, stream) for stream in streams], np.uint64).reshape(len(streams), 2)
    num_blocks = -(-count // 4)
    blocks = np.arange(num_blocks, dtype=np.uint64)
    counter = np.asarray(index).astype(np.uint64)
    shape = (len(streams), counter.shape[-1], num_blocks)
    words = philox4x64(
        (
            np.broadcast_to(blocks, shape),
            np.broadcast_to(counter[..., None], shape),
            np.zeros(shape, np.uint64),
            np.zeros(shape, np.uint64),
        ),
        (np.broadcast_to(keys[:, 0, None, None], shape), np.broadcast_to(keys[:, 1, None, None], shape)),
    )
    return np.stack(words, axis=-1).reshape(shape[0], shape[1], 4 * num_blocks)[..., :count]


def to_uniform(words: U64) -> F64:
    """Words → (0, 1), 53 bits each."""
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def uniforms(seed: int, stream: str, index: Index, count: int = 1) -> F64:
    """Uniform numbers (N, count) in (0, 1) of a stream at indices (N,)."""
    return to_uniform(bits(seed, stream, index, count))


def stream_uniforms(seed: int, streams: tuple[str, ...], index: Index) -> F64:
    """One uniform number (N, S) of each stream at indices (N,) or (S, N)."""
    if not streams:
        return np.empty((np.shape(index)[-1], 0))
    return to_uniform(stream_bits(seed, streams, np.atleast_2d(index), 1)[..., 0]).T


def normals(seed: int, stream: str, index: Index, count: int) -> F64:
    """Standard normal numbers (N, count) of a stream at indices (N,), by inversion."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniforms(seed, stream, index, count)))


def philox4x64(counter: tuple[U64, U64, U64, U64], key: tuple[U64, U64]) -> tuple[U64, U64, U64, U64]:
    """Ten rounds of Philox4x64 on arrays of one shape. Source: Salmon et al. 2011, Sec. 3.3; Random123."""
    c0, c1, c2, c3 = (np.array(c, np.uint64) for c in counter)
    k0, k1 = (np.array(k, np.uint64) for k in key)
    with np.errstate(over="ignore"):
        for round_number in range(10):
            if round_number:
                k0, k1 = k0 + np.uint64(_W0), k1 + np.uint64(_W1)
            high0, low0 = _multiply(c0, _M0)
            high1, low1 = _multiply(c2, _M1)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _multiply(a: U64, b: int) -> tuple[U64, U64]:
    """High and low halves of the 128-bit product."""
    b_low, b_high = np.uint64(b & 0xFFFFFFFF), np.uint64(b >> 32)
    a_low, a_high = a & _MASK32, a >> _SHIFT32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _SHIFT32)
    cross = a_low * b_high + (middle & _MASK32)
    return a_high * b_high + (middle >> _SHIFT32) + (cross >> _SHIFT32), a * np.uint64(b)


class Permutation:
    """A keyed random order of 0 … n − 1 with random access and no table.

    A four-round Feistel network on the next power of four, walked until it lands below n (at most four steps on
    average). Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains".
    """

    def __init__(self, seed: int, stream: str, size: int) -> None:
        self.size = size
        self._half = max(1, -(-max(size - 1, 1).bit_length() // 2))
        self._keys = [np.uint64(k) for r in range(4) for k in stream_key(seed, f"{stream}/{r}")[:1]]

    def __call__(self, position: Index) -> npt.NDArray[np.int64]:
        """The number at each position (N,)."""
        value = np.asarray(position).astype(np.uint64)
        value = self._rounds(value)
        while (outside := value >= np.uint64(self.size)).any():
            value[outside] = self._rounds(value[outside])
        return value.astype(np.int64)

    def inverse(self, number: Index) -> npt.NDArray[np.int64]:
        """The position of each number (N,)."""
        value = self._rounds_back(np.asarray(number).astype(np.uint64))
        while (outside := value >= np.uint64(self.size)).any():
            value[outside] = self._rounds_back(value[outside])
        return value.astype(np.int64)

    def _rounds_back(self, value: U64) -> U64:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = value >> half, value & mask
        for key in reversed(self._keys):
            left, right = right ^ (_mix(left ^ key) & mask), left
        return (left << half) | right

    def _rounds(self, value: U64) -> U64:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = value >> half, value & mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        return (left << half) | right


def _mix(value: U64) -> U64:
    """SplitMix64's finaliser. Source: Steele, Lea and Flood 2014."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
