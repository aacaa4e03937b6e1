"""The command: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.specs_for_tests import tiny


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synthface", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "spec.yaml").write_text(json.dumps(tiny()))
    return str(tmp_path / "spec.yaml")


def test_help_and_planning_load_no_torch(spec: str) -> None:
    for arguments in (["--help"], ["render", "--help"], ["validate", spec], ["plan", spec], ["schema"], ["generators"]):
        code = (
            f"import sys; sys.argv[1:] = {arguments!r}\nfrom synthface.cli import main\n"
            "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules, 'torch'"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr[-500:])


def test_render_verify_report(spec: str, tmp_path: Path) -> None:
    out, html = str(tmp_path / "out"), tmp_path / "report.html"
    done = run("render", spec, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_images"] == 8
    done = run("verify", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert "sound (8 images" in done.stderr
    assert run("report", out, "--out", str(html)).returncode == 0
    text = html.read_text()
    assert text.count("data:image/jpeg;base64,") == 1
    assert "<svg" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    (tmp_path / "out" / "labels.parquet").write_bytes(b"x")
    done = run("verify", out, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"][0]["file"] == "labels.parquet"


def test_a_dry_run_writes_nothing(spec: str, tmp_path: Path) -> None:
    done = run("render", spec, "--out", str(tmp_path / "out"), "--dry-run")
    assert done.returncode == 0
    assert "8 images of 4 identities" in done.stdout
    assert not (tmp_path / "out").exists()


def test_plan_as_json(spec: str) -> None:
    plan = json.loads(run("plan", spec, "--json").stdout)
    assert (plan["images"], plan["identities"], plan["splits"]["test"]["identities"]) == (8, 4, 1)
    assert plan["requested"]["yaw_deg"]["low"] < plan["requested"]["yaw_deg"]["high"]


def test_preview_draws_a_sheet(spec: str, tmp_path: Path) -> None:
    done = run("preview", spec, "--out", str(tmp_path / "sheet.png"), "--rows", "2", "--columns", "2", "--cell", "32")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 66


def test_a_wrong_spec_exits_with_2_and_a_line_per_problem(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "version: 1\nname: bad\nseed: 1\nidentities: {count: 0}\nimages_per_identity: 2\nfactors: {pose: {jaw: 3}}\n"
    )
    for verb in (["validate"], ["plan"], ["render", "--out", str(tmp_path / "out")]):
        done = run(verb[0], str(path), *verb[1:])
        assert done.returncode == 2
        lines = done.stderr.strip().splitlines()
        assert [line.startswith(f"error: {path}:") for line in lines] == [True, True], done.stderr
        assert "4:" in lines[0]
        assert "yaw" in lines[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["render", "SPEC"], 2, "--out"),
        (["render", "SPEC", "--out", "o", "--shards", "3/2"], 2, "1 ≤ i ≤ n"),
        (["render", "SPEC", "--out", "o", "--generator", "3dm"], 1, "did you mean '3dmm'"),
        (["render", "missing.yaml", "--out", "o"], 2, "no such file"),
        (["verify", "nowhere"], 1, "isn't there"),
        (["report", "nowhere", "--out", "o.html"], 1, "isn't there"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_wrong_usage_says_what_to_do(spec: str, arguments: list[str], code: int, word: str) -> None:
    done = run(*[spec if argument == "SPEC" else argument for argument in arguments])
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
