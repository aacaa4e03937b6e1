"""Datasets that several tests look at, rendered once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.specs_for_tests import tiny


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished dataset with every annotation, two conditions, pairs and a crop."""
    from synthface.pipeline import render

    out = tmp_path_factory.mktemp("dataset") / "out"
    render(everything(), out)
    return out


def everything(**changes: Any) -> dict[str, Any]:
    """A small spec that uses much of the language."""
    annotations = [
        "landmarks",
        "landmarks_dense",
        "boxes",
        "gaze",
        "face_mask",
        "parts",
        "depth",
        "normals",
        "albedo",
        "lambda",
    ]
    return tiny(
        name="everything",
        identities={"count": 12, "attributes": {"skin_tone_ita_deg": {"uniform": [-40, 55]}}},
        conditions={"front": {}, "side": {"pose": {"yaw": {"uniform": [30, 50]}}}},
        images_per_identity={"front": 2, "side": 1},
        splits={"train": 0.5, "test": 0.5},
        pairs={"across": {"split": "test", "genuine": 4, "impostor": 4, "folds": 1, "across": ["front", "side"]}},
        output={
            "image": {"size": 56, "crop": "arcface"},
            "post": [{"jpeg_quality": {"uniform": [60, 95]}}, {"gaussian_noise": 3}],
            "annotations": annotations,
            "shards": {"samples": 8},
        },
        **changes,
    )
