"""Expression values by name, as the coefficients a generator takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from synthface.factors.types import FactorLayout
from synthface.spec.names import actions_of

F64 = npt.NDArray[np.float64]


def coefficients(values: Mapping[str, F64], layout: FactorLayout, num_samples: int) -> F64:
    """Coefficients (N, Ke) of named values (N,); actions not named are 0.

    An alias drives all its actions alike; an action that is also named itself takes its own value.
    """
    number = {name: column for column, name in enumerate(layout.expression_names)}
    result = np.zeros((num_samples, layout.num_expression))
    for name in sorted(values, key=lambda name: len(actions_of(name)) == 1):
        for action in actions_of(name):
            result[:, number[action]] = values[name]
    return result
