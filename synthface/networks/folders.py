"""Networks that ship and networks of one's own: folders with `config.json` (what it is, and a hash) and `model.safetensors`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor

from synthface.errors import GeneratorError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class NetworkKind:
    """A kind of network.

    Args:
        name: what it is called, and the folder of `assets` with those that ship.
        format: what its config says under `format`.
        made_by: the command that writes such a folder.
    """

    name: str
    format: str
    made_by: str

    def shipped(self) -> tuple[str, ...]:
        """The names of those that ship, sorted."""
        folder = resources.files("synthface") / "assets" / self.name
        return tuple(sorted(e.name for e in folder.iterdir() if e.is_dir())) if folder.is_dir() else ()

    @contextmanager
    def folder(self, source: str | Path) -> Iterator[Path]:
        """The folder of a network that ships, by name, or the folder that `source` is."""
        if isinstance(source, str) and source in self.shipped():
            with resources.as_file(resources.files("synthface") / "assets" / self.name / source) as folder:
                yield folder
        else:
            yield Path(source)

    def write(self, folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the weights, and the config with their hash."""
        from safetensors.torch import save

        folder.mkdir(parents=True, exist_ok=True)
        weights = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        (folder / WEIGHTS).write_bytes(weights)
        content = {"format": self.format, "sha256": hashlib.sha256(weights).hexdigest(), **config}
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    def read_config(self, folder: Path, architectures: Collection[str]) -> tuple[dict[str, Any], str]:
        """What the config says, less format and hash; and the hash.

        Raises:
            GeneratorError: it isn't there, or is of another format or architecture.
        """
        path = folder / CONFIG
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GeneratorError(
                f"{folder}: no {self.name} network there ({CONFIG}: {error.strerror}); allowed: "
                f"{', '.join((*self.shipped(), 'or a folder'))} that `{self.made_by}` wrote"
            ) from error
        except ValueError as error:
            raise GeneratorError(f"{path}: not JSON ({error}); copy the network anew") from error
        found = data.pop("format", None) if isinstance(data, dict) else None
        if found != self.format:
            raise GeneratorError(
                f"{path}: format is {found!r}, this version reads {self.format!r}; make it again with `{self.made_by}`"
            )
        if data.get("architecture") not in architectures:
            known = ", ".join(sorted(architectures))
            raise GeneratorError(f"{path}: architecture is {data.get('architecture')!r}, allowed: {known}")
        try:
            return data, str(data.pop("sha256"))
        except KeyError as error:
            raise self.outdated(folder, error) from error

    def read_weights(self, folder: Path, sha256: str) -> dict[str, Tensor]:
        """The tensors.

        Raises:
            GeneratorError: they can't be read, or differ from the hash.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = folder / WEIGHTS
        try:
            data = path.read_bytes()
        except OSError as error:
            raise GeneratorError(f"{path}: can't be read ({error.strerror}); copy the network anew") from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise GeneratorError(
                f"{path}: its SHA-256 is {found[:12]}…, {CONFIG} says {sha256[:12]}…; "
                "the file is damaged or of another version: copy the network anew"
            )
        try:
            return load(data)
        except SafetensorError as error:
            raise GeneratorError(f"{path}: {error}; copy the network anew") from error

    def outdated(self, folder: Path, error: Exception) -> GeneratorError:
        """The error for a config that lacks something or has something else."""
        return GeneratorError(
            f"{folder / CONFIG}: {error}; it is of another version: make it again with `{self.made_by}`"
        )

    def unfit(self, folder: Path, error: Exception) -> GeneratorError:
        """The error for weights that aren't those of the config's architecture."""
        return GeneratorError(f"{folder}: {WEIGHTS} doesn't fit {CONFIG} ({error}); copy the network anew")
