"""What turns factors into pictures, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from synthface.errors import GeneratorError
from synthface.factors.types import FactorLayout
from synthface.generators.base import Generator


def _morphable(device: str) -> Generator:
    from synthface.generators.morphable import MorphableGenerator

    return MorphableGenerator(device=device)


@dataclass(frozen=True)
class GeneratorInfo:
    """What planning needs to know of a generator; to be had without torch.

    Args:
        name: resolved.
        layout: the sizes and names of λ and ε.
        tile_size: K.
        part_names: what the numbers of the part segmentation mean.
        num_dense: number of dense landmarks.
    """

    name: str
    layout: FactorLayout
    tile_size: int
    part_names: tuple[str, ...]
    num_dense: int


def generator_info(name: str = "default") -> GeneratorInfo:
    """What a generator is, without loading it.

    Raises:
        GeneratorError: there is no such generator, or its files are damaged.
    """
    from synthface.morphable.basis import MorphableBasis

    resolved = resolve_name(name)
    folder = _folder_of(resolved)
    basis = MorphableBasis.load(folder)
    return GeneratorInfo(resolved, basis.layout(), MORPHABLE_TILE, basis.part_names, len(basis.landmarks_dense))


def _folder_of(name: str) -> Path | None:
    """The morphable model's folder; None for the bundled one."""
    if name in GENERATORS:
        return None
    if (Path(name) / "model.safetensors").is_file():
        return Path(name)
    close = difflib.get_close_matches(name, ["default", *GENERATORS], n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    raise GeneratorError(
        f"no generator {name!r}: {guess}Allowed: default, {', '.join(GENERATORS)}, or the folder of a morphable model "
        "(model.safetensors and config.json)"
    )


#: K of the analytic renderer.
MORPHABLE_TILE = 8

#: Name in a spec to what makes the generator on a device. `default` is the one a spec gets that names none.
GENERATORS: Mapping[str, Callable[[str], Generator]] = {
    "3dmm": _morphable,
}
DEFAULT = "3dmm"


def resolve_name(name: str) -> str:
    """`default` → the generator that is the default in this version; other names as they are."""
    return DEFAULT if name == "default" else name


def load_generator(name: str = "default", *, device: str = "cpu") -> Generator:
    """The generator a spec names: `default`, a name in `GENERATORS`, or the folder of a morphable model.

    Raises:
        GeneratorError: there is no such generator, or its files are damaged.
    """
    name = resolve_name(name)
    if name in GENERATORS:
        return GENERATORS[name](device)
    from synthface.generators.morphable import MorphableGenerator
    from synthface.morphable.basis import MorphableBasis

    return MorphableGenerator(MorphableBasis.load(_folder_of(name)), device=device)
