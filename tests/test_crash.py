"""SIGKILL at any moment: run again, and the bytes are those of a run that was never disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.specs_for_tests import tiny
from tests.test_pipeline import hashes

SPEC = tiny(identities={"count": 12}, images_per_identity=4, output={"image": {"size": 48}, "shards": {"samples": 8}})
#: How many moments; `SYNTHFACE_KILLS=20` for the figure in the changelog.
NUM_KILLS = int(os.environ.get("SYNTHFACE_KILLS", "2"))


def start(spec: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "synthface", "render", str(spec), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], float]:
    """The spec's file, the right hashes, and how long a run takes."""
    folder = tmp_path_factory.mktemp("crash")
    (folder / "spec.yaml").write_text(json.dumps(SPEC))
    began = time.monotonic()
    assert start(folder / "spec.yaml", folder / "out", 2).wait(120) == 0
    return folder / "spec.yaml", hashes(folder / "out"), time.monotonic() - began


@pytest.mark.parametrize("whole_group", [False, True], ids=["parent", "group"])
def test_a_killed_run_finishes_with_the_same_bytes(
    undisturbed: tuple[Path, dict[str, str], float], tmp_path: Path, whole_group: bool
) -> None:
    spec, right, seconds = undisturbed
    moments = random.Random(f"moments-{whole_group}")
    for number in range(NUM_KILLS):
        out = tmp_path / str(number)
        process = start(spec, out, 2)
        # Most of a run is start-up: aim at the part where there is something to lose.
        time.sleep(seconds * moments.uniform(0.45, 0.98))
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait(30)
        assert start(spec, out, 2).wait(120) == 0
        assert hashes(out) == right
        assert not list((out / ".synthface").glob("staging/*"))
