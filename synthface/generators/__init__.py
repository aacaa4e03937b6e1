"""What turns factors into pictures, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from synthface.errors import GeneratorError
from synthface.factors.types import FactorLayout
from synthface.generators.base import Generator
from synthface.spec.model import Truncation


def _morphable(device: str) -> Generator:
    from synthface.generators.morphable import MorphableGenerator

    return MorphableGenerator(device=device)


def _bundle(folder: Path, device: str, truncation: Truncation | None) -> Generator:
    from synthface.generators.gan import GanGenerator
    from synthface.networks import truncation as styles
    from synthface.networks.bundle import load_bundle

    asked = None if truncation is None else styles.Truncation(truncation.psi, truncation.kind)
    return GanGenerator(load_bundle(folder, device=device), truncation=asked, device=device)


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
    trained = bundle_folder(resolved)
    if trained is not None:
        from synthface.networks.bundle import priors_of, read_config

        config, basis = read_config(trained), MorphableBasis.load()
        layout = config.layout(basis, priors_of(trained, config))
        return GeneratorInfo(resolved, layout, config.tile_size, basis.part_names, len(basis.landmarks_dense))
    folder = _folder_of(resolved)
    basis = MorphableBasis.load(folder)
    layout = basis.layout() if folder else bundled_layout()
    return GeneratorInfo(resolved, layout, MORPHABLE_TILE, basis.part_names, len(basis.landmarks_dense))


def bundled_layout() -> FactorLayout:
    """The bundled morphable model's λ and ε, with the priors that ship with it."""
    from synthface.factors.priors import bundled_priors
    from synthface.morphable.basis import MorphableBasis

    return replace(MorphableBasis.load().layout(), priors=bundled_priors())


def is_bundle(name: str) -> bool:
    """Whether the name is that of a bundle that ships, or the folder of one."""
    return bundle_folder(name) is not None


def bundle_folder(name: str) -> Path | None:
    """Where a bundle's files are: one that ships, or a folder; None where the name is neither."""
    for folder in (shipped_bundles().get(name), Path(name)):
        if folder is not None and (folder / "generator-00.safetensors").is_file():
            return folder
    return None


def shipped_bundles() -> Mapping[str, Path]:
    """The trained bundles that come with synthface, by name."""
    home = Path(__file__).parents[1] / "assets" / "generators"
    return {folder.name: folder for folder in sorted(home.iterdir()) if folder.is_dir()} if home.is_dir() else {}


def _folder_of(name: str) -> Path | None:
    """The morphable model's folder; None for the bundled one."""
    if name in GENERATORS:
        return None
    if (Path(name) / "model.safetensors").is_file():
        return Path(name)
    known = [*GENERATORS, *shipped_bundles()]
    close = difflib.get_close_matches(name, ["default", *known], n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    raise GeneratorError(
        f"no generator {name!r}: {guess}Allowed: default, {', '.join(known)}, or the folder of a bundle "
        "(generator-00.safetensors and config.json) or of a morphable model (model.safetensors and config.json)"
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


def load_generator(name: str = "default", *, device: str = "cpu", truncation: Truncation | None = None) -> Generator:
    """The generator a spec names: `default`, a name in `GENERATORS`, the folder of a bundle or of a morphable model.

    `truncation` is the spec's; generators without style codes have nothing to truncate.

    Raises:
        GeneratorError: there is no such generator, or its files are damaged.
    """
    name = resolve_name(name)
    if name in GENERATORS:
        return GENERATORS[name](device)
    trained = bundle_folder(name)
    if trained is not None:
        return _bundle(trained, device, truncation)
    from synthface.generators.morphable import MorphableGenerator
    from synthface.morphable.basis import MorphableBasis

    return MorphableGenerator(MorphableBasis.load(_folder_of(name)), device=device)
