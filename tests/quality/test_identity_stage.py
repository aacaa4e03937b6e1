"""The identity stage in a dataset's life: the same people for any number of workers and kills, committed before any shard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import synthface
from synthface.errors import IdentityError, OutputMismatchError
from synthface.generators import load_generator
from synthface.identities import identity_factors, read_chosen
from synthface.job import Job, prepare
from synthface.networks.recognition import load_recognition
from synthface.pipeline import Progress, render, samples
from synthface.quality import canonical, centre
from synthface.quality.choice import choose
from synthface.report.html import html_report
from synthface.report.preview import preview
from tests.specs_for_tests import tiny
from tests.test_pipeline import hashes

IDENTITIES = {"count": 9, "min_distance": 0.55, "max_tries": 4}


def spec(**changes: Any) -> dict[str, Any]:
    identities = {**IDENTITIES, **changes.pop("identities", {})}
    splits = {"train": 0.7, "test": 0.3}
    return tiny(identities=identities, splits=splits, images_per_identity=1, **changes)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset whose identities are apart."""
    folder = tmp_path_factory.mktemp("apart") / "out"
    render(spec(), folder)
    return folder


def test_the_table_says_who_was_chosen_and_how_far_apart_they_are(out: Path) -> None:
    content = (out / "identities.parquet").read_bytes()
    chosen = read_chosen(content)
    assert chosen is not None
    assert chosen.descriptors is not None
    assert chosen.nearest_distance is not None
    cosines = chosen.descriptors @ chosen.descriptors.T - 2 * np.eye(9)
    assert 1 - cosines.max() >= 0.55 - 1e-6
    np.testing.assert_allclose(chosen.nearest_distance, 1 - cosines.max(axis=1), atol=1e-5)
    assert chosen.persons.max() >= 9  # somebody was turned down, or this tests nothing
    job = prepare(spec())
    shape, _, attributes = identity_factors(job.spec, job.info.layout, chosen.persons)
    table = pq.read_table(out / "identities.parquet")
    np.testing.assert_array_equal(np.stack(table["shape"].to_pylist()).astype(np.float32), shape)
    assert table["skin_tone_ita_deg"].to_pylist() == attributes["skin_tone_ita_deg"].tolist()


def test_descriptors_are_those_of_standard_pictures_in_the_dataset_s_tiles(out: Path) -> None:
    chosen = read_chosen((out / "identities.parquet").read_bytes())
    assert chosen is not None
    job = prepare(spec())
    from synthface.engines.local import single_threaded
    from synthface.quality.separation import unit

    with single_threaded():
        raw = canonical.describe(job, np.sort(chosen.persons))
        centred = unit(raw, centre.centre_of(job.generator, job.recognition))
    assert chosen.descriptors is not None
    np.testing.assert_allclose(centred, chosen.descriptors[np.argsort(chosen.persons)], atol=1e-5)


def test_samples_show_whom_the_table_names(out: Path) -> None:
    frame = synthface.labels(out, columns=["identity", "skin_tone_ita_deg"])
    table = pq.read_table(out / "identities.parquet").to_pandas().set_index("identity")
    np.testing.assert_allclose(
        frame.skin_tone_ita_deg, table.loc[frame.identity, "skin_tone_ita_deg"].astype(np.float32), rtol=1e-6
    )
    streamed = {s["key"]: s["labels"]["skin_tone_ita_deg"] for s in samples(spec(), stop=4)}
    written = synthface.labels(out, columns=["key", "skin_tone_ita_deg"]).set_index("key").skin_tone_ita_deg
    assert all(np.isclose(written[key], value) for key, value in streamed.items())


def test_the_dataset_says_what_it_promises(out: Path) -> None:
    assert synthface.verify(out).is_sound
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["quality"]["identities"]["found"] == 9
    assert manifest["quality"]["identities"]["separation"]["nearest"] >= 0.55
    card = (out / "README.md").read_text()
    assert "no two identities are nearer than 0.55" in card
    assert not (out / "identities").exists()


