"""Where output goes: a local folder or any fsspec URL, with commits that are there whole or not at all.

A file is finished in a local staging folder first. Locally it is then flushed to disk and renamed into place; on an
object store, which lacks renaming, it is uploaded in one piece. Readers never see half a file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from synthface.errors import (
    CorruptDatasetError,
    DatasetError,
    MissingExtraError,
    OutputBusyError,
    OutputError,
    OutputSpaceError,
)

_PRIVATE = ".synthface"
#: How long to wait for a lock: a killed run's workers notice within a second or two.
LOCK_PATIENCE_S = 15.0
#: A lock object on an object store that is older than this was left by a dead writer.
_STALE_S = 900.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store(Protocol):
    """A flat namespace of files below one root; names use `/`."""

    @property
    def url(self) -> str:
        """The root, as the user wrote it."""

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""

    def open(self, name: str) -> IO[bytes]:
        """A file for reading from front to back. Raises FileNotFoundError."""

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

    def lock(self, name: str, *, patience_s: float = LOCK_PATIENCE_S) -> contextlib.AbstractContextManager[None]:
        """Keep other writers out of `name` meanwhile. Raises OutputBusyError when one is there all the time."""

    def clear_staging(self) -> None:
        """Remove what killed runs left behind."""


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


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the operating system's errors while writing `what` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputSpaceError(
                f"{what}: no space left ({error.strerror}); nothing committed so far is lost: free some space, or give "
                "another --out, and run the same command again"
            ) from error
        if isinstance(error, (FileNotFoundError, OutputError)):
            raise
        raise OutputError(
            f"{what}: can't be written ({error.strerror or error}); check that the folder exists, is yours and isn't read-only"
        ) from error


class LocalStore:
    """A folder."""

    def __init__(self, root: Path, *, create: bool) -> None:
        self.root = root
        if create:
            with explained(str(root)):
                root.mkdir(parents=True, exist_ok=True)
        elif not root.is_dir():
            kind = "isn't a folder" if root.exists() else "isn't there"
            raise DatasetError(f"{root}: {kind}; name the folder that `synthface render --out` wrote")

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.root)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        """A file for reading."""
        return (self.root / name).open("rb")

    def size(self, name: str) -> int | None:
        """A file's size, or None."""
        try:
            return (self.root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, prefix: str = "") -> list[str]:
        """All files whose names start with `prefix`."""
        folder = self.root / prefix.rpartition("/")[0]
        found = (path.relative_to(self.root) for path in folder.rglob("*") if path.is_file())
        return sorted(p.as_posix() for p in found if p.parts[0] != _PRIVATE and p.as_posix().startswith(prefix))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the same file system, so that committing is a rename."""
        with explained(self.url):
            parent = self.root / _PRIVATE / "staging"
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staged: Path, name: str) -> None:
        """Flush, rename, flush the folder."""
        final = self.root / name
        with explained(str(final)):
            final.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(staged, final)
            _flush_folder(final.parent)

    def write(self, name: str, content: bytes) -> None:
        """`commit` of a small file."""
        with self.staging() as folder, explained(str(self.root / name)):
            staged = folder / "file"
            staged.write_bytes(content)
            self.commit(staged, name)

    @contextlib.contextmanager
    def lock(self, name: str, *, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
        """An advisory lock of the operating system: it goes when its process dies, however it dies."""
        path = self.root / _PRIVATE / "locks" / name.replace("/", "_")
        with explained(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        with file:
            deadline = time.monotonic() + patience_s
            while not _try_lock(file):
                if time.monotonic() > deadline:
                    file.seek(0)
                    owner = file.read().strip() or "unknown"
                    raise OutputBusyError(
                        f"{self.root}: another process ({owner}) is writing {name}; wait for it, stop it, or give "
                        "each its own part with --shards i/n"
                    )
                time.sleep(0.1)
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

    def clear_staging(self) -> None:
        """Remove what killed runs left behind; nobody may be writing."""
        shutil.rmtree(self.root / _PRIVATE / "staging", ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _try_lock(file: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class RemoteStore:
    """Anything fsspec knows. Locks are best effort: object stores have none, so give each writer its own shards."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            protocol = url.partition("://")[0]
            if isinstance(error, ImportError):
                raise MissingExtraError(protocol + "fs", "s3" if protocol == "s3" else protocol, f"{url}") from error
            raise OutputError(f"{url}: {error}; allowed: a folder or a URL that fsspec knows") from error
        self._url = url

    @property
    def url(self) -> str:
        """The URL."""
        return self._url

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        self._fs.invalidate_cache()
        content: bytes = self._fs.cat_file(self._path(name))
        return content

    def open(self, name: str) -> IO[bytes]:
        """A file for reading."""
        file: IO[bytes] = self._fs.open(self._path(name), "rb")
        return file

    def size(self, name: str) -> int | None:
        """A file's size, or None."""
        self._fs.invalidate_cache()
        try:
            return int(self._fs.size(self._path(name)))
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> list[str]:
        """All files whose names start with `prefix`."""
        self._fs.invalidate_cache()
        root = self._root.strip("/")
        found = (path.strip("/").removeprefix(root).lstrip("/") for path in self._fs.find(self._root))
        return sorted(n for n in found if n.startswith(prefix) and not n.startswith(_PRIVATE))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A local temporary folder."""
        with explained("the temporary folder"), tempfile.TemporaryDirectory(prefix="synthface-") as folder:
            yield Path(folder)

    def commit(self, staged: Path, name: str) -> None:
        """One upload of the finished file."""
        with explained(f"{self._url}/{name}"):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(staged), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """One upload."""
        with explained(f"{self._url}/{name}"):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(self._path(name), content)

    @contextlib.contextmanager
    def lock(self, name: str, *, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
        """A lock object; one that is old is taken over."""
        path = f"{_PRIVATE}/locks/{name.replace('/', '_')}.json"
        mine = {"process": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        deadline = time.monotonic() + patience_s
        while (owner := self._lock_owner(path)) and time.time() - owner["time"] < _STALE_S and not _is_dead(owner):
            if time.monotonic() > deadline:
                raise OutputBusyError(
                    f"{self._url}: process {owner['process']} on {owner['host']} is writing {name}; wait for it, stop it "
                    f"and delete {path}, or give each its own part with --shards i/n"
                )
            time.sleep(0.5)
        self.write(path, json.dumps(mine).encode())
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._path(path))

    def _lock_owner(self, path: str) -> dict[str, Any] | None:
        try:
            owner: dict[str, Any] = json.loads(self.read(path))
            return owner
        except (FileNotFoundError, ValueError):
            return None

    def clear_staging(self) -> None:
        """Nothing is left behind on the store."""


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether a lock's process is known to be gone: only this host's processes can be looked up."""
    if owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(owner["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def read_json(store: Store, name: str) -> dict[str, Any]:
    """A JSON object of a dataset.

    Raises:
        FileNotFoundError: there is none.
        CorruptDatasetError: it isn't JSON.
    """
    try:
        content: dict[str, Any] = json.loads(store.read(name))
    except ValueError as error:
        raise CorruptDatasetError(f"{store.url}/{name}: not JSON ({error}); delete it and run render again") from error
    return content
