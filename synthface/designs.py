"""Drawing leaves together: scrambled Sobol' points, Gaussian copulas, factorial cells, one factor at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from synthface.seeding import stream_key
from synthface.spec.distributions import Grid
from synthface.spec.model import Correlation, Joint, Leaf

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

_BITS = 32
MAX_SOBOL_DIMENSIONS = 256


@lru_cache(maxsize=1)
def _directions() -> U32:
    """Direction numbers (256, 32). Source: Joe and Kuo 2008, "Constructing Sobol sequences …", new-joe-kuo-6."""
    text = (resources.files("synthface") / "assets" / "sobol" / "joe-kuo-256.json").read_text(encoding="utf-8")
    rows = json.loads(text)["dimensions"]
    result = np.zeros((len(rows), _BITS), np.uint32)
    result[0] = [1 << (_BITS - 1 - k) for k in range(_BITS)]
    for number, (polynomial, *initial) in enumerate(rows[1:], start=1):
        degree = polynomial.bit_length() - 1
        m = list(initial)
        for k in range(degree, _BITS):
            value = m[k - degree] ^ (m[k - degree] << degree)
            for j in range(1, degree):
                if polynomial >> (degree - j) & 1:
                    value ^= m[k - j] << j
            m.append(value)
        result[number] = [m[k] << (_BITS - 1 - k) for k in range(_BITS)]
    return result


def sobol(seed: int, streams: Sequence[str], index: I64) -> F64:
    """Scrambled Sobol' points (N, S) in (0, 1) at indices (N,), one dimension per stream, by random access.

    Nested uniform (Owen) scrambling by hashing, keyed by (seed, stream): every dimension is uniform on its own, and any
    2^k consecutive points from a multiple of 2^k are spread as evenly as the unscrambled ones.

    Source: Sobol' 1967; Owen 1995; the hash is Burley 2020, "Practical Hash-based Owen Scrambling".
    """
    assert len(streams) <= MAX_SOBOL_DIMENSIONS, len(streams)
    gray = np.asarray(index, np.uint64)
    gray ^= gray >> np.uint64(1)
    points = np.zeros((len(gray), len(streams)), np.uint32)
    for bit in range(int(gray.max(initial=0)).bit_length()):
        chosen = (gray >> np.uint64(bit)) & np.uint64(1) == 1
        points[chosen] ^= _directions()[: len(streams), bit]
    keys = np.array([stream_key(seed, f"sobol/{stream}")[0] & 0xFFFFFFFF for stream in streams], np.uint32)
    return (_owen(points, keys).astype(np.float64) + 0.5) * 2.0**-_BITS


def _owen(points: U32, keys: U32) -> U32:
    """Permute each bit by a hash of the bits above it (and the key)."""
    x = _reversed_bits(points)
    with np.errstate(over="ignore"):
        x = x ^ (x * np.uint32(0x3D20ADEA))
        x = x + keys
        x = x * ((keys >> np.uint32(16)) | np.uint32(1))
        x = x ^ (x * np.uint32(0x05526C56))
        x = x ^ (x * np.uint32(0x53A22864))
    return _reversed_bits(x)


def _reversed_bits(x: U32) -> U32:
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        s, m = np.uint32(shift), np.uint32(mask)
        x = ((x >> s) & m) | ((x & m) << s)
    return (x >> np.uint32(16)) | (x << np.uint32(16))


def correlated(u: F64, columns: Sequence[int], rank: Sequence[int], correlation: Correlation) -> F64:
    """Uniforms u (N, L) with those in `columns` joined by a Gaussian copula.

    Args:
        columns: where the correlation's leaves stand in u.
        rank: how often each is drawn (0 dataset, 1 identity, 2 image; -1 attributes, which are drawn by themselves
            before all others): the rarer ones drive the more frequent ones, so that an identity's value stays the same
            over its images.
        correlation: the copula; its `rho` is the correlation of the normal scores.
    """
    from scipy.special import ndtr, ndtri

    order = np.argsort(rank, kind="stable")
    rho = np.asarray(correlation.rho)[np.ix_(order, order)]
    where = np.asarray(columns)[order]
    independent, factor = ndtri(u[:, where]), np.linalg.cholesky(rho)
    # Term by term: a matrix product's last bits may depend on the number of rows.
    scores = np.stack([sum(factor[k, j] * independent[:, j] for j in range(k + 1)) for k in range(len(where))], axis=1)
    result = u.copy()
    # The first one's score goes through unchanged: keep its exact bits.
    result[:, where[1:]] = np.clip(ndtr(scores[:, 1:]), 2.0**-54, 1 - 2.0**-53)
    return result


def joint_rows(joint: Joint, u: F64) -> I64:
    """The table's row (N,) for uniforms u (N,)."""
    if joint.weights is None:
        return np.minimum((u * len(joint.values)).astype(np.int64), len(joint.values) - 1)
    return np.minimum(np.searchsorted(np.cumsum(joint.weights), u, side="right"), len(joint.values) - 1)


def cell_levels(axes: Sequence[str], leaves: Mapping[str, Leaf], cell: I64) -> dict[str, F64]:
    """Factorial: the level of every axis (N,) in cells (N,); the last axis changes fastest."""
    levels: dict[str, F64] = {}
    for path in reversed(axes):
        grid = leaves[path].distribution
        assert isinstance(grid, Grid), (path, grid)
        cell, level = np.divmod(cell, len(grid.values))
        levels[path] = np.array(grid.values)[level]
    return levels


def num_cells(axes: Sequence[str], leaves: Mapping[str, Leaf]) -> int:
    """Factorial: the number of cells."""
    counts = [len(leaf.distribution.values) for path in axes if isinstance((leaf := leaves[path]).distribution, Grid)]
    return int(np.prod(counts, dtype=np.int64))
