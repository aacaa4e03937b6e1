"""Python values to the plain data that YAML would have given: what a mapping handed to `load_spec` may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from synthface.spec.reader import MAX_DEPTH, MAX_VALUES, Document, Finding, Place


def plain_data(data: Any) -> Document:
    """A document of dicts, lists, text, numbers and booleans, without positions.

    Tuples, NumPy arrays and scalars, paths, distributions and leaves are turned into what YAML would say; anything else
    is a finding.
    """
    converter = _Converter()
    return Document(data=converter.convert((), data, 0), findings=converter.findings)


class _Converter:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._num_values = 0

    def convert(self, place: Place, value: Any, depth: int) -> Any:
        self._num_values += 1
        if depth > MAX_DEPTH or self._num_values > MAX_VALUES:
            self._report(place, f"nested deeper than {MAX_DEPTH} levels or more than {MAX_VALUES} values in all")
            return None
        value = _without_types(value)
        if isinstance(value, Mapping):
            return self._mapping(place, value, depth)
        if isinstance(value, (str, bool)) or value is None:
            return str(value) if isinstance(value, str) else value
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return [self.convert((*place, i), item, depth + 1) for i, item in enumerate(value)]
        return self._number(place, value)

    def _mapping(self, place: Place, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        for key in value:
            if not isinstance(key, str):
                self._report(place, f"found the key {key!r}; keys are text")
        texts = {key: item for key, item in value.items() if isinstance(key, str)}
        return {str(key): self.convert((*place, key), item, depth + 1) for key, item in texts.items()}

    def _number(self, place: Place, value: Any) -> Any:
        if not isinstance(value, (int, float)):
            self._report(place, f"found a {type(value).__name__}; allowed: what YAML can say")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._report(place, f"found {value}; numbers must be finite")
        return value

    def _report(self, place: Place, message: str) -> None:
        self.findings.append(Finding(place, message))


def _without_types(value: Any) -> Any:
    """NumPy values, paths and distributions as plain ones."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "synthface.spec.distributions":
        from synthface.spec.dump import distribution_to_words

        return distribution_to_words(value)
    if type(value).__name__ == "Leaf" and type(value).__module__ == "synthface.spec.model":
        from synthface.spec.dump import leaf_to_words

        return leaf_to_words(value)
    return value
