"""What people read when a spec is wrong, word by word where the words matter."""

from __future__ import annotations

import pytest

from synthface.errors import SpecError
from synthface.spec import load_spec

SOUND = {"version": 1, "name": "t", "seed": 0, "identities": {"count": 4}, "images_per_identity": 2}


def messages(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(text)
    return str(caught.value).split("\n")


def test_all_problems_come_together_in_the_order_of_the_file():
    text = """version: 1
name: my set
seed: -3
identities:
  cuont: 10
factors:
  pose: {yaw: {uniform: [40, -40]}}
  expression: {named: {smille: 1}}
images_per_identity: 4
splits: {train: 0.8, test: 0.1}
output: {annotations: [landmark]}
"""
    found = messages(text)
    assert [line.split(": ")[0] for line in found] == [
        "<text>:2:7",
        "<text>:3:7",
        "<text>:4:1",
        "<text>:5:3",
        "<text>:7:25",
        "<text>:8:24",
        "<text>:10:1",
        "<text>:11:24",
    ]
    assert found[3].endswith("did you mean 'count'?")
    assert "identities.count: this is missing; add it: Number of identities." in found[2]
    assert "found low 40 above high -40; allowed: low < high: did you mean [-40, 40]?" in found[4]
    assert "did you mean 'smile'?" in found[5]
    assert "the shares sum to 0.9 (0.8 + 0.1); allowed: 1" in found[6]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (
            {
                "conditions": {"a": {}, "b": {"lighting": {"sh": [[1] * 9] * 3}}},
                "images_per_identity": {"a": 1, "b": 1},
                "correlate": [{"between": ["pose.yaw", "pose.pitch", "lighting.ambient"], "rho": 0.2}],
            },
            "correlate[0].between[2]",
            "use correlations of two",
        ),
        (
            {
                "factors": {"lighting": {"ambient": {"uniform": [0, 1], "per": "dataset"}}},
                "correlate": [{"between": ["pose.yaw", "lighting.ambient"], "rho": 0.5}],
            },
            "correlate[0].between[1]",
            "once for the dataset",
        ),
        (
            {
                "factors": {"expression": {"mixture": [{"weight": 1, "named": {"smile": {"grid": [0, 1]}}}]}},
                "design": {"kind": "factorial", "axes": ["expression.smile"]},
            },
            "design.axes[0]",
            "in a mixture",
        ),
        (
            {
                "factors": {"expression": {"mixture": [{"weight": 1, "named": {"smile": {"grid": [0, 1]}}}]}},
                "design": {"kind": "one_factor", "vary": ["expression.smile"], "steps": 1},
            },
            "design.vary[0]",
            "as a whole",
        ),
        ({"images_per_identity": 10**5, "identities": {"count": 10**7}}, "identities.count", "at most 1000000000"),
        ({"images_per_identity": {"a": 2}}, "images_per_identity", "no conditions; write one number"),
        ({"conditions": {"a": {}}}, "images_per_identity", "write a number for each: {a: 2}"),
        (
            {"conditions": {"a": {}}, "images_per_identity": {"b": 1}},
            "images_per_identity.b",
            "there is no condition 'b'",
        ),
        ({"design": {"kind": "one_factor", "vary": ["pose"], "steps": 3}}, "images_per_identity", "write 4"),
        ({"design": {"kind": "one_factor", "vary": ["poze"], "steps": 1}}, "design.vary[0]", "no leaf 'poze'"),
        ({"design": {"kind": "factorial", "axes": ["pose.yaw"]}}, "design.axes[0]", "isn't a grid"),
        ({"design": "factorial"}, "design", "{kind: factorial, axes: [..]}"),
        ({"splits": {"a": 0.9, "b": 0.1}}, "splits.b", "which is nobody"),
        ({"output": {"image": {"format": "png", "quality": 80}}}, "output.image.quality", "png has none"),
        ({"output": {"post": [{"resize_px": 300}]}}, "output.post[0].resize_px", "the image has 256"),
        ({"output": {"post": [{"jpeg_quality": 0}]}}, "output.post[0].jpeg_quality", "1 to 100"),
        ({"factors": {"pose": {"yaw": "prior"}}}, "factors.pose.yaw", "one distribution"),
        ({"factors": {"pose": {"prior": {}, "yaw": 3}}}, "factors.pose.prior", "a prior alone, or angles"),
        ({"factors": {"expression": {"smile": 1}}}, "factors.expression.smile", "under `named`"),
        (
            {"factors": {"expression": {"named": {"smile": {"normal": [0.5, 0.1]}}}}},
            "factors.expression.named.smile",
            "low: 0, high: 1",
        ),
        (
            {"factors": {"expression": {"named": {"smile": 1, "mouth_smile_left": 1}}}},
            "factors.expression.named.mouth_smile_left",
            "drive the same action",
        ),
        (
            {"factors": {"expression": {"named": {"smile": {"von_mises": [0, 1]}}}}},
            "factors.expression.named.smile.von_mises",
            "for angles",
        ),
        ({"factors": {"lighting": {"sh": [[0] * 9] * 3, "ambient": 1}}}, "factors.lighting", "together"),
        ({"factors": {"lighting": {"prior": {}, "frame": "head"}}}, "factors.lighting.frame", "remove `frame`"),
        (
            {"factors": {"lighting": {"ambient": -1}}},
            "factors.lighting.ambient",
            "allowed for lighting.ambient: 0 to 10",
        ),
        ({"factors": {"pose": {"yaw": 3, "per": "image"}}}, "factors.pose.per", "beside the distribution"),
        (
            {"identities": {"count": 4, "from": "x", "attributes": {"a": 1}}},
            "identities.attributes",
            "remove `attributes`",
        ),
        (
            {"identities": {"count": 4, "attributes": {"a": {"uniform": [0, 1], "per": "image"}}}},
            "identities.attributes.a.per",
            "identity, dataset",
        ),
        (
            {"identities": {"count": 4, "balance": {"by": "a", "edges": [1, 0]}}},
            "identities.balance.edges",
            "increasing",
        ),
        ({"identities": {"count": 4, "max_tries": 3}}, "identities.max_tries", "is for `min_distance`"),
        ({"correlate": [{"between": ["pose.yaw", "pose.yaw"], "rho": 0.5}]}, "correlate[0].between[1]", "here twice"),
        (
            {"correlate": [{"between": ["pose.yaw", "pose.pitch"], "rho": [[1, 0.5]] * 2}]},
            "correlate[0].rho",
            "symmetric",
        ),
        ({"correlate": [{"between": ["pose.yaw", "pose.pitch"], "rho": [[1, 0, 0]] * 3}]}, "correlate[0].rho", "2 × 2"),
        (
            {"correlate": [{"between": ["pose.yaw", "expression.smile"], "rho": 0.5}]},
            "correlate[0].between[1]",
            "under factors.expression.named",
        ),
        (
            {"factors": {"pose": {"yaw": 1}}, "correlate": [{"between": ["pose.yaw", "pose.pitch"], "rho": 0.5}]},
            "correlate[0].between[0]",
            "is constant",
        ),
        (
            {"factors": {"pose": "prior"}, "correlate": [{"between": ["pose.yaw", "lighting.ambient"], "rho": 0.5}]},
            "correlate[0].between[0]",
            "comes from a prior",
        ),
        (
            {"pairs": {"p": {"split": "test", "genuine": 1, "impostor": 1, "folds": 1}}},
            "pairs.p.split",
            "there is no split 'test'",
        ),
        ({"pairs": {"p": {"split": "train", "genuine": 0, "impostor": 0}}}, "pairs.p", "found no pairs"),
        ({"pairs": {"p": {"split": "train", "genuine": 4, "impostor": 5, "folds": 5}}}, "pairs.p.genuine", "5 or more"),
        (
            {"pairs": {"p": {"split": "train", "genuine": 5, "impostor": 0, "folds": 1}}},
            "pairs.p.genuine",
            "at most 4 such pairs",
        ),
        ({"seed": True}, "seed", "found true; allowed: a whole number"),
        ({"name": ""}, "name", "allowed: text like"),
        ({"name": "a/b"}, "name", "allowed: text like"),
        ({"splits": {"Train Set": 1}}, "splits.Train Set", "lower case"),
    ],
)
def test_one_slip_one_problem(change, path, words):
    with pytest.raises(SpecError) as caught:
        load_spec({**SOUND, **change})
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert path in found, caught.value
    assert words in found[path]
    assert len(found) <= 2


