"""A dataset behind a URL: anything fsspec knows. Every file is one upload; locks are best effort."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from synthface.errors import DatasetError, MissingExtraError, OutputBusyError, OutputError
from synthface.storage.failures import explained, remote_reading, remote_writing
from synthface.storage.local import PRIVATE

#: A lock object is renewed this often while its owner lives …
_HEARTBEAT_S = 60.0
#: … and one that hasn't been for this long was left by a dead one.
_STALE_S = 300.0
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3")}
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp", "https": "aiohttp"}


class RemoteStore:
    """A URL.

    What is promised: a file is there whole or not at all, as stores publish an upload when it is complete; and the marker of a
    shard comes after its files. Locks keep a second writer out in practice (a conditional upload, renewed while the owner
    lives, taken over when it is stale), but no object store promises it: two writers that do meet upload the same bytes,
    which wastes work and harms nothing.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        protocol = url.partition("://")[0]
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise _missing(protocol, url) from error
        except ValueError as error:
            raise OutputError(f"{url}: {error}; allowed: a folder or a URL that fsspec knows") from error
        self._url = url.rstrip("/")

    @property
    def url(self) -> str:
        """The URL."""
        return self._url

    def location(self, name: str) -> str:
        """A file's URL."""
        return f"{self._url}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        self._fs.invalidate_cache()
        with remote_reading(self.location(name)):
            content: bytes = self._fs.cat_file(self._path(name))
        return content

    def open(self, name: str) -> IO[bytes]:
        """A file for reading; in memory, where the server only gives whole files."""
        with remote_reading(self.location(name)):
            if not self._reads_ranges(name):
                return io.BytesIO(self._fs.cat_file(self._path(name)))
            file: IO[bytes] = self._fs.open(self._path(name), "rb")
        return file

    def _reads_ranges(self, name: str) -> bool:
        """Whether parts of a file can be had: not every web server gives them."""
        if not self._url.startswith("http"):
            return True
        return bool(self._fs.info(self._path(name)).get("partial", False))

    def size(self, name: str) -> int | None:
        """A file's size, or None."""
        self._fs.invalidate_cache()
        try:
            with remote_reading(self.location(name)):
                return int(self._fs.size(self._path(name)))
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> list[str]:
        """All files whose names start with `prefix`; none where the server has no listings."""
        self._fs.invalidate_cache()
        root = self._root.strip("/")
        try:
            with remote_reading(self._url):
                paths = self._fs.find(self._root)
        except (FileNotFoundError, DatasetError):
            return []
        found = (path.strip("/").removeprefix(root).lstrip("/") for path in paths)
        return sorted(n for n in found if n.startswith(prefix) and not n.startswith(PRIVATE))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A local temporary folder."""
        with explained("the temporary folder"), tempfile.TemporaryDirectory(prefix="synthface-") as folder:
            yield Path(folder)

    def commit(self, staged: Path, name: str) -> None:
        """One upload of the finished file."""
        with remote_writing(self.location(name)):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(staged), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """One upload."""
        with remote_writing(self.location(name)):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._remove(name)

    @contextlib.contextmanager
    def lock(self, name: str, *, patience_s: float = 15.0) -> Iterator[None]:
        """A lock object, renewed meanwhile; a stale one is taken over."""
        path = f"{PRIVATE}/locks/{name.replace('/', '_')}.json"
        mine = {"id": uuid.uuid4().hex, "process": os.getpid(), "host": socket.gethostname()}
        deadline = time.monotonic() + patience_s
        while not self._try_lock(path, mine):
            owner = self._lock_owner(path)
            if owner is not None and _is_abandoned(owner):
                self._remove(path)
            elif owner is not None and time.monotonic() > deadline:
                raise OutputBusyError(
                    f"{self._url}: process {owner['process']} on {owner['host']} is writing {name}; wait for it, stop it "
                    f"and delete {path}, or give each its own part with --shards i/n"
                )
            else:
                time.sleep(0.2)
        ended = threading.Event()
        heart = threading.Thread(target=self._beat, args=(path, mine, ended), daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            if (self._lock_owner(path) or {}).get("id") == mine["id"]:
                self._remove(path)

    def _try_lock(self, path: str, mine: dict[str, Any]) -> bool:
        """Make the lock object if there is none: one step where the store can do that."""
        content = json.dumps(mine | {"time": time.time()}).encode()
        with remote_writing(self.location(path)):
            self._fs.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)
            try:
                self._fs.pipe_file(self._path(path), content, mode="create")
            except FileExistsError:
                return False
            except (TypeError, ValueError, NotImplementedError):  # a store that can't
                if self._lock_owner(path) is not None:
                    return False
                self._fs.pipe_file(self._path(path), content)
        return True

    def _beat(self, path: str, mine: dict[str, Any], ended: threading.Event) -> None:
        """Say now and then that the owner lives; a beat that fails is made up for by the next."""
        while not ended.wait(_HEARTBEAT_S):
            with contextlib.suppress(OutputError):
                self.write(path, json.dumps(mine | {"time": time.time()}).encode())

    def _lock_owner(self, path: str) -> dict[str, Any] | None:
        try:
            owner: dict[str, Any] = json.loads(self.read(path))
            return owner
        except (FileNotFoundError, ValueError):
            return None

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError), remote_writing(self.location(path)):
            self._fs.rm_file(self._path(path))

    def clear_staging(self) -> None:
        """Nothing is left behind on the store."""


def _is_abandoned(owner: dict[str, Any]) -> bool:
    """Whether a lock's process is known to be gone, or hasn't said for long that it lives."""
    if time.time() - owner["time"] > _STALE_S:
        return True
    if owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(owner["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _missing(protocol: str, url: str) -> MissingExtraError | OutputError:
    if protocol in _EXTRAS:
        return MissingExtraError(*_EXTRAS[protocol], url)
    package = _PACKAGES.get(protocol, f"fsspec's package for {protocol}://")
    return OutputError(f"{url}: needs the package {package}, which isn't installed: pip install {package}")
