"""A dataset's folder on this machine: atomic commits, and locks that die with their process."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from synthface.errors import DatasetError, OutputBusyError, OutputError
from synthface.storage.failures import explained

PRIVATE = ".synthface"


class LocalStore:
    """A folder."""

    def __init__(self, root: Path, *, create: bool) -> None:
        self.root = root
        self._staging = root / PRIVATE / "staging"
        self._has_cleared = False
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

    def location(self, name: str) -> str:
        """A file's path."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> IO[bytes]:
        """A file for reading."""
        try:
            return (self.root / name).open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DatasetError(f"{self.root / name}: can't be read ({error.strerror or error})") from error

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
        return sorted(p.as_posix() for p in found if p.parts[0] != PRIVATE and p.as_posix().startswith(prefix))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the same file system, so that committing is a rename.

        A locked file beside it says that its owner lives; the first time, what dead ones left is removed.
        """
        folder = self._staging / uuid.uuid4().hex
        with explained(self.url):
            self._staging.mkdir(parents=True, exist_ok=True)
            if not self._has_cleared:
                self.clear_staging()
                self._has_cleared = True
            owner = _own(folder.with_suffix(".lock"))
        try:
            with explained(self.url):
                folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _let_go(owner, folder.with_suffix(".lock"))

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
        with self.staging() as folder, explained(str(self.root / name), lambda: f"{len(content)} bytes are needed"):
            staged = folder / "file"
            staged.write_bytes(content)
            self.commit(staged, name)

    def remove(self, name: str) -> None:
        """Delete a file, and its folder when that is then empty."""
        with explained(str(self.root / name)):
            (self.root / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.root / name).parent.rmdir()

    @contextlib.contextmanager
    def lock(self, name: str, *, patience_s: float = 15.0) -> Iterator[None]:
        """An advisory lock of the operating system: it goes when its process dies, however it dies."""
        path = self.root / PRIVATE / "locks" / name.replace("/", "_")
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
            with explained(str(path)):
                file.seek(0)
                file.truncate()
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            yield

    def clear_staging(self) -> None:
        """Remove the staging folders whose owner is dead."""
        if not self._staging.is_dir():
            return
        for folder in [path for path in self._staging.iterdir() if path.suffix != ".lock"]:
            if not folder.with_suffix(".lock").exists():
                shutil.rmtree(folder, ignore_errors=True)
        for path in self._staging.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError), path.open("a+") as file:
                if _try_lock(file):
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                    with contextlib.suppress(OSError):
                        path.unlink()


def _own(path: Path) -> IO[str]:
    """A new file, locked; again, where another's cleaning took it between making and locking."""
    while True:
        file = path.open("a+")
        if _try_lock(file) and path.exists():
            return file
        file.close()


def _let_go(file: IO[str], path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):  # the disk may be full; nothing was to be kept
        file.close()


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
    except OSError as error:
        raise OutputError(
            f"{file.name}: its file system has no locks ({error.strerror}); render to another folder and copy, or mount it "
            "with locks"
        ) from error
    return True