def test_the_report_shows_who_is_in_it_and_what_was_asked_for(tmp_path: Path) -> None:
    balance = {"by": "skin_tone_ita_deg", "edges": [-10, 30, 60], "max_tries": 30}
    render(tiny(identities={"count": 8, "balance": balance}, images_per_identity=1), tmp_path / "out")
    report = html_report(tmp_path / "out")
    assert "8 of the 8 identities asked for" in report
    rows = re.findall(r"<tr><td>(?:-10 to 30|30 to 60)</td>(.*?)</tr>", report)
    numbers = [re.findall(r'<td class="n">([\d.%]+)</td>', row) for row in rows]
    assert numbers == [["4", "4", "50.0%", "3", "1"]] * 2
    # The fresh draws beside skin tone are balanced, too, so its mean isn't shifted.
    shift = re.search(r"<b>skin_tone_ita_deg</b>.*?shift ([-+\d.]+)", report, re.DOTALL)
    assert shift is not None
    assert abs(float(shift[1])) < 4
    assert 'class="asked"' in report


def test_two_workers_choose_the_same_people(out: Path) -> None:
    """Descriptors to the bit."""
    alone = read_chosen((out / "identities.parquet").read_bytes())
    together = choose(prepare(spec()), workers=2)
    assert alone is not None
    np.testing.assert_array_equal(alone.persons, together.persons)
    np.testing.assert_array_equal(alone.descriptors, together.descriptors)
    assert alone.report == together.report


class StoppedError(Exception):
    pass


def stop_after(count: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.what == "identities" and progress.done >= count:
            raise StoppedError

    return on_progress


def test_a_stopped_choice_goes_on_from_its_parts(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    with pytest.raises(StoppedError):
        render(spec(), folder, on_progress=stop_after(1))
    kept = sorted(path.name for path in (folder / "identities").iterdir())
    assert kept == ["000000.safetensors"]
    assert not (folder / "identities.parquet").exists()
    described: list[int] = []
    real = canonical.describe

    def counting(job: Job, persons: np.ndarray) -> np.ndarray:
        described.extend(persons.tolist())
        return real(job, persons)

    monkeypatch.setattr(canonical, "describe", counting)
    assert render(spec(), folder).is_finished
    assert min(described) == 8  # the first tile was there
    assert hashes(folder) == hashes(out)


def test_parts_of_another_spec_or_cut_short_are_made_anew(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(StoppedError):
        render(spec(seed=8), folder, on_progress=stop_after(1))
    assert render(spec(), folder).is_finished
    assert hashes(folder) == hashes(out)
    with pytest.raises(StoppedError):
        render(spec(), tmp_path / "cut", on_progress=stop_after(1))
    part = tmp_path / "cut" / "identities" / "000000.safetensors"
    part.write_bytes(part.read_bytes()[:900])
    assert render(spec(), tmp_path / "cut").is_finished
    assert hashes(tmp_path / "cut") == hashes(out)


def test_other_distances_are_another_dataset(out: Path) -> None:
    with pytest.raises(OutputMismatchError, match="min_distance"):
        render(spec(identities={"min_distance": 0.5}), out)


def test_chosen_identities_can_be_reused(out: Path, tmp_path: Path) -> None:
    render(tiny(identities={"count": 9, "from": str(out)}, images_per_identity=1), tmp_path / "again")
    columns = ["identity", "skin_tone_ita_deg"]
    a, b = (synthface.labels(d, columns=columns).set_index("identity").sort_index() for d in (out, tmp_path / "again"))
    assert a.equals(b)


def test_fewer_than_asked_for_is_a_smaller_dataset_that_says_so(tmp_path: Path) -> None:
    summary = render(spec(identities={"count": 8, "min_distance": 0.8, "max_tries": 1}), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert summary.is_finished
    assert 2 <= found["identities"] == found["images"] < 8
    assert f"{found['identities']} of 8 identities" in summary.shortfalls[0]
    assert synthface.verify(tmp_path / "out").is_sound


def test_a_split_that_nobody_is_left_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="split 'test' gets nobody"):
        render(spec(identities={"count": 8, "min_distance": 1.9, "max_tries": 1}), tmp_path / "out")


def test_a_preview_shows_some_of_the_people() -> None:
    sheet = preview(spec(), num_rows=2, num_columns=1, cell_px=32)
    assert sheet.height >= 64


def test_the_renderer_s_centre_ships() -> None:
    """After a change of the bundled model: `python -m synthface.quality.centre`."""
    generator, recognition = load_generator("3dmm"), load_recognition()
    assert centre.is_shipped(generator, recognition)


def test_a_photographic_generator_is_centred_by_photos() -> None:
    class Photographic:
        looks_like_photos = True

    recognition = load_recognition()
    np.testing.assert_array_equal(centre.centre_of(Photographic(), recognition), recognition.mean.numpy())  # type: ignore[arg-type]
