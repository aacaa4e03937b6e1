"""Tables and environment maps that a spec names: found, read, hashed, and faulted with a position."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthface.errors import SpecError
from synthface.factors.lighting import sh_basis, shade
from synthface.spec import load_spec
from synthface.spec.distributions import Table

HEAD = "version: 1\nname: t\nseed: 0\nidentities: {count: 3}\nimages_per_identity: 2\n"
ROWS = {"yaw": [-20.0, 0.0, 35.0], "pitch": [1.0, 2.0, 3.0], "w": [1.0, 1.0, 2.0]}


@pytest.fixture(params=["csv", "parquet"])
def table(request, tmp_path):
    path = tmp_path / f"poses.{request.param}"
    if request.param == "csv":
        lines = [",".join(ROWS), *(",".join(map(str, row)) for row in zip(*ROWS.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")
    else:
        pq.write_table(pa.table(ROWS), path)
    return path


def load(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(HEAD + text + "\n")
    return load_spec(path)


def problem(tmp_path, text):
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    (found,) = caught.value.problems
    return found


def test_a_joint_table_keeps_rows_together(table):
    text = f"joint: [{{table: {{file: {table.name}, columns: {{pose.yaw: yaw, pose.pitch: pitch}}, weight: w}}}}]"
    spec = load(table.parent, text)
    (joint,) = spec.joint
    assert joint.values.tolist() == [[-20, 1], [0, 2], [35, 3]]
    assert joint.weights.tolist() == [0.25, 0.25, 0.5]
    assert joint.columns == {"pose.yaw": "yaw", "pose.pitch": "pitch"}
    assert spec.files() == (joint.table,)


def test_a_column_is_a_distribution(table):
    spec = load(table.parent, f"factors: {{pose: {{yaw: {{table: {{file: {table.name}, column: yaw, weight: w}}}}}}}}")
    distribution = spec.factors.pose.yaw.distribution
    assert isinstance(distribution, Table)
    assert set(distribution.ppf(np.linspace(0.01, 0.99, 50))) == {-20.0, 0.0, 35.0}
    assert spec.from_dict(spec.to_dict(), folder=table.parent) == spec


def test_the_digest_follows_the_content_and_not_the_name(tmp_path):
    text = "joint: [{table: {file: NAME, columns: {pose.yaw: yaw}}}]"
    for name, rows in (("a.csv", "yaw\n1\n2\n"), ("b.csv", "yaw\n1\n2\n"), ("c.csv", "yaw\n1\n3\n")):
        (tmp_path / name).write_text(rows)
    a, b, c = (load(tmp_path, text.replace("NAME", name)).digest for name in ("a.csv", "b.csv", "c.csv"))
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("yaw,x\n1,a\n2,b\n", "has no column 'pitch'"),
        ("yaw,pitch\n1,a\n2,b\n", "isn't all numbers"),
        ("yaw,pitch\n1,2\n2,\n", "no finite number in row 2"),
        ("yaw,pitch\n", "0 rows"),
        ("", "isn't a readable csv table"),
        ("yaw,pitch\n1,300\n", "allowed for pose.pitch"),
    ],
)
def test_bad_tables_are_faulted(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    found = problem(tmp_path, "joint:\n- table:\n    file: t.csv\n    columns:\n      pose.pitch: pitch")
    assert message in found.message
    assert found.line == 10


@pytest.mark.parametrize("weights", ["-1\n2", "0\n0"])
def test_bad_weights_are_faulted(tmp_path, weights):
    first, second = weights.split("\n")
    (tmp_path / "t.csv").write_text(f"yaw,w\n1,{first}\n2,{second}\n")
    found = problem(tmp_path, "joint:\n- table:\n    file: t.csv\n    columns: {pose.yaw: yaw}\n    weight: w")
    assert "weights in column 'w'" in found.message
    assert found.line == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [("posse.csv", "did you mean 'poses.csv'"), ("poses.xlsx", "allowed: .csv, .parquet"), ("sub.csv", "is a folder")],
)
def test_missing_files_are_faulted(tmp_path, name, message):
    (tmp_path / "poses.csv").write_text("yaw\n1\n")
    (tmp_path / "sub.csv").mkdir()
    found = problem(tmp_path, f"joint:\n- table:\n    file: {name}\n    columns: {{pose.yaw: yaw}}")
    assert message in found.message
    assert found.line == 8


def test_an_environment_map_lights_from_its_bright_side(tmp_path):
    """A map that is white on the right half lights surfaces that face the image's right."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    Image.fromarray(pixels).save(tmp_path / "studio.png")
    spec = load(tmp_path, "factors: {lighting: {environment: {file: studio.png, rotate: {uniform: [0, 360]}}}}")
    sh = np.array(spec.factors.lighting.sh)
    right, left = shade(np.array([[1.0, 0, 0], [-1.0, 0, 0]]), sh)
    assert right.min() > 0.9
    assert abs(left).max() < 0.1
    assert sh_basis(np.array([0.0, 0, 1])).shape == (9,)
    assert [ref.name for ref in spec.files()] == ["studio.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"junk", "isn't a picture"), (None, "twice as wide as high")],
)
def test_bad_maps_are_faulted(tmp_path, content, message):
    path = tmp_path / "map.png"
    if content is None:
        Image.new("RGB", (16, 16)).save(path)
    else:
        path.write_bytes(content)
    found = problem(tmp_path, "factors:\n  lighting:\n    environment:\n      file: map.png")
    assert message in found.message
    assert found.line == 9
