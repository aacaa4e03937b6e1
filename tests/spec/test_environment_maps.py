"""High-dynamic-range maps: what is read is what was written, and light comes from where the map is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthface.errors import SpecError
from synthface.factors.lighting import dominant_direction
from synthface.sampling import sample
from synthface.spec.loader import load_spec
from tests.specs_for_tests import plan_of, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2")
    radiance = np.full((32, 64, 3), 0.1, np.float32)
    radiance[12:16, 47:50] = (4.0, 20.0, 60.0)  # BGR: a warm lamp a little up, to the image's right
    assert cv2.imwrite(str(tmp_path / "studio.hdr"), radiance)
    return tmp_path


def lit_by(folder: Path, name: str) -> dict[str, object]:
    return tiny(factors={"lighting": {"environment": {"file": str(folder / name), "rotate": {"uniform": [0, 90]}}}})


def test_a_radiance_map_lights_from_where_it_is_bright(folder: Path) -> None:
    spec = load_spec(lit_by(folder, "studio.hdr"))
    sh = np.array(spec.factors.lighting.sh)  # type: ignore[union-attr]
    azimuth, elevation = dominant_direction(sh)
    assert azimuth == pytest.approx(93, abs=4)
    assert 5 < elevation < 20
    assert sh[0, 0] > sh[1, 0] > sh[2, 0]  # red, green, blue
    drawn = sample(plan_of(**lit_by(folder, "studio.hdr")), np.arange(8)).columns
    turned = drawn["light_azimuth_deg"] - azimuth
    np.testing.assert_allclose(turned % 360, drawn["environment_rotate_deg"], atol=1e-2)


def test_a_broken_map_is_named(folder: Path) -> None:
    (folder / "broken.hdr").write_bytes(b"#?RADIANCE\n nonsense")
    with pytest.raises(SpecError, match=r"broken.hdr.*isn't a high-dynamic-range picture"):
        load_spec(lit_by(folder, "broken.hdr"))
