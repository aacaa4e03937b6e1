"""A dataset that the recipes' tests train on, rendered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.specs_for_tests import tiny


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine people, uncropped pictures of 32 px with landmarks: 24 to train on in three shards, 12 to test on."""
    from synthface.pipeline import render

    out = tmp_path_factory.mktemp("faces") / "faces"
    render(
        tiny(
            name="faces",
            identities={"count": 9, "attributes": {"skin_tone_ita_deg": {"uniform": [-40, 55]}}},
            factors={"pose": {"yaw": {"uniform": [-40, 40]}, "pitch": 0, "roll": {"uniform": [-10, 10]}}},
            conditions={"front": {}, "side": {"pose": {"yaw": {"uniform": [30, 50]}}}},
            images_per_identity={"front": 3, "side": 1},
            splits={"train": 0.67, "test": 0.33},
            pairs={
                "any": {"split": "test", "genuine": 6, "impostor": 8, "folds": 1},
                "turned": {"split": "test", "genuine": 3, "impostor": 4, "folds": 1, "across": ["front", "side"]},
            },
            output={
                "image": {"size": 32},
                "annotations": ["landmarks", "lambda"],
                "shards": {"samples": 8, "order": "shuffled"},
            },
        ),
        out,
    )
    return out
