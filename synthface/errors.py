"""Everything synthface raises on purpose.

    SynthfaceError                    catch this one to catch them all
    ├── SpecError                     the spec is wrong; carries every problem found, each with its position
    ├── GeneratorError                a generator or bundle can't be found, loaded or trusted
    │   └── MorphableModelError       a morphable model's files are missing, damaged or of the wrong layout
    ├── IdentityError                 no identities are as the spec wants them: apart, balanced
    ├── OutputError                   the output can't be written, or isn't what it should be
    │   ├── OutputBusyError           another process is writing there
    │   ├── OutputMismatchError       the folder holds the dataset of another spec
    │   ├── OutputSpaceError          the disk or bucket is full
    │   └── CorruptDatasetError       bytes on disk differ from what the manifest says
    ├── DatasetError                  a dataset can't be read
    ├── PhotoError                    a photo or its landmarks can't be used
    └── MissingExtraError             an optional dependency isn't installed; names the extra

A message says where, what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class SynthfaceError(Exception):
    """The base of all errors that synthface raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, order=True)
class SpecProblem:
    """One thing wrong with a spec: where it stands and what to do about it.

    `line` and `column` count from 1; 0 means that the spec came from Python and has no position. `path` is the dotted
    place in the spec, `factors.pose.yaw` say.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{position}{self.path + ': ' if self.path else ''}{self.message}"


class SpecError(SynthfaceError):
    """The spec is wrong. `problems` holds every problem found, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[SpecProblem]) -> None:
        self.problems: tuple[SpecProblem, ...] = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class GeneratorError(SynthfaceError):
    """A generator or bundle can't be found, loaded or trusted."""


class MorphableModelError(GeneratorError):
    """A morphable model's files are missing, damaged or of the wrong layout."""


class IdentityError(SynthfaceError):
    """No identities are as the spec wants them, or too few for its splits."""


class OutputError(SynthfaceError):
    """The output can't be written, or isn't what it should be."""


class OutputBusyError(OutputError):
    """Another process is writing to the same output."""


class OutputMismatchError(OutputError):
    """The output folder holds the dataset of another spec."""


class OutputSpaceError(OutputError):
    """The disk or bucket is full."""


class CorruptDatasetError(OutputError):
    """Bytes on disk differ from what the manifest says."""


class DatasetError(SynthfaceError):
    """A dataset can't be read."""


class PhotoError(SynthfaceError):
    """A photo or its landmarks can't be used."""


class MissingExtraError(SynthfaceError, ImportError):
    """An optional dependency isn't installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'synthface[{extra}]'")
