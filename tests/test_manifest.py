"""`verify` finds what is wrong, and names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from synthface.errors import DatasetError
from synthface.manifest import verify


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    shutil.copytree(dataset, tmp_path / "copy")
    return tmp_path / "copy"


def problems(folder: Path) -> dict[str, str]:
    report = verify(folder)
    assert not report.is_sound
    return {problem.file: problem.message for problem in report.problems}


def test_a_fresh_dataset_is_sound(dataset: Path) -> None:
    report = verify(dataset)
    assert report.problems == []
    assert (report.num_images, report.num_shards) == (36, 6)


def test_one_flipped_bit_in_a_shard_is_found(copy: Path) -> None:
    path = next((copy / "data").glob("*.tar"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in problems(copy)[f"data/{path.name}"]


@pytest.mark.parametrize("keep", [0, 700, -512])
def test_a_truncated_shard_is_found(copy: Path, keep: int) -> None:
    path = next((copy / "data").glob("*.tar"))
    path.write_bytes(path.read_bytes()[:keep])
    message = problems(copy)[f"data/{path.name}"]
    assert "bytes, the manifest says" in message
    assert "render" in message


@pytest.mark.parametrize("name", ["labels.parquet", "identities.parquet", "README.md", "pairs/across.csv"])
def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert "missing" in problems(copy)[name]


def test_a_strange_file_is_mentioned(copy: Path) -> None:
    (copy / "data" / "notes.txt").write_text("mine")
    assert "isn't in the manifest" in problems(copy)["data/notes.txt"]


def test_labels_that_differ_from_the_table_are_found_even_with_matching_hashes(copy: Path) -> None:
    """As a tool would leave it that edits a tar and updates the manifest."""
    import hashlib

    path = sorted((copy / "data").glob("*.tar"))[0]
    content = path.read_bytes()
    start = content.index(b'"yaw_deg":') + len(b'"yaw_deg":')
    changed = content[:start] + (b"1" if content[start : start + 1] != b"1" else b"2") + content[start + 1 :]
    path.write_bytes(changed)
    manifest = json.loads((copy / "manifest.json").read_text())
    for shard in manifest["shards"]:
        if shard["tar"]["name"].endswith(path.name):
            shard["tar"]["sha256"] = hashlib.sha256(changed).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert "yaw_deg" in problems(copy)[f"data/{path.name}"]


def test_an_unfinished_dataset_says_how_far_it_is(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"not finished: 6 shards.*run the same `synthface render` again"):
        verify(copy)


def test_any_other_folder_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a dataset"):
        verify(tmp_path)


def test_a_manifest_of_another_format_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_text('{"format": "synthface-dataset-9"}')
    with pytest.raises(DatasetError, match="synthface-dataset-9"):
        verify(copy)
