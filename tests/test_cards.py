"""Cards that the field's own tools accept."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from synthface.cards import label_table
from synthface.manifest import read_manifest
from synthface.storage import open_store


def test_mlcroissant_accepts_the_metadata_and_reads_labels_through_it(dataset: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = croissant.Dataset(jsonld=str(dataset / "croissant.json"))
        assert described.metadata.ctx.issues.errors == set()
        record = next(iter(described.records("labels")))
    assert record["labels/key"] in (b"000000000", "000000000")
    assert (
        described.metadata.conforms_to.value.endswith("1.1")
        if hasattr(described.metadata.conforms_to, "value")
        else True
    )


def test_the_metadata_says_it_is_synthetic(dataset: Path) -> None:
    document = json.loads((dataset / "croissant.json").read_text())
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert document["rai:dataCollectionType"] == "Synthetic"
    pictures = next(r for r in document["recordSet"] if r["@id"] == "samples")
    assert {"field": {"@id": "labels/key"}} in [f.get("references") for f in pictures["field"]]


def test_the_card_names_every_label_and_its_config(dataset: Path) -> None:
    card = (dataset / "README.md").read_text()
    manifest = read_manifest(open_store(dataset))
    for column in manifest["columns"]:
        name = column["name"]
        assert (f"`{name}`" in card) or name.startswith("expression_")
        if name.startswith("expression_"):
            assert name.removeprefix("expression_") in card
    assert "path: data/train-*.tar" in card
    assert label_table(manifest["columns"]) in card
