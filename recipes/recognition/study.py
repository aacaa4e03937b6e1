"""The study: where does a network fail, by what it was trained on?

The same small network is trained with the same budget on three datasets of the same people, and tested on others by yaw and
by light. Everything is resumed where it was stopped. The table and the plots go into this folder's README between markers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.recognition.evaluation import STYLE, evaluate, shown, write_report
from recipes.recognition.networks import NetworkSettings
from recipes.recognition.pairs import from_dataset, pair_lists
from recipes.recognition.training import RecognitionSettings, train_recognition
from synthface.manifest import read_manifest
from synthface.pipeline import render
from synthface.storage import open_store
from training.evaluate.plots import Series, chart
from training.recipe import load_recipe

HERE = Path(__file__).parent
SPECS, README = HERE / "study", HERE / "README.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
TRAINED = {
    "frontal": "frontal, even light",
    "wide": "wide pose and light",
    "wide-one-factor": "the same, one factor at a time",
}
TESTS = ("test-yaw", "test-light", "test-wide")
#: Lists that one factor orders: prefix of their names to the axis.
AXES = {"yaw": "yaw of the second picture, degrees", "light": "azimuth of the lamp, degrees"}
_TINY_PEOPLE, _TINY_PAIRS, _TINY_PX = 6, 4, 32


def run(
    out: Path,
    *,
    tiny: bool = False,
    workers: int = 2,
    device: str | None = None,
    readme: Path | None = None,
    report: Callable[[str], None] = print,
) -> str:
    """Render, train, test and write; returns the table.

    Args:
        out: for datasets, networks and figures.
        tiny: a rehearsal in seconds with the analytic renderer, which writes no README unless one is given.
        workers: processes that render.
        device: where generator and networks compute; the networks' own choice without it.
        readme: whose results are replaced; this folder's.
        report: told what goes on.
    """
    times = _Times(out / "times.json")
    for name in (*TRAINED, *TESTS):
        report(f"rendering {name}")
        with times.of(f"render {name}"):
            render(spec_of(name, tiny=tiny), out / "data" / name, workers=workers, device=device or "cpu")
    results = {}
    for name in TRAINED:
        report(f"training on {name}")
        with times.of(f"train {name}"):
            network = train_recognition(
                settings_of(tiny=tiny), out / "data" / name, out / "runs" / name, device=device, report=report
            )
        assert network is not None
        sets = [from_dataset(out / "data" / test, pairs) for test in TESTS for pairs in pair_lists(out / "data" / test)]
        with times.of(f"test {name}"):
            results[name] = evaluate(network, sets, device=device, report=report)
        write_report(out / "reports" / name, results[name], title=f"Trained on: {TRAINED[name]}")
    study = {"about": _about(out, tiny, times.seconds), "results": results}
    (out / "study.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    if readme or not tiny:
        write_results(study, readme or README)
    return table(results)


def spec_of(name: str, *, tiny: bool = False) -> Path | dict[str, Any]:
    """A dataset's spec: its file, or for a rehearsal what it says at a fraction of the size."""
    path = SPECS / f"{name}.yaml"
    if not tiny:
        return path
    from ruamel.yaml import YAML

    spec: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    spec["generator"] = "3dmm"
    spec["identities"]["count"] = _TINY_PEOPLE
    per = spec["images_per_identity"]
    spec["images_per_identity"] = {c: min(n, 2) for c, n in per.items()} if isinstance(per, Mapping) else 4
    if "design" in spec:
        spec["design"]["steps"] = 1
    for pairs in spec.get("pairs", {}).values():
        pairs |= {"genuine": _TINY_PAIRS, "impostor": _TINY_PAIRS, "folds": 2}
    spec["output"]["image"]["size"] = _TINY_PX
    return spec


