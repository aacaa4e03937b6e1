"""Fitting λ to photos: what is put into a rendering comes out again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from synthface.errors import DatasetError, OutputMismatchError
from synthface.factors.lighting import LAMBERT
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import linear_to_srgb, sh_basis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.morphable.skin import plain_skin
from training.fit.correspondence import Correspondence
from training.fit.geometry import GeometryFit, GeometrySettings
from training.fit.light import EXPOSURE, exposure, fit_light
from training.fit.measure import identity_figures
from training.fit.stage import METRICS, TABLE, FitRecipe, fit
from training.fit.surface import framed, recrop, sample_surface
from training.fit.unlit import without_light
from training.lambda_table import read_extra, read_table
from training.morphable.albedo import fit_albedo
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PhotoRows, PreparedPhotos, write_prepared
from training.recipe import load_recipe

TINY = Path(__file__).parents[2] / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def basis() -> MorphableBasis:
    torch.set_num_threads(1)
    return MorphableBasis.load()


def heads(basis: MorphableBasis, num: int, seed: int = 0) -> Factors:
    """Random heads with a smile each, turned a little, under a lamp from one side."""
    rng = np.random.default_rng(seed)
    expression = np.zeros((num, basis.num_expression))
    expression[:, basis.expression_names.index("mouth_smile_left")] = 0.7
    expression[:, basis.expression_names.index("mouth_smile_right")] = 0.7
    sh = np.zeros((num, 3, 9))
    sh[:, :, 0], sh[:, :, 2] = 0.8, 0.25
    sh[:, :, 3] = rng.uniform(-0.3, 0.3, (num, 1))
    pose = rng.uniform(-1, 1, (num, 3)) * np.radians([10, 20, 8])
    arrays = (
        0.6 * rng.normal(size=(num, basis.num_shape)),
        0.6 * rng.normal(size=(num, basis.num_albedo)),
        expression,
        sh,
        pose,
    )
    return Factors(*(torch.tensor(a, dtype=torch.float32) for a in arrays))


def landmarks_of(basis: MorphableBasis, factors: Factors, size_px: int) -> torch.Tensor:
    mesh = MorphableModel(basis)(factors)
    return camera.to_pixels(Correspondence.load().on(mesh.vertices), size_px)


def test_the_jacobian_is_that_of_automatic_differentiation(basis: MorphableBasis) -> None:
    points = Correspondence.load()
    few = Correspondence(points.vertices[::60], points.weights[::60], points.deviation_dm[::60])
    fitter = GeometryFit(basis, few)
    state = 0.2 * torch.rand(2, 6 + basis.num_shape + basis.num_expression, generator=torch.Generator().manual_seed(0))
    by_hand = fitter._jacobian(state)[1][1]
    automatic = torch.autograd.functional.jacobian(lambda s: fitter.project(s[None])[0], state[1])
    torch.testing.assert_close(by_hand, automatic, atol=1e-3, rtol=1e-4)


def test_geometry_comes_back_from_landmarks_whatever_their_crop(basis: MorphableBasis) -> None:
    factors = heads(basis, 4)
    seen = landmarks_of(basis, factors, FRAME_PX)
    moved = (seen - FRAME_PX / 2) * 1.1 + FRAME_PX / 2 + torch.tensor([7.0, -4.0])
    fitted = GeometryFit(basis, Correspondence.load(), GeometrySettings(iterations=15)).fit(moved)
    assert (fitted.pose_rad - factors.pose_rad).rad2deg().abs().max() < 3.0
    assert fitted.residual_px.max() < 1.0
    torch.testing.assert_close(
        fitted.view, torch.tensor([[np.log(1.1), 7.0, -4.0]]).float().expand(4, 3), atol=2.5, rtol=0
    )
    smile = basis.expression_names.index("mouth_smile_left")
    assert (fitted.expression[:, smile] > 0.3).all()
    assert (fitted.expression >= 0).all() and (fitted.expression <= 1).all()


def test_recropping_cancels_the_translation() -> None:
    crop, view = np.array([[2.0, 10.0, 20.0]]), np.array([[np.log(1.25), 5.0, -3.0]])
    (scale, x, y) = recrop(crop, view)[0]
    source = np.array([40.0, 60.0])
    in_frame = 2.0 * source + [10.0, 20.0]
    model = (in_frame - FRAME_PX / 2 - view[0, 1:]) / 1.25 + FRAME_PX / 2  # undo what the model's picture went through
    np.testing.assert_allclose(scale * source + [x, y], model)


def test_light_comes_back_from_colours_but_for_its_exposure(basis: MorphableBasis) -> None:
    rng = np.random.default_rng(0)
    normals = torch.nn.functional.normalize(
        torch.tensor(rng.normal(size=(2, 900, 3)) + np.array([0, 0, 1.2])).float(), dim=-1
    )
    mono = torch.tensor([[0.9, 0.1, 0.3, -0.2, 0.02, 0.01, 0.03, 0.0, 0.02], [0.5, -0.05, 0.1, 0.15, 0, 0, 0, 0, 0]])
    albedo = torch.full((900, 3), 0.3) * torch.tensor([1.2, 1.0, 0.8])
    shade = torch.einsum("nvk,nk->nv", sh_basis(normals) * torch.tensor(LAMBERT).float(), mono)
    found = fit_light(shade[..., None] * albedo, normals, torch.ones(2, 900), albedo)
    constant = float(sh_basis(normals)[0, 0, 0]) * LAMBERT[0]
    level = exposure(mono * constant)
    torch.testing.assert_close(exposure(found.mono * constant), torch.full((2,), EXPOSURE))
    torch.testing.assert_close(found.mono, mono * EXPOSURE / level[:, None], atol=0.08, rtol=0)
    assert float(found.tone[0].mean() / found.tone[1].mean()) == pytest.approx(float(level[0] / level[1]), rel=0.05)


def test_what_normals_explain_is_taken_out_of_the_mean_albedo(basis: MorphableBasis) -> None:
    vertices = basis.face_vertices
    normals = MorphableModel(basis).normals(torch.from_numpy(basis.mean_shape)[None])[0, vertices]
    skin = torch.from_numpy(plain_skin(basis)[vertices])
    shaded = (0.3 * (1 + 0.4 * normals[:, 1]))[:, None] * torch.ones(3)
    cleaned, share = without_light(shaded, normals, skin)
    assert share > 0.9
    assert without_light(cleaned, normals, skin)[1] < 0.01


def test_albedo_coefficients_come_back(basis: MorphableBasis) -> None:
    alpha = torch.randn(3, basis.num_albedo, generator=torch.Generator().manual_seed(0)) * 0.7
    albedo = MorphableModel(basis).texture(alpha)[:, basis.face_vertices]
    _, error = fit_albedo(basis, basis.face_vertices, albedo, torch.ones(albedo.shape[:2]))
    assert float(error.max()) < 0.01


def test_colours_are_looked_up_where_the_mesh_is_seen(basis: MorphableBasis) -> None:
    factors, model = heads(basis, 2), MorphableModel(basis)
    with torch.no_grad():
        shown = render(model, factors, 128)
    pixels = ((shown.image.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    surface = sample_surface(model, iter(pixels), factors)
    albedo = MorphableModel(basis).texture(factors.albedo)[:, surface.vertices]
    lit = albedo * torch.einsum(
        "nvk,nck->nvc", sh_basis(surface.normals.float()) * torch.tensor(LAMBERT).float(), factors.sh
    )
    plain = torch.from_numpy(plain_skin(basis)[surface.vertices])
    seen = (surface.weight > 0.5) & plain
    error = (linear_to_srgb(surface.colour.float()) - linear_to_srgb(lit)).abs().mean(-1)
    assert float(error[seen].mean()) < 0.015
    assert float((surface.weight == 0).float().mean()) < 0.6 and not bool((surface.weight > 0).all())


def test_descriptors_know_their_own() -> None:
    real = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert identity_figures(real, real + 0.01)["identity_auc"] == 1.0
    shuffled = identity_figures(real, real[torch.randperm(30, generator=torch.Generator().manual_seed(1))])
    assert 0.3 < shuffled["identity_auc"] < 0.7


@pytest.fixture(scope="module")
def prepared(basis: MorphableBasis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve renderings as a prepared folder, with the landmarks that the face mesh would give."""
    import io

    from PIL import Image

    folder = tmp_path_factory.mktemp("prepared")
    factors = heads(basis, 12, seed=5)
    with torch.no_grad():
        shown = render(MorphableModel(basis), factors, FRAME_PX, background=torch.full((1, 3, 1, 1), 0.3))
    landmarks = landmarks_of(basis, factors, FRAME_PX).numpy() + MARGIN_PX
    photos = []
    for image in ((shown.image.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy():
        canvas = Image.fromarray(np.pad(image, ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0)), mode="edge"))
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=95)
        photos.append(buffer.getvalue())
    assert canvas.size == (CANVAS_PX, CANVAS_PX)
    keys = tuple(f"{n:02d}" for n in range(12))
    ones = np.ones(12, np.float32)
    crop = np.tile(np.array([1, 0, 0], np.float32), (12, 1))
    rows = PhotoRows(keys, tuple(f"{k}.jpg" for k in keys), crop, landmarks.astype(np.float32), ones, ones, ones)
    write_prepared(folder, rows, photos)
    return folder


