"""Whatever the file, a photo comes as upright 8-bit sRGB or with the reason why not; every photo has a safe key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from synthface.errors import PhotoError
from training.photos.load import UnreadablePhotoError, list_photos, load_photo, photo_keys

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


def _loaded(image: Image.Image, path: Path, **how: object) -> np.ndarray:
    image.save(path, **how)
    photo = load_photo(path)
    assert photo.mode == "RGB"
    return np.asarray(photo).astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp", "a.tif", "a.ppm"])
def test_colour_photos_keep_their_pixels(tmp_path: Path, name: str) -> None:
    how = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(_loaded(Image.fromarray(RGB), tmp_path / name, **how), RGB)


def test_grey_and_16_bit_grey_become_colour(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    for n, image in enumerate((Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257))):
        np.testing.assert_array_equal(_loaded(image, tmp_path / f"{n}.png"), np.repeat(grey[..., None], 3, axis=2))


def test_transparent_pixels_are_laid_on_grey(tmp_path: Path) -> None:
    clear = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    clear[:24, :, 3] = 255
    pixels = _loaded(Image.fromarray(clear), tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[:24], RGB[:24])
    assert (pixels[24:] == 128).all()


def test_palettes_cmyk_and_profiles_are_converted(tmp_path: Path) -> None:
    flat = Image.new("RGB", (32, 32), (200, 100, 50))
    for name, image in (("a.gif", flat.convert("P", palette=Image.Palette.ADAPTIVE)), ("a.jpg", flat.convert("CMYK"))):
        assert np.abs(_loaded(image, tmp_path / name) - [200, 100, 50]).max() <= 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(_loaded(flat, tmp_path / "b.png", icc_profile=profile) - [200, 100, 50]).max() <= 1
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # doesn't fit the picture
    assert np.abs(_loaded(flat, tmp_path / "c.png", icc_profile=lab) - [200, 100, 50]).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "back"),
    [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, 1)), (8, lambda a: np.rot90(a, -1)), (2, np.fliplr)],
)
def test_orientation_is_respected(tmp_path: Path, orientation: int, back) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(back(RGB))
    np.testing.assert_array_equal(_loaded(Image.fromarray(stored), tmp_path / "a.png", exif=exif.tobytes()), RGB)


def test_unreadable_photos_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(RGB).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(RGB).save(tmp_path / "large.png")
    reasons = {"text.jpg": "identify", "half.jpg": "truncated", "empty.png": "identify", "float.tif": "8 bits"}
    for name, reason in reasons.items():
        with pytest.raises(UnreadablePhotoError, match=reason) as caught:
            load_photo(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(UnreadablePhotoError, match="megapixels"):
        load_photo(tmp_path / "large.png", max_megapixels=0.001)


def test_photos_are_listed_sorted_with_subfolders_and_without_the_rest(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/x.png", "a/.hidden.jpg", ".cache/y.jpg", "notes.txt", "a/._x.png", "a-b.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = list_photos(tmp_path)
    assert listing.sources == ("a-b.webp", "a/x.png", "b.JPG")
    assert listing.ignored == ("notes.txt",)


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PhotoError, match="no photo among 1 files"):
        list_photos(tmp_path)
    with pytest.raises(PhotoError, match="not a folder"):
        list_photos(tmp_path / "notes.txt")


def test_names_that_collide_get_numbers() -> None:
    sources = ("a.jpg", "a.png", "a_2.jpg", "b/c.jpg", "b_c.jpg", "ärger.jpg", "照片.jpg")
    assert photo_keys(sources) == ("a", "a_2", "a_2_2", "b_c", "b_c_2", "arger", "photo")


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda t: "\0" not in t), max_size=12, unique=True))
def test_keys_are_safe_and_different(names: list[str]) -> None:
    keys = photo_keys([f"{name}.jpg" for name in names])
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", key) for key in keys)
