"""What the system says when it can't read or write, in words that say what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

from synthface.errors import DatasetError, OutputError, OutputSpaceError, SynthfaceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def explained(what: str, needs: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn the operating system's errors while writing `what` into ours.

    Args:
        what: path or URL.
        needs: asked on a full disk: how much space there would have to be, as a clause.
    """
    try:
        yield
    except OSError as error:
        raise output_error(what, error, needs()) from error


def output_error(what: str, error: BaseException, needs: str = "") -> OutputError:
    """The error to raise when `what` can't be written because of `error`."""
    reason = _reason(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return OutputSpaceError(
            f"{what}: no space left ({reason}){'; ' + needs if needs else ''}; nothing committed so far is lost: free some "
            "space, or give another --out, and run the same command again"
        )
    return OutputError(
        f"{what}: can't be written ({reason}); check that the folder exists, is yours and isn't read-only"
    )


@contextlib.contextmanager
def remote_reading(what: str) -> Iterator[None]:
    """Turn whatever a remote file system raises while reading into a DatasetError; a missing file stays one."""
    try:
        yield
    except (FileNotFoundError, SynthfaceError):
        raise
    except Exception as error:
        raise DatasetError(
            f"{what}: can't be read ({_reason(error)}); check the URL, the connection and your credentials"
        ) from error


@contextlib.contextmanager
def remote_writing(what: str) -> Iterator[None]:
    """Turn whatever a remote file system raises while writing into an OutputError; an existing file stays one."""
    try:
        yield
    except (FileExistsError, SynthfaceError):
        raise
    except OSError as error:
        raise output_error(what, error) from error
    except NotImplementedError as error:
        raise OutputError(
            f"{what}: this protocol can only be read; render to a folder or an object store (s3://…)"
        ) from error
    except Exception as error:
        raise OutputError(
            f"{what}: can't be written ({_reason(error)}); check the URL, the connection and your credentials; "
            "what is committed stays: run the same command again"
        ) from error


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
