"""Importers: the official layouts, and clear words where a file isn't one."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from synthface.errors import MorphableModelError
from synthface.factors.types import FactorBatch
from synthface.morphable.basis import MorphableBasis
from tests.toy import icosphere
from training.morphable.importers.bfm import import_bfm
from training.morphable.importers.flame import import_flame
from training.morphable.importers.ict import PARTS, arkit_name, import_ict

ICT = Path(__file__).parents[2].parent / "shared" / "data" / "ict-facekit-subset" / "FaceXModel"


def face_points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sphere with 68 landmarks where a face has them: vertices in dm, faces, landmark vertices."""
    vertices, faces = icosphere(4, 0.9)
    wanted = np.zeros((68, 2))
    wanted[:17, 0], wanted[:17, 1] = np.linspace(-0.7, 0.7, 17), -0.3 - 0.4 * np.cos(np.linspace(-1.5, 1.5, 17))
    wanted[17:27, 0], wanted[17:27, 1] = np.linspace(-0.5, 0.5, 10), 0.45
    wanted[27:31] = [(0, y) for y in (0.25, 0.15, 0.08, 0.0)]
    wanted[31:36] = [(x, -0.08) for x in (-0.1, -0.05, 0, 0.05, 0.1)]
    for first, x in ((36, -0.3), (42, 0.3)):
        wanted[first : first + 6] = [(x + 0.1 * np.cos(a), 0.25 + 0.05 * np.sin(a)) for a in np.arange(6)]
    wanted[48:] = [(0.25 * np.cos(a), -0.35 + 0.1 * np.sin(a)) for a in np.linspace(np.pi, -np.pi, 20)]
    front = np.flatnonzero(vertices[:, 2] > 0)
    distance = np.linalg.norm(vertices[front][:, None, :2] - wanted[None], axis=2)
    return vertices, faces, front[distance.argmin(axis=0)]


def check_frame(basis: MorphableBasis) -> None:
    """Pupils 0.63 dm apart, the nose 0.85 dm before the origin."""
    points = basis.mean_shape[basis.landmarks68]
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(0.63, abs=1e-3)
    assert eyes[0][0] < 0 < eyes[1][0]
    assert points[30, 2] == pytest.approx(0.85, abs=1e-3)


# --------------------------------------------------------------------------------------------------------------- ICT


@pytest.mark.skipif(not ICT.is_dir(), reason="the ICT-FaceKit subset isn't here")
def test_the_real_ict_files_are_read_and_render_a_head(tmp_path: Path) -> None:
    import torch

    from synthface.morphable.model import Factors, MorphableModel
    from synthface.morphable.render import render

    basis = import_ict(ICT)
    check_frame(basis)
    assert (basis.num_shape, basis.num_expression) == (12, 10)
    assert {"jaw_open", "mouth_smile_left", "brow_inner_up", "cheek_puff"} <= set(basis.expression_names)
    jaw = basis.expression_basis[basis.expression_names.index("jaw_open")]
    assert jaw[basis.landmarks68[8], 1] < -0.1
    smile = basis.expression_basis[basis.expression_names.index("mouth_smile_left")]
    assert np.abs(smile[basis.mean_shape[:, 0] > 0.1]).max() > 5 * np.abs(smile[basis.mean_shape[:, 0] < -0.3]).max()
    model = MorphableModel(basis)
    with torch.no_grad():
        rendered = render(model, Factors.of(FactorBatch.neutral(basis.layout(), 1)), 64)
    assert 0.35 < float(rendered.coverage.mean()) < 0.9
    basis.save(tmp_path)
    assert MorphableBasis.load(tmp_path).part_names == PARTS


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["vt 0 0"]
    path.write_text("\n".join(lines + [f"f {a + 1}/1 {b + 1}/1 {c + 1}/1" for a, b, c in faces]))


