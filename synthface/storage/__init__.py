"""Where output goes: a local folder or any fsspec URL, with commits that are there whole or not at all.

A file is finished in a local staging folder first. Locally it is then flushed to disk and renamed into place; on an
object store, which lacks renaming, it is uploaded in one piece. Readers never see half a file.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import IO, Any, Protocol

from synthface.errors import CorruptDatasetError
from synthface.storage.failures import explained
from synthface.storage.local import LocalStore
from synthface.storage.remote import RemoteStore

__all__ = ["LOCK_PATIENCE_S", "LocalStore", "RemoteStore", "Store", "explained", "open_store", "read_json"]

#: How long to wait for a lock: a killed run's workers notice within a second or two.
LOCK_PATIENCE_S = 15.0


class Store(Protocol):
    """A flat namespace of files below one root; names use `/`."""

    @property
    def url(self) -> str:
        """The root, as the user wrote it."""

    def location(self, name: str) -> str:
        """A file's full path or URL, as fsspec opens it."""

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError, or DatasetError where it can't be reached."""

    def open(self, name: str) -> IO[bytes]:
        """A file for reading, from anywhere in it. Raises as `read` does."""

    def size(self, name: str) -> int | None:
        """A file's size in bytes, or None where there is none."""

    def names(self, prefix: str = "") -> list[str]:
        """All files whose names start with `prefix`, sorted; private ones left out."""

    def staging(self) -> contextlib.AbstractContextManager[Path]:
        """A local folder to finish files in; it is emptied afterwards."""

    def commit(self, staged: Path, name: str) -> None:
        """Put a finished local file in place under `name`, replacing what was there; whole or not at all."""

    def write(self, name: str, content: bytes) -> None:
        """`commit` of a small file."""

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""

    def lock(self, name: str, *, patience_s: float = LOCK_PATIENCE_S) -> contextlib.AbstractContextManager[None]:
        """Keep other writers out of `name` meanwhile. Raises OutputBusyError when one is there all the time."""

    def clear_staging(self) -> None:
        """Remove what killed runs left behind; what living ones are staging stays."""


def open_store(target: str | Path, *, create: bool = False) -> Store:
    """The store at a folder or fsspec URL.

    Args:
        target: a path, or a URL such as `s3://bucket/name` or `memory://name`.
        create: make a local folder that isn't there.

    Raises:
        OutputError: the folder can't be made or isn't a folder (with `create`).
        DatasetError: there is nothing there (without).
        MissingExtraError: the URL's protocol needs a package that isn't installed.
    """
    text = str(target)
    if "://" not in text or text.startswith("file://"):
        return LocalStore(Path(text.removeprefix("file://")), create=create)
    return RemoteStore(text)


def read_json(store: Store, name: str) -> dict[str, Any]:
    """A JSON object of a dataset.

    Raises:
        FileNotFoundError: there is none.
        CorruptDatasetError: it isn't a JSON object.
    """
    try:
        content = json.loads(store.read(name))
    except ValueError as error:
        raise CorruptDatasetError(f"{store.url}/{name}: not JSON ({error}); delete it and run render again") from error
    if not isinstance(content, dict):
        raise CorruptDatasetError(
            f"{store.url}/{name}: holds a {type(content).__name__}, should be a JSON object; delete it and run render again"
        )
    return content
