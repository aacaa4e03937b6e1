"""The distributions a value may have, each as its inverse cumulative distribution function.

Drawing by `ppf` of one uniform number keeps sampling a pure function of (seed, stream, index), lets low-discrepancy points
and copulas stand in for independent uniforms, and makes truncation exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from synthface.spec.model import FileRef

F64 = npt.NDArray[np.float64]


class _Moments:
    """Mean and standard deviation by the midpoint rule over the inverse CDF, where no closed form is at hand."""

    def ppf(self, u: F64) -> F64:
        raise NotImplementedError

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        values = self.ppf((np.arange(4096) + 0.5) / 4096)
        return float(values.mean()), float(values.std())


@dataclass(frozen=True)
class Constant:
    """Always `value`."""

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.value, self.value

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        return self.value, 0.0

    def ppf(self, u: F64) -> F64:
        """Values at cumulative probabilities u in (0, 1)."""
        return np.full(np.shape(u), self.value)


@dataclass(frozen=True)
class Uniform:
    """All values from `low` to `high` alike."""

    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low < self.high, self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low, self.high

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        return (self.low + self.high) / 2, (self.high - self.low) / math.sqrt(12)

    def ppf(self, u: F64) -> F64:
        """Values at cumulative probabilities u in (0, 1)."""
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class Normal(_Moments):
    """Normal, truncated to [low, high]: values outside are not clipped but never drawn."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        assert self.std > 0 and self.low < self.high, self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low, self.high

    def ppf(self, u: F64) -> F64:
        """Values at cumulative probabilities u in (0, 1)."""
        from scipy.special import ndtr, ndtri

        a, b = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        # In the upper tail the CDF is all but 1: mirror it to the lower one, where it keeps its precision.
        is_upper = a > 0
        low, high, v = (-b, -a, 1.0 - u) if is_upper else (a, b, u)
        score = ndtri(ndtr(low) + v * (ndtr(high) - ndtr(low)))
        score = -score if is_upper else score
        return np.clip(self.mean + self.std * score, self.low, self.high)


@dataclass(frozen=True)
class Beta(_Moments):
    """Beta, stretched to [low, high]."""

    a: float
    b: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        assert self.a > 0 and self.b > 0 and self.low < self.high, self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low, self.high

    def ppf(self, u: F64) -> F64:
        """Values at cumulative probabilities u in (0, 1)."""
        from scipy.special import betaincinv

        return self.low + (self.high - self.low) * np.asarray(betaincinv(self.a, self.b, u))


@dataclass(frozen=True)
class VonMises(_Moments):
    """The normal distribution's likeness on the circle.

    Args:
        mean: direction, degrees.
        kappa: concentration.
    """

    mean: float
    kappa: float

    def __post_init__(self) -> None:
        assert self.kappa > 0, self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value, degrees."""
        return self.mean - 180.0, self.mean + 180.0

    @cached_property
    def _table(self) -> tuple[F64, F64]:
        """CDF on a grid that is fine where the density is."""
        reach = min(math.pi, 12.0 / math.sqrt(self.kappa))
        angle = np.linspace(-reach, reach, 20001)
        density = np.exp(self.kappa * (np.cos(angle) - 1.0))
        cdf = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
        return cdf / cdf[-1], np.degrees(angle)

    def ppf(self, u: F64) -> F64:
        """Values in degrees, within 180 of the mean, at cumulative probabilities u in (0, 1)."""
        cdf, angle = self._table
        return self.mean + np.interp(u, cdf, angle)


class _Discrete(_Moments):
    """Values with weights; `ppf` goes through them in the order given."""

    def _values(self) -> F64:
        raise NotImplementedError

    def _weights(self) -> F64 | None:
        return None

    @cached_property
    def _steps(self) -> tuple[F64, F64]:
        values = self._values()
        weights = self._weights()
        share = np.full(len(values), 1.0 / len(values)) if weights is None else weights / weights.sum()
        return np.cumsum(share), values

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        values = self._values()
        return float(values.min()), float(values.max())

    def ppf(self, u: F64) -> F64:
        """Values at cumulative probabilities u in (0, 1)."""
        cumulative, values = self._steps
        return values[np.minimum(np.searchsorted(cumulative, u, side="right"), len(values) - 1)]


@dataclass(frozen=True)
class Choice(_Discrete):
    """One of several values; `weights` empty: all alike."""

    values: tuple[float, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert self.values and len(self.weights) in (0, len(self.values)), self

    def _values(self) -> F64:
        return np.array(self.values)

    def _weights(self) -> F64 | None:
        return np.array(self.weights) if self.weights else None


@dataclass(frozen=True)
class Grid(_Discrete):
    """Levels for a factorial design; any other design draws them with equal chance."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.values, self

    def _values(self) -> F64:
        return np.array(self.values)


@dataclass(frozen=True)
class Table(_Discrete):
    """A column of a table, a row drawn at a time.

    Args:
        file: the table.
        column: the column drawn from.
        weight: the column of row weights.
        values: (R,) that column's numbers.
        weights: (R,) summing to 1; None: all alike.
    """

    file: FileRef
    column: str
    weight: str | None = None
    values: F64 = field(default_factory=lambda: np.zeros(1), compare=False, repr=False)
    weights: F64 | None = field(default=None, compare=False, repr=False)

    def _values(self) -> F64:
        return self.values

    def _weights(self) -> F64 | None:
        return self.weights


@dataclass(frozen=True)
class Mixture(_Moments):
    """One of several distributions, each with a weight.

    One uniform number does both: it chooses the component, and where it fell inside the component's share is the number
    the component is drawn with.
    """

    components: tuple[tuple[float, Distribution], ...]

    def __post_init__(self) -> None:
        assert self.components and all(weight > 0 for weight, _ in self.components), self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value."""
        reaches = [component.bounds for _, component in self.components]
        return min(low for low, _ in reaches), max(high for _, high in reaches)

    def ppf(self, u: F64) -> F64:
        """Values at u in (0, 1); not a quantile function, as the components may overlap."""
        u = np.asarray(u)
        weights = np.array([weight for weight, _ in self.components])
        edges = np.concatenate([[0.0], np.cumsum(weights / weights.sum())])
        edges[-1] = 1.0
        which = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, len(weights) - 1)
        within = (u - edges[which]) / (edges[which + 1] - edges[which])
        within = np.clip(within, 2.0**-54, 1 - 2.0**-53)
        result = np.empty(u.shape)
        for number, (_, component) in enumerate(self.components):
            chosen = which == number
            result[chosen] = component.ppf(within[chosen])
        return result


Distribution: TypeAlias = "Constant | Uniform | Normal | Beta | VonMises | Choice | Grid | Table | Mixture"


def is_monotone(distribution: Distribution) -> bool:
    """Whether `ppf` rises with u, so that a copula's correlation carries over with its sign."""
    if isinstance(distribution, Mixture):
        return False
    if isinstance(distribution, Choice | Grid | Table):
        values = distribution._values()
        return bool((np.diff(values) >= 0).all())
    return True
