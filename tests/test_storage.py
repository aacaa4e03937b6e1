"""Commits that are whole or not there, locks that die with their owner, errors that say what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from synthface.errors import DatasetError, OutputBusyError, OutputError, OutputSpaceError
from synthface.storage import Store, explained, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path / "out" if request.param == "local" else f"memory://{uuid.uuid4()}", create=True)


def test_what_is_committed_can_be_read_listed_and_sized(store: Store) -> None:
    store.write("a/b.json", b"{}")
    with store.staging() as folder:
        staged = folder / "x"
        staged.write_bytes(b"12345")
        store.commit(staged, "data/x.tar")
    assert store.read("a/b.json") == b"{}"
    assert store.size("data/x.tar") == 5
    assert store.size("none") is None
    assert store.names() == ["a/b.json", "data/x.tar"]
    assert store.names("data/") == ["data/x.tar"]
    with store.open("data/x.tar") as file:
        assert file.read() == b"12345"
    with pytest.raises(FileNotFoundError):
        store.read("none")


def test_a_failure_before_the_commit_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.staging() as folder:
        (folder / "half").write_bytes(b"half")
        raise RuntimeError
    assert store.names() == []


def test_a_second_writer_is_told_who_is_there(store: Store) -> None:
    with (
        store.lock("shard-x"),
        pytest.raises(OutputBusyError, match=f"{os.getpid()}.*--shards"),
        store.lock("shard-x", patience_s=0.2),
    ):
        pass
    with store.lock("shard-x", patience_s=0.2):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from synthface.storage import open_store\n"
        "with open_store(sys.argv[1], create=True).lock('s'): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with pytest.raises(OutputBusyError), open_store(tmp_path).lock("s", patience_s=0.2):
            pass
        process.kill()
    with open_store(tmp_path).lock("s", patience_s=2):
        pass


def test_a_full_disk_is_called_a_full_disk() -> None:
    with pytest.raises(OutputSpaceError, match="no space left.*run the same command again"), explained("out"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        open_store(tmp_path / "file" / "out", create=True)
    with pytest.raises(DatasetError, match="isn't a folder"):
        open_store(tmp_path / "file")
    with pytest.raises(DatasetError, match="isn't there"):
        open_store(tmp_path / "nothing")


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(OutputError, match="nonsense"):
        open_store("nonsense://x", create=True)