@pytest.fixture
def ict(tmp_path: Path) -> Path:
    vertices, faces, landmarks = face_points()
    write_obj(tmp_path / "generic_neutral_mesh.obj", vertices * 10, faces)
    write_obj(tmp_path / "identity000.obj", vertices * 11, faces)
    write_obj(tmp_path / "jawOpen.obj", vertices * 10 - [0, 1, 0], faces)
    write_obj(tmp_path / "browInnerUp_L.obj", vertices * 10 + [0, 1, 0], faces)
    write_obj(tmp_path / "browInnerUp_R.obj", vertices * 10 + [0, 2, 0], faces)
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": landmarks.tolist()}))
    return tmp_path


def test_a_small_ict_folder(ict: Path) -> None:
    basis = import_ict(ict)
    check_frame(basis)
    assert basis.expression_names == ("brow_inner_up", "jaw_open")
    up, down = basis.expression_basis[:, 0, 1]
    assert up == pytest.approx(-3 * down, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mouthSmile_L", "mouth_smile_left"),
        ("eyeLookOut_R", "eye_look_out_right"),
        ("jawOpen", "jaw_open"),
        ("cheekPuff_R", "cheek_puff"),
    ],
)
def test_ict_names_become_arkits(name: str, expected: str) -> None:
    assert arkit_name(name) == expected


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("generic_neutral_mesh.obj", None, "not there, but needed"),
        ("generic_neutral_mesh.obj", "v 1 2 x\n", r"obj:1: 'v 1 2 x'"),
        ("generic_neutral_mesh.obj", "", "no vertices or faces"),
        ("identity000.obj", "v 0 0 0\n", "has 1 vertices, the neutral mesh 2562"),
        ("vertex_indices.json", "{}", "no idx_to_landmark_verts"),
        ("vertex_indices.json", '{"idx_to_landmark_verts": [1, 2]}', "isn't 68 vertices"),
    ],
)
def test_a_wrong_ict_file_is_named(ict: Path, file: str, content: str | None, message: str) -> None:
    (ict / file).unlink() if content is None else (ict / file).write_text(content)
    with pytest.raises(MorphableModelError, match=message):
        import_ict(ict)


# --------------------------------------------------------------------------------------------------------------- BFM


