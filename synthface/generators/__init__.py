"""What turns factors into pictures, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from synthface.errors import GeneratorError
from synthface.generators.base import Generator


def _morphable(device: str) -> Generator:
    from synthface.generators.morphable import MorphableGenerator

    return MorphableGenerator(device=device)


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
    folder = Path(name)
    if (folder / "model.safetensors").is_file():
        from synthface.generators.morphable import MorphableGenerator
        from synthface.morphable.basis import MorphableBasis

        return MorphableGenerator(MorphableBasis.load(folder), device=device)
    close = difflib.get_close_matches(name, ["default", *GENERATORS], n=1)
    raise GeneratorError(
        f"no generator {name!r}: " + (f"did you mean {close[0]!r}? " if close else "")
        + f"Allowed: default, {', '.join(GENERATORS)}, or the folder of a morphable model (model.safetensors, config.json)"
    )
