"""Arrows between modules point one way, and the front door is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import synthface

ROOT = Path(synthface.__file__).parent
#: Modules whose import must not load torch: planning, writing and reading labels work without it.
LIGHT = (
    "synthface", "synthface.cli", "synthface.spec.loader", "synthface.spec.layout", "synthface.plan", "synthface.sampling",
    "synthface.seeding", "synthface.identities", "synthface.pairs", "synthface.designs", "synthface.factors.lighting",
    "synthface.factors.mirror",
    "synthface.factors.pose", "synthface.factors.types", "synthface.morphable.basis", "synthface.generators",
    "synthface.shards.encode", "synthface.shards.writer", "synthface.shards.labels", "synthface.shards.reader",
    "synthface.storage", "synthface.manifest", "synthface.cards", "synthface.job", "synthface.tiles",
    "synthface.pipeline", "synthface.annotators",
)  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_importing_it_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def imported_by(path: Path) -> set[str]:
    """Names of all modules that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_library_never_imports_training() -> None:
    files = list(ROOT.rglob("*.py"))
    assert len(files) > 40
    for path in files:
        assert not any(name.split(".")[0] in ("training", "recipes", "tests") for name in imported_by(path)), path


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("spec", ("plan", "sampling", "pipeline", "shards", "generators", "manifest", "storage")),
        ("factors", ("plan", "sampling", "pipeline", "shards", "generators", "morphable")),
        ("morphable", ("pipeline", "shards", "generators", "annotators", "plan", "sampling", "spec")),
        ("shards", ("pipeline", "engines", "annotators", "generators", "sampling")),
        ("annotators", ("pipeline", "engines", "generators", "sampling", "plan")),
    ],
)
def test_lower_layers_dont_know_higher_ones(lower: str, higher: tuple[str, ...]) -> None:
    for path in (ROOT / lower).rglob("*.py"):
        for name in imported_by(path):
            assert not any(name == f"synthface.{h}" or name.startswith(f"synthface.{h}.") for h in higher), (path, name)


def test_every_public_name_is_there_and_documented() -> None:
    for name in synthface.__all__:
        assert getattr(synthface, name).__doc__, name
    assert sorted(synthface.__all__) == synthface.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = synthface.nonsense
