"""The report's parts: the paper's rows, charts that show what they are given, and the table over several evaluations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.evaluate import paper, table
from training.evaluate.plots import Frame, Series, bars, chart, spread, ticks
from training.evaluate.report import figure

MEASURED = {
    "disentanglement": {"ds": {"identity": 2.0, "expression": 3.0, "lighting": 4.0, "pose": 5.0}},
    "quality": {"by": {"mobileface": {"fd[mobileface]": 1.0}, "efficientnet-lite0": {"fd[efficientnet-lite0]": 7.0}}},
    "paths": {"by": {"w full": {"ppl[efficientnet-lite0]": 9.0, "standard_error": 1.0}}},
    "directions": {
        part: {f: {"mean": 0.5, "std": 0.1} for f in paper.FACTORS} for part in ("same_start_and_end", "same_offset")
    },
}


def test_all_rows_of_the_papers_table_1_come_before_ours() -> None:
    """Deng et al. 2020, Table 1."""
    rows = paper.table_1(MEASURED, "mine")
    assert [row["method"] for row in rows] == ["3DMM", "adversarial", "+ imitative", "+ contrastive", "mine"]
    assert [row["ds_lighting"] for row in rows] == [None, 0.87, 40.4, 489.0, 4.0]
    assert [row["fid"] for row in rows] == [271.0, 5.49, 9.15, 12.9, 7.0]
    assert [row["ppl"] for row in rows] == [None, 106.0, 102.0, 123.0, 9.0]
    assert (rows[-1]["fid_is"], rows[-1]["ppl_is"]) == ("fd[efficientnet-lite0]", "ppl[efficientnet-lite0], w full")


def test_true_fid_goes_before_other_distances() -> None:
    by = {**MEASURED["quality"]["by"], "inception": {"FID": 3.0}}
    row = paper.table_1({**MEASURED, "quality": {"by": by}}, "mine")[-1]
    assert (row["fid"], row["fid_is"]) == (3.0, "FID")


def test_all_rows_of_the_papers_table_2_are_there_with_ours_under_each_property() -> None:
    """Deng et al. 2020, Table 2."""
    rows = paper.table_2(MEASURED, "mine")
    assert [row["method"] for row in rows] == 2 * ["adversarial", "imitative-contrastive", "mine"]
    assert [row["pose"][0] for row in rows] == [0.17, 0.87, 0.5, 0.15, 0.85, 0.5]
    assert rows[1]["identity"] == [0.96, 0.02] and rows[4]["identity"] == [0.82, 0.06]


def test_what_was_not_measured_is_empty_in_the_tables() -> None:
    ours = paper.table_1({"disentanglement": {"skipped": "why"}}, "mine")[-1]
    assert ours["ds_pose"] is ours["fid"] is ours["ppl_is"] is None
    assert paper.table_2({}, "mine")[-1]["pose"] is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-42, 42, [-40, -20, 0, 20, 40]), (0.013, 0.029, [0.015, 0.02, 0.025])],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_point_is_drawn_where_its_value_is() -> None:
    text = chart([Series("", [0, 5, 10], [0, 2, 4])], x_label="x", y_label="y", x_range=(0, 10), y_range=(0, 4))
    frame = Frame((0, 10), (0, 4), 330, 230)
    (points,) = re.findall(r'<polyline class="l0" points="([^"]+)"', text)
    for drawn, (x, y) in zip(points.split(), [(0, 0), (5, 2), (10, 4)], strict=True):
        assert tuple(map(float, drawn.split(","))) == pytest.approx(frame.at(x, y), abs=0.06)
    assert frame.at(0, 0)[1] > frame.at(0, 4)[1]  # up is up


def test_numbers_that_are_none_leave_a_gap_and_one_value_is_no_division_by_zero() -> None:
    text = chart([Series("", [0, 1, 2], [1.0, float("nan"), 1.0])], x_label="x", y_label="y")
    assert "nan" not in text
    assert text.count("<circle") == 2
    assert spread([3.0, 3.0]) == pytest.approx((2.85, 3.15))


def test_names_are_escaped_and_listed_when_there_are_several() -> None:
    text = chart([Series("a<b", [0, 1], [0, 1]), Series("c", [0, 1], [1, 0])], x_label="x & y", y_label="y")
    assert "a&lt;b" in text and "x &amp; y" in text and "<b" not in text.replace("<br", "")


def test_bars_are_as_high_as_their_shares() -> None:
    text = bars([("one", [1, 3]), ("two", [2, 2])], low=0, high=1, x_label="x")
    heights = [
        float(h)
        for h in re.findall(r'<rect class="f\d" x="[\d.]+" y="[\d.]+" width="13\d\.\d" height="([\d.]+)"', text)
    ]
    assert [h / heights[0] for h in heights] == pytest.approx([1, 3, 2, 2], abs=0.02)


def test_figures_are_short_and_absent_ones_a_dash() -> None:
    assert [figure(v) for v in (1234.56, 0.000123456, None, float("nan"), float("inf"), 3, True)] == [
        "1235", "0.0001235", "–", "–", "∞", "3", "True",
    ]  # fmt: skip


def test_several_evaluations_make_one_table(tmp_path: Path) -> None:
    """Rows in the order given; what a generator can't have is a dash."""
    paths = []
    for name, measured in (("full", MEASURED), ("3dmm", {"disentanglement": MEASURED["disentanglement"]})):
        found = {"format": "synthface-evaluation-1", "name": name, "measurements": measured}
        found |= {"table_1": paper.table_1(measured, name), "table_2": paper.table_2(measured, name)}
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps(found))
        paths.append(str(tmp_path / name))
    result = CliRunner().invoke(table.main, paths)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.startswith(("| full", "| 3dmm"))]
    assert rows[0].startswith("| full | 2 | 3 | 4 | 5 | 7 | 9 |")
    assert rows[1].startswith("| 3dmm | 2 | 3 | 4 | 5 | – | – |")
    assert "fd[efficientnet-lite0]" in result.stdout


def test_figures_on_different_features_are_not_put_in_one_table(tmp_path: Path) -> None:
    paths = []
    for name, key in (("a", "fd[efficientnet-lite0]"), ("b", "FID")):
        measured = {**MEASURED, "quality": {"by": {"x": {key: 1.0}}}}
        found = {"format": "synthface-evaluation-1", "name": name, "measurements": measured}
        found |= {"table_1": paper.table_1(measured, name), "table_2": paper.table_2(measured, name)}
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps(found))
        paths.append(str(tmp_path / name))
    result = CliRunner().invoke(table.main, paths)
    assert result.exit_code == 1
    assert "FID" in str(result.exception) and "same" in str(result.exception)
