"""A finished dataset in one HTML file: contact sheets, distributions asked and realised, tables."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthface.errors import SynthfaceError
from synthface.manifest import iterate_tar, read_manifest
from synthface.report.histogram import svg
from synthface.report.preview import contact_sheet
from synthface.report.quality import audit_section, identity_section
from synthface.shards.labels import labels
from synthface.storage import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

_ROWS, _COLUMNS, _CELL_PX = 5, 12, 84


def html_report(dataset: str | Path) -> str:
    """The report of a finished dataset as HTML text without any outside reference.

    Raises:
        DatasetError: there is no finished dataset.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    store = open_store(dataset)
    manifest = read_manifest(store)
    frame = labels(dataset)
    environment = Environment(
        loader=PackageLoader("synthface.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        sheets=_sheets(store, manifest, frame),
        crosstab=_crosstab(manifest, frame),
        per_identity=sorted(frame.groupby("identity").size().value_counts().items()),
        distributions=_distributions(store, manifest, frame),
        pairs=_pairs(store, manifest),
        identities=identity_section(store, manifest, frame),
        audit=audit_section(manifest, frame),
        spec=store.read("spec.yaml").decode(),
    )


def _sheets(store: Store, manifest: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, str]]:
    """A contact sheet per condition, from samples spread evenly over it."""
    from PIL import Image

    wanted: dict[str, str] = {}
    for condition, rows in frame.groupby("condition", sort=False):
        spread = np.linspace(0, len(rows) - 1, min(len(rows), _ROWS * _COLUMNS)).astype(int)
        wanted |= dict.fromkeys(rows.key.iloc[spread], str(condition))
    found: dict[str, list[np.ndarray]] = {}
    extension = manifest["sample_files"][0]["extension"]
    for shard in manifest["shards"]:
        if not any(shard["first_key"] <= key <= shard["last_key"] for key in wanted):
            continue
        with store.open(shard["tar"]["name"]) as tar:
            for key, files in iterate_tar(tar):
                if key in wanted:
                    picture = Image.open(io.BytesIO(files[extension])).convert("RGB")
                    picture.thumbnail((_CELL_PX, _CELL_PX))
                    found.setdefault(wanted[key], []).append(np.asarray(picture))
    return [{"name": name, "data": _jpeg(pictures)} for name, pictures in found.items()]


def _jpeg(pictures: list[np.ndarray]) -> str:
    rows = [pictures[start : start + _COLUMNS] for start in range(0, len(pictures), _COLUMNS)]
    buffer = io.BytesIO()
    contact_sheet(rows, cell_px=_CELL_PX).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _crosstab(manifest: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    splits = list(manifest["counts"]["splits"])
    counts = frame.groupby(["condition", "split"], sort=False).size()
    rows = {name: [int(counts.get((name, split), 0)) for split in splits] for name in manifest["counts"]["conditions"]}
    return {"splits": splits, "rows": rows}


def _distributions(store: Store, manifest: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Every varying scalar label that was requested, beside fresh draws from the spec under another seed."""
    asked = _fresh_draws(store)
    result = []
    for column in manifest["columns"]:
        name = column["name"]
        if column["origin"] != "requested" or column["shape"] or column["dtype"] != "float32":
            continue
        values = frame[name].to_numpy()
        others = None if asked is None else asked.get(name)
        if values.min() == values.max():
            continue
        result.append(_distribution(name, column["unit"], values, others))
    return result


def _distribution(name: str, unit: str, values: np.ndarray, others: np.ndarray | None) -> dict[str, Any]:
    """One label's histogram, with the asked one as an outline."""
    both = values if others is None else np.concatenate([values, others])
    counts, edges = np.histogram(values, bins=24, range=(both.min(), both.max()))
    item = {
        "name": name,
        "mean": f"{values.mean():.3g}",
        "std": f"{values.std():.3g}",
        "asked_mean": "–",
        "asked_std": "–",
        "shift": "–",
    }
    outline: list[float] = []
    if others is not None:
        outline = (np.histogram(others, bins=edges)[0] * (len(values) / len(others))).tolist()
        error = np.sqrt(values.var() / len(values) + others.var() / len(others))
        item |= {
            "asked_mean": f"{others.mean():.3g}",
            "asked_std": f"{others.std():.3g}",
            "shift": f"{(values.mean() - others.mean()) / max(error, 1e-12):+.1f}",
        }
    item["svg"] = _markup(svg(counts.tolist(), float(edges[0]), float(edges[-1]), unit=unit, outline=outline))
    return item


def _fresh_draws(store: Store) -> Mapping[str, np.ndarray] | None:
    """What the spec asks for, as draws under another seed; balanced, where it wants balance. Distance isn't looked at."""
    from synthface.identity_stage import choose_for, chosen_job
    from synthface.job import prepare
    from synthface.sampling import sample
    from synthface.spec.model import Quality

    try:
        spec = prepare(store.read("spec.resolved.yaml").decode()).spec
        spec = replace(spec, identities=replace(spec.identities, min_distance=None), quality=Quality())
        job = prepare(spec.replace(seed=(spec.seed + 1) % 2**31))
        plan = chosen_job(job, choose_for(job)).plan
        return sample(plan, np.linspace(0, plan.num_images - 1, 2000).astype(np.int64)).columns
    except (SynthfaceError, OSError, ValueError):  # its tables or reused identities aren't beside it any more
        return None


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _pairs(store: Store, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    import pandas as pd

    result = []
    for record in manifest["files"]:
        if record["name"].startswith("pairs/"):
            pairs = pd.read_csv(io.BytesIO(store.read(record["name"])))
            same = int(pairs.same.sum())
            name = record["name"].removeprefix("pairs/").removesuffix(".csv")
            result.append({"name": name, "genuine": same, "impostor": len(pairs) - same, "folds": pairs.fold.nunique()})
    return result
