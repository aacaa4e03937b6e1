"""Pseudo-labels: what is clear is right, what isn't is left open, and a killed run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from synthface.errors import DatasetError, PhotoError
from tests.training.figures import HAIR_RGB, SKIN_RGB, figure, landmarks, matte_of, prepared_figures
from tests.training.photo_scenes import head
from training.parser import labels as stage
from training.parser.colour import Mixture, features, guided_filter, lab_of
from training.parser.geometry import BACKGROUND, BODY, BROW, EYE, HAIR, LIP, MOUTH, SKIN, face_map
from training.parser.labels import Labels, LabelsRecipe, write_labels
from training.parser.matte import PersonMatte
from training.parser.pseudo import UNSURE, PseudoRecipe, pseudo_labels
from training.photos.align import CANVAS_PX


def labelled(**settings: object) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a drawn person, and the truth."""
    drawn = figure(**settings)  # type: ignore[arg-type]
    face = face_map(drawn.landmarks, len(drawn.photo))
    return pseudo_labels(drawn.photo, drawn.matte, face, PseudoRecipe()), drawn.truth


def agreement(found: np.ndarray, truth: np.ndarray, part: int) -> tuple[float, float]:
    """How much of a part is found, and how much of what is found is the part, unsure pixels aside."""
    sure = found != UNSURE
    both = (found == part) & (truth == part)
    return both.sum() / max((sure & (truth == part)).sum(), 1), both.sum() / max((found == part).sum(), 1)


@pytest.mark.parametrize("part", [BACKGROUND, SKIN, HAIR, BODY, BROW, EYE, LIP])
def test_each_part_of_a_drawn_person_is_found(part: int) -> None:
    found, truth = labelled()
    recall, precision = agreement(found, truth, part)
    assert recall > 0.95
    assert precision > 0.95
    assert (found == UNSURE).mean() < 0.15


def test_a_bald_head_has_no_hair() -> None:
    found, _ = labelled(hair=None)
    assert (found == HAIR).sum() == 0
    assert (found == SKIN).mean() > 0.15


def test_a_shirt_of_the_hairs_colour_is_not_called_hair() -> None:
    """Below the face it may be shirt or left open."""
    found, truth = labelled(shirt=HAIR_RGB)
    assert (found[truth == BODY] == HAIR).mean() < 0.02
    assert agreement(found, truth, HAIR)[0] > 0.9


def test_fair_hair_is_told_from_skin() -> None:
    found, truth = labelled(hair=(215, 185, 120))
    recall, precision = agreement(found, truth, HAIR)
    assert recall > 0.9
    assert precision > 0.95


def test_an_unsure_matte_leaves_pixels_open() -> None:
    drawn = figure()
    face = face_map(drawn.landmarks, len(drawn.photo))
    found = pseudo_labels(drawn.photo, np.full_like(drawn.matte, 0.5), face, PseudoRecipe())
    assert (found == UNSURE).all()


def test_hair_over_a_brow_leaves_the_brow_open() -> None:
    drawn = figure()
    face = face_map(drawn.landmarks, len(drawn.photo))
    brow = np.argwhere(face.parts == BROW)
    side = brow[brow[:, 1] < len(drawn.photo) / 2]
    top, bottom = side[:, 0].min(), side[:, 0].max()
    photo = drawn.photo.copy()
    columns = slice(side[:, 1].min() - 3, side[:, 1].max() + 3)
    photo[: bottom + 1, columns] = np.array(HAIR_RGB) + np.random.default_rng(1).normal(
        0, 5, photo[: bottom + 1, columns].shape
    )
    found = pseudo_labels(photo, drawn.matte, face, PseudoRecipe())
    assert (found[top - 4, columns] == HAIR).mean() > 0.8
    assert (found[tuple(side.T)] == BROW).mean() < 0.5


def test_outlines_need_dense_landmarks() -> None:
    with pytest.raises(PhotoError, match="468"):
        face_map(np.zeros((68, 2)), 64)


def test_parts_lie_one_inside_the_other() -> None:
    face = face_map(landmarks(), CANVAS_PX)
    rows = {part: np.argwhere(face.parts == part)[:, 0].mean() for part in (BROW, EYE, LIP, MOUTH)}
    assert rows[BROW] < rows[EYE] < rows[MOUTH]
    assert abs(rows[LIP] - rows[MOUTH]) < 0.05 * CANVAS_PX
    assert face.height[int(landmarks()[152, 1]), int(landmarks()[152, 0])] == pytest.approx(0, abs=0.01)
    assert face.height[int(landmarks()[10, 1]), int(landmarks()[10, 0])] == pytest.approx(1, abs=0.01)