def settings_of(*, tiny: bool = False) -> RecognitionSettings:
    """How a network is trained; for a rehearsal a smaller one, for two steps or so."""
    settings = load_recipe(SPECS / "settings.yaml", "recognition", RecognitionSettings)
    if not tiny:
        return settings
    schedule = replace(settings.loop.schedule, epochs=1.0)
    return replace(
        settings,
        network=NetworkSettings("mobilefacenet", _TINY_PX, 0.0625, 8),
        loop=replace(settings.loop, batch=8, workers=0, log_every=1, schedule=schedule),
    )


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Ten-fold accuracy (and EER) of each network on each pair list, as Markdown."""
    names = list(results)
    lists = list(results[names[0]])
    rows = [
        "| pairs | " + " | ".join(TRAINED[name] for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for pairs in sorted(lists, key=_in_order):
        found = [results[name][pairs] for name in names]
        best = max(f["accuracy"] for f in found)
        cells = [_cell(f["accuracy"], f["accuracy_std"], f["eer"], f["accuracy"] == best) for f in found]
        rows.append(f"| {_title(pairs)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def skin_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy by skin tone of the list of everything at once."""
    names = [name for name in results if "skin_tone_ita_deg" in results[name].get("wide", {}).get("by", {})]
    if not names:
        return ""
    bins = results[names[0]]["wide"]["by"]["skin_tone_ita_deg"]
    rows = ["| ITA, degrees | " + " | ".join(TRAINED[name] for name in names) + " |", "|---|" + "---|" * len(names)]
    for bin_name in bins:
        found = [results[name]["wide"]["by"]["skin_tone_ita_deg"][bin_name]["accuracy"] for name in names]
        rows.append(f"| {bin_name} | " + " | ".join(shown(value) for value in found) + " |")
    return "\n".join(rows)


def plots(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Accuracy over each axis, one curve for each network, as SVG that stands alone."""
    made = {}
    for axis, label in AXES.items():
        names = sorted((n for n in next(iter(results.values())) if n.startswith(f"{axis}_")), key=_in_order)
        angles = [_in_order(name)[1] for name in names]
        series = [
            Series(title, angles, [results[trained][name]["accuracy"] for name in names])
            for trained, title in TRAINED.items()
            if trained in results
        ]
        # From chance to all, and room for the legend.
        svg = chart(series, x_label=label, y_label="accuracy", y_range=(0.45, 1.17), width=460, height=300)
        made[axis] = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
            'role="img">', f'role="img"><style>{STYLE}</style>', 1
        )
    return made


def write_results(study: Mapping[str, Any], readme: Path) -> None:
    """Put table, plots and circumstances between the README's markers; the plots lie beside it."""
    results, about = study["results"], study["about"]
    for axis, svg in plots(results).items():
        (readme.parent / f"study-{axis}.svg").write_text(svg + "\n", encoding="utf-8")
    content = "\n\n".join(
        part
        for part in (
            f"Generator `{about['generator']}`, {about['images']} training images of {about['people']} people in each set; "
            f"made with synthface {about['version']} in {about['minutes']:.0f} minutes.",
            "Accuracy ± its standard deviation over ten folds (EER in brackets); the best of a row is bold.",
            table(results),
            "![accuracy by yaw](study-yaw.svg) ![accuracy by light](study-light.svg)",
            "By skin tone, on the pairs of everything at once, where both people are in the bin (–: too few such pairs):",
            skin_table(results),
        )
        if part
    )
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"{readme} has no markers"
    readme.write_text(f"{before}{BEGIN}\n\n{content}\n\n{END}{after}", encoding="utf-8")


def _about(out: Path, tiny: bool, times: Mapping[str, float]) -> dict[str, Any]:
    import synthface

    data = out / "data" / next(iter(TRAINED))
    found = synthface.labels(data, columns=["identity"])["identity"]
    return {
        "version": synthface.__version__,
        "generator": read_manifest(open_store(data))["generator"]["name"],
        "images": len(found),
        "people": int(found.nunique()),
        "tiny": tiny,
        "seconds": dict(times),
        "minutes": sum(times.values()) / 60,
    }


def _cell(accuracy: float, std: float, eer: float, is_best: bool) -> str:
    mark = "**" if is_best else ""
    return f"{mark}{accuracy:.3f}{mark} ± {std:.3f} ({eer:.3f})"


def _in_order(pairs: str) -> tuple[str, float]:
    """Lists in groups, by angle."""
    group, _, angle = pairs.rpartition("_")
    return ("~", 0.0) if not angle.isdigit() else (group, float(angle))


def _title(pairs: str) -> str:
    group, angle = _in_order(pairs)
    return {"yaw": f"front against {angle:g}°", "light": f"even light against a lamp at {angle:g}°"}.get(
        group, "everything at once"
    )


class _Times:
    """Seconds spent on each part, over all runs that it took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Adds the time spent inside, also where it ends in an error."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.seconds, indent=1) + "\n", encoding="utf-8")