def test_the_whole_stage_finds_lambda_and_goes_on_after_a_kill(
    basis: MorphableBasis, prepared: Path, tmp_path: Path
) -> None:
    from training.__main__ import main

    out = tmp_path / "fit"
    arguments = ["fit", str(prepared), str(out), "--recipe", str(TINY)]
    first = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    table = read_table(out / TABLE)
    model = MorphableBasis.load(out / "morphable")
    assert table.sizes.albedo == model.num_albedo == load_recipe(TINY, "fit", FitRecipe).num_albedo
    truth = heads(basis, 12, seed=5)
    error = table.columns["pose_rad"] - truth.pose_rad.numpy()
    assert np.degrees(np.abs(error)).max() < 4.0
    assert read_extra(out / TABLE, "source")[3] == "03.jpg"
    np.testing.assert_allclose(read_extra(out / TABLE, "crop"), np.tile([1, 0, 0], (12, 1)), atol=4.0)
    figures = json.loads((out / METRICS).read_text())
    assert figures["landmark_nme"] < 0.02 and figures["light_in_mean_log_albedo_r2"] < 0.05
    assert figures["colour_error"]["median"] < 0.06
    (out / TABLE).unlink()
    (out / "geometry" / "000008.npz").unlink()  # as if killed before the last batch
    fit(prepared, out, load_recipe(TINY, "fit", FitRecipe))
    again = read_table(out / TABLE)
    for name, values in table.columns.items():
        np.testing.assert_allclose(again.columns[name], values, atol=2e-3, err_msg=name)
    assert again.keys == table.keys


def test_other_settings_and_other_landmarks_are_refused(prepared: Path, tmp_path: Path) -> None:
    recipe = load_recipe(TINY, "fit", FitRecipe)
    (tmp_path / "recipe.resolved.json").write_text('{"fit": {}}')
    with pytest.raises(OutputMismatchError, match="other settings"):
        fit(prepared, tmp_path, recipe)
    few = tmp_path / "five"
    few.mkdir()
    photos = PreparedPhotos(prepared)
    rows = replace(photos.rows, landmarks=photos.rows.landmarks[:, :5])
    data = [photos._file["jpeg"][photos._offsets[n] : photos._offsets[n + 1]].tobytes() for n in range(len(photos))]
    write_prepared(few, rows, data)
    with pytest.raises(DatasetError, match="5 landmarks per photo"):
        fit(few, tmp_path / "out", recipe)


def test_framing_without_a_move_gives_the_frame_of_the_canvas(prepared: Path) -> None:
    photos = PreparedPhotos(prepared)
    picture = framed(photos, 0, np.zeros(3, np.float32), FRAME_PX)
    inner = photos.photo(0)[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert np.abs(picture.astype(int) - inner.astype(int)).max() <= 1