def test_lab_of_known_colours() -> None:
    found = lab_of(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(found, [[100, 0, 0], [0, 0, 0], [53.2, 80.1, 67.2]], atol=0.3)


def test_a_mixture_finds_two_clusters_and_gives_their_density() -> None:
    rng = np.random.default_rng(0)
    means, spreads = np.array([[0.0, 0, 0, 0], [30, 10, -20, 5]]), np.array([3.0, 6.0])
    samples = np.concatenate([m + s * rng.normal(size=(400, 4)) for m, s in zip(means, spreads, strict=True)])
    found = Mixture(samples, num_components=2, steps=30)
    true = np.logaddexp(
        *(
            stats.multivariate_normal(m, s * s * np.eye(4)).logpdf(samples) + np.log(0.5)
            for m, s in zip(means, spreads, strict=True)
        )
    )
    assert np.abs(found.log_density(samples) - true).mean() < 0.5


def test_the_guided_filter_equals_a_slow_one() -> None:
    """Per window, the linear model of the guide is solved by NumPy."""
    rng = np.random.default_rng(0)
    guide, values = rng.integers(0, 256, (12, 11, 3), dtype=np.uint8), rng.random((12, 11))
    radius, epsilon = 2, 1e-3
    padded = np.pad(guide / 255, ((4, 4), (4, 4), (0, 0)), mode="edge")
    padded_values = np.pad(values, 4, mode="edge")

    def model(row: int, column: int) -> tuple[np.ndarray, float]:
        window = (slice(row - radius + 4, row + radius + 5), slice(column - radius + 4, column + radius + 5))
        colours, wanted = padded[window].reshape(-1, 3), padded_values[window].ravel()
        covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
        cross = ((colours - colours.mean(0)) * (wanted - wanted.mean())[:, None]).mean(0)
        slope = np.linalg.solve(covariance, cross)
        return slope, wanted.mean() - slope @ colours.mean(0)

    found = guided_filter(values, guide, radius=radius, epsilon=epsilon)
    for row, column in ((5, 5), (4, 6), (6, 4)):
        near = [model(row + dy, column + dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        slope, offset = (np.mean([m[k] for m in near], axis=0) for k in (0, 1))
        assert found[row, column] == pytest.approx(slope @ guide[row, column] / 255 + offset, abs=1e-9)


def test_texture_is_where_lightness_varies() -> None:
    flat = np.full((32, 32, 3), 120, np.uint8)
    striped = flat.copy()
    striped[::2, 16:] = 200
    assert features(flat)[..., 3].max() < 1e-6
    assert features(striped)[8:24, 20:28, 3].min() > 5 * features(striped)[8:24, 2:8, 3].max() + 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_figures(tmp_path_factory.mktemp("figures") / "prepared", 5)


def test_a_folder_of_labels_can_be_read_by_row(prepared: Path, tmp_path: Path) -> None:
    figures = write_labels(prepared, tmp_path, LabelsRecipe(every=2), matte=matte_of)
    found = Labels(tmp_path)
    assert found.keys == ("0000", "0002", "0004")
    assert figures["num_photos"] == 3
    assert sum(figures["share"].values()) + figures["unsure"] == pytest.approx(1, abs=1e-3)
    rows = torch.tensor([2, 0])
    assert found.photos(rows).shape == (2, 3, stage.LABEL_PX, stage.LABEL_PX)
    assert found.labels(rows).dtype == torch.uint8
    assert 0 <= found.mattes(rows).min() <= found.mattes(rows).max() <= 1
    skin = found.photos(rows).permute(0, 2, 3, 1)[found.labels(rows) == SKIN].mean(dim=0) * 255
    assert torch.allclose(skin, torch.tensor(SKIN_RGB).float(), atol=6)
    with Image.open(tmp_path / stage.SHEET) as sheet:
        assert sheet.width > stage.LABEL_PX


def test_a_killed_labelling_goes_on(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_PART", 2)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_labels(prepared, tmp_path, LabelsRecipe(), matte=matte_of, report=stop)
    with pytest.raises(DatasetError, match="no finished labels"):
        Labels(tmp_path)
    write_labels(prepared, tmp_path, LabelsRecipe(), matte=matte_of, report=lines.append)
    assert lines == ["2/5 photos", "4/5 photos", "5/5 photos"]
    assert len(Labels(tmp_path)) == 5


def test_other_settings_make_other_labels(prepared: Path, tmp_path: Path) -> None:
    write_labels(prepared, tmp_path, LabelsRecipe(), matte=matte_of)
    before = Labels(tmp_path).labels(torch.arange(5))
    write_labels(prepared, tmp_path, LabelsRecipe(pseudo=PseudoRecipe(sure_person=1.1)), matte=matte_of)
    after = Labels(tmp_path).labels(torch.arange(5))
    assert (before == HAIR).any()
    assert not (after == HAIR).any()


def test_the_network_that_ships_finds_the_person_on_a_rendering() -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `photos` isn't installed")
    picture, points = head(0)
    matte = PersonMatte()(np.asarray(picture), 64)
    assert matte.shape == (64, 64)
    x, y = (points.mean(axis=0) / 4).astype(int)
    assert matte[y - 4 : y + 4, x - 4 : x + 4].mean() > 0.9
    assert matte[:8, :8].mean() < 0.2