@pytest.fixture
def bfm(tmp_path: Path) -> Path:
    """The official layout: all vertices, of which `trimIndex` are trimmed, of which `idx` are the face."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    vertices, faces, landmarks = face_points()
    count, extra = len(vertices), 40
    everything = np.concatenate([rng.normal(size=(extra, 3)), vertices]) * 1e5
    total = count + extra
    savemat(
        tmp_path / "01_MorphableModel.mat",
        {
            "shapeMU": everything.reshape(-1, 1).astype(np.float32),
            "shapePC": rng.normal(size=(3 * total, 90)).astype(np.float32),
            "shapeEV": np.full((90, 1), 100.0, np.float32),
            "texMU": np.full((3 * total, 1), 150.0, np.float32),
            "texPC": np.ones((3 * total, 90), np.float32),
            "texEV": np.full((90, 1), 5.0, np.float32),
            "tl": np.ones((4, 3)),
        },
    )
    savemat(tmp_path / "BFM_front_idx.mat", {"idx": np.arange(1, count + 1)[:, None]})
    savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": np.arange(extra + 1, total + 1)[:, None]})
    savemat(
        tmp_path / "facemodel_info.mat",
        {"keypoints": landmarks[None] + 1, "tri": faces + 1, "skinmask": (vertices[:, 2] > 0)[None].astype(float)},
    )
    basis = rng.normal(size=(79, 3 * count)).astype(np.float32)
    content = np.int32(79).tobytes() + np.zeros(3 * count, np.float32).tobytes() + basis.tobytes()
    (tmp_path / "Exp_Pca.bin").write_bytes(content)
    (tmp_path / "std_exp.txt").write_text(" ".join(["50.0"] * 79))
    return tmp_path


def test_bfm_in_the_official_layout(bfm: Path) -> None:
    basis = import_bfm(bfm)
    check_frame(basis)
    assert (basis.num_shape, basis.num_albedo, basis.num_expression) == (80, 80, 64)
    assert basis.mean_albedo[0] == pytest.approx(np.full(3, ((150 / 255 + 0.055) / 1.055) ** 2.4), rel=1e-5)
    tone = basis.attributes["skin_tone_ita_deg"]
    assert (np.diff(tone.values) > 0).all()


def test_a_wrong_bfm_file_is_named(bfm: Path) -> None:
    (bfm / "Exp_Pca.bin").write_bytes((bfm / "Exp_Pca.bin").read_bytes()[:-8])
    with pytest.raises(MorphableModelError, match=r"Exp_Pca.bin: has \d+ bytes, but 79 components"):
        import_bfm(bfm)
    (bfm / "01_MorphableModel.mat").write_bytes(b"nonsense")
    with pytest.raises(MorphableModelError, match="not a MATLAB file"):
        import_bfm(bfm)
    (bfm / "01_MorphableModel.mat").unlink()
    with pytest.raises(MorphableModelError, match=r"01_MorphableModel.mat: not there.*Exp_Pca.bin"):
        import_bfm(bfm)


# ------------------------------------------------------------------------------------------------------------- FLAME


def flame_arrays() -> dict[str, np.ndarray]:
    vertices, faces, _ = face_points()
    rng = np.random.default_rng(0)
    directions = rng.normal(0, 0.001, (len(vertices), 3, 400))
    return {"v_template": vertices / 10, "shapedirs": directions, "f": faces.astype(np.uint32)}


@pytest.fixture
def flame(tmp_path: Path) -> Path:
    vertices, faces, landmarks = face_points()
    triangle = np.array([np.flatnonzero((faces == v).any(axis=1))[0] for v in landmarks])
    weights = (faces[triangle] == landmarks[:, None]).astype(float)
    np.savez(tmp_path / "landmark_embedding.npz", full_lmk_faces_idx=triangle[None], full_lmk_bary_coords=weights[None])
    np.savez(tmp_path / "generic_model.npz", **flame_arrays())
    assert len(vertices)
    return tmp_path


def test_flame_as_npz(flame: Path) -> None:
    basis = import_flame(flame)
    check_frame(basis)
    assert (basis.num_shape, basis.num_expression) == (100, 50)


def test_flame_as_a_chumpy_pickle_without_chumpy(flame: Path) -> None:
    expected = import_flame(flame)
    (flame / "generic_model.npz").unlink()
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x

        def __setstate__(self, state: dict[str, object]) -> None:
            raise AssertionError("code of the pickle's class must not run")

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch  # type: ignore[attr-defined]
    sys.modules |= {"chumpy": package, "chumpy.ch": module}
    try:
        arrays = {k: Ch(v) if k != "f" else v for k, v in flame_arrays().items()}
        (flame / "generic_model.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    assert import_flame(flame).digest == expected.digest


def test_a_pickle_that_asks_to_run_code_is_refused(flame: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'owned')!r}, 'w').close()",)

    (flame / "generic_model.npz").unlink()
    (flame / "generic_model.pkl").write_bytes(pickle.dumps({"v_template": Evil()}))
    with pytest.raises(MorphableModelError, match="builtins.eval"):
        import_flame(flame)
    assert not (tmp_path / "owned").exists()


def test_a_wrong_flame_file_is_named(flame: Path) -> None:
    np.savez(flame / "generic_model.npz", **(flame_arrays() | {"v_template": np.zeros((5, 2))}))
    with pytest.raises(MorphableModelError, match=r"v_template: has shape \(5, 2\), expected any × 3"):
        import_flame(flame)
    (flame / "landmark_embedding.npz").unlink()
    np.savez(flame / "generic_model.npz", **flame_arrays())
    with pytest.raises(MorphableModelError, match="68 landmarks"):
        import_flame(flame)