def test_a_slip_in_one_place_does_not_blame_another():
    """What depends on something that is wrong already isn't judged."""
    text = """version: 1
name: t
seed: 0
identities: {count: 10}
factors: {pose: {yaw: {unifrom: [0, 1]}}}
correlate: [{between: [pose.yaw, lighting.ambient], rho: 0.5}]
images_per_identity: {a: 1}
conditions: {a: {expresion: neutral}}
"""
    assert [line.split(": ")[1] for line in messages(text)] == ["factors.pose.yaw.unifrom", "conditions.a.expresion"]


@pytest.mark.parametrize("text", ["\n", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_spec_points_to_the_ready_ones(text):
    (line,) = messages(text)
    assert "empty" in line
    assert "specs/" in line


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "42\n", "'text'\n"])
def test_what_is_no_mapping_is_said_to_be_none(text):
    (line,) = messages(text)
    assert "a spec is a mapping" in line


def test_paths_that_are_no_spec(tmp_path):
    (tmp_path / "good.yaml").write_text("x")
    (tmp_path / "big.yaml").write_text("#" * (1 << 20) + "##")
    for path, words in [
        (tmp_path, "this is a folder; name a spec file in it: big.yaml, good.yaml"),
        (tmp_path / "goud.yaml", "did you mean"),
        (tmp_path / "nowhere" / "x.yaml", "no such file; check the path"),
        ("bad\0name", "can't be read"),
        (tmp_path / "big.yaml", "more than 1048576 bytes"),
        ("x" * 5000, "can't be read"),
    ]:
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        (problem,) = caught.value.problems
        assert words in problem.message
        assert "\n" not in str(problem)


def test_a_file_is_named_as_it_was_given(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text("version: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"^s\.yaml:1:1: identities: this is missing"):
        load_spec("s.yaml")


def test_other_types_are_a_programming_error():
    with pytest.raises(TypeError, match="int"):
        load_spec(3)  # type: ignore[arg-type]
