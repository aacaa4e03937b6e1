"""Pseudo-labels of a photo: a person matte and the face's outlines say what they can, a colour model says what is hair.

Seeds: skin is the middle of the face; hair is what lies above the forehead and doesn't look like skin; neck and clothes are
what lies straight below the chin. Nothing below the chin seeds hair. Each photo's colours are then learned from its seeds.
What stays doubtful is `UNSURE` and teaches nothing: the edge of the person, colours that hair and clothes share, earrings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.parser.colour import Mixture, features, guided_filter
from training.parser.geometry import BACKGROUND, BODY, BROW, HAIR, SKIN, FaceMap

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

UNSURE = 255
#: Log density of a colour that none of a photo's models knows.
_STRANGE = -16.0
#: A model isn't learned from fewer pixels.
_MIN_SEEDS = 60
#: From this height on, above the forehead, and this far to both sides, there is hair if there is any.
_CROWN, _CROWN_SIDE = 1.08, 0.75
#: Half the width of the column below the chin that is neck and collar.
_COLUMN = 0.18
#: Heights between which the jaw ends, beside the face: above it what isn't hair is ear or temple, below it neck.
_JAW = (0.2, 0.3)


@dataclass(frozen=True)
class PseudoRecipe:
    """When a pixel counts as known.

    Args:
        sure_person, sure_background: the matte's value from which, and up to which, it is believed.
        sure_hair: the smoothed probability of hair from which a pixel is hair; below 1 − this it isn't.
        below_chin: log odds against hair below the chin, where clothes may have its colour.
    """

    sure_person: float = 0.8
    sure_background: float = 0.15
    sure_hair: float = 0.62
    below_chin: float = 1.5


def pseudo_labels(photo: U8, matte: F64, face: FaceMap, recipe: PseudoRecipe) -> U8:
    """Classes (S, S), `UNSURE` where it isn't clear.

    Args:
        photo: (S, S, 3).
        matte: (S, S) probability of a person.
        face: where the face is.
    """
    person = matte >= recipe.sure_person
    probability = guided_filter(_hair(photo, person, face, recipe), photo)
    is_hair = person & (probability >= recipe.sure_hair)
    is_other = person & (probability <= 1 - recipe.sure_hair)
    beside = np.select([face.height > _JAW[1], face.height < _JAW[0]], [SKIN, BODY], UNSURE)
    labels = np.full(matte.shape, UNSURE, np.uint8)
    labels[is_other] = np.where(face.parts != BACKGROUND, face.parts, beside)[is_other]
    labels[_hanging_together(is_hair, face)] = HAIR
    inner = person & (face.parts > SKIN)
    labels[inner] = face.parts[inner]
    # Where hair falls over a brow, the landmarks know nothing of it.
    labels[(labels == BROW) & ndimage.binary_dilation(labels == HAIR, iterations=2)] = UNSURE
    labels[matte <= recipe.sure_background] = BACKGROUND
    return labels


def _hair(photo: U8, person: Mask, face: FaceMap, recipe: PseudoRecipe) -> F64:
    """Probability of hair (S, S) by colour and place, 0 off the person."""
    on_face = face.parts != BACKGROUND
    depth = ndimage.distance_transform_edt(on_face)
    colours = features(photo)
    low = (face.height > 0.15) & (face.height < 0.8)
    seeds = person & low & ndimage.binary_erosion(face.parts == SKIN, iterations=2)
    if seeds.sum() < _MIN_SEEDS:
        return np.full(person.shape, 0.5)
    pixels = colours[person]
    skin = Mixture(colours[seeds])
    by_skin = np.full(person.shape, -np.inf)
    by_skin[person] = skin.log_density(pixels)
    crown = person & (face.height > _CROWN) & (np.abs(face.side) < _CROWN_SIDE)
    crown &= ~ndimage.binary_dilation(on_face, iterations=3)
    hair_seeds = crown & (by_skin < np.percentile(by_skin[seeds], 3))
    result = np.zeros(person.shape)
    if hair_seeds.sum() < _MIN_SEEDS:
        return result  # bald, or shorn so that it looks like skin
    other = by_skin[person]
    column = person & (face.height < -0.07) & (np.abs(face.side) < _COLUMN)
    if column.sum() >= _MIN_SEEDS:
        other = np.logaddexp(other, Mixture(colours[column]).log_density(pixels))
    is_below = (face.height < 0.05)[person]
    prior = np.where(is_below, -recipe.below_chin, 1.0)
    prior = np.where(on_face[person], -1.0 - 0.5 * np.minimum(depth[person], 8), prior)
    for _ in range(2):  # once more with the hair at the sides, which may be lit otherwise than the crown
        by_hair = Mixture(colours[hair_seeds]).log_density(pixels)
        odds = np.clip(by_hair - np.logaddexp(other, _STRANGE), -12, 12) + prior
        # A strange colour above the chin may be anything: a band, an earring, a light in the hair.
        odds[~is_below & (np.maximum(by_hair, other) < _STRANGE - 4)] = 0.0
        result[person] = 1 / (1 + np.exp(-0.6 * odds))
        hair_seeds = hair_seeds | (person & (result > 0.9) & (face.height > 0.1) & ~on_face)
    # The middle of the face and the throat aren't hair; a beard counts as skin.
    result[on_face & (face.height < 0.62) & (depth > 4)] = 0.0
    result[(face.height < 0) & (np.abs(face.side) < 0.9 * _COLUMN)] = 0.0
    return result


def _hanging_together(hair: Mask, face: FaceMap) -> Mask:
    """Hair without crumbs and without pieces that lie wholly below the face: those are clothes."""
    pieces, num = ndimage.label(hair)
    sizes = np.bincount(pieces.ravel(), minlength=num + 1)
    reaches = np.zeros(num + 1, bool)
    reaches[np.unique(pieces[hair & (face.height > _JAW[1])])] = True
    kept = reaches & (sizes > 40)
    kept[0] = False
    return kept[pieces]
