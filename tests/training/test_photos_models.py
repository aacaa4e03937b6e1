"""The networks that ship are those that their card describes."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "training" / "photos" / "models"


def test_the_card_names_every_network_with_its_hash() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = sorted(FOLDER.glob("*.tflite"))
    assert len(files) == 4
    for file in files:
        row = next(line for line in card.splitlines() if f"`{file.name}`" in line)
        assert hashlib.sha256(file.read_bytes()).hexdigest() in row
