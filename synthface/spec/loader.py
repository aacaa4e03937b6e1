"""YAML, files or plain data to a Spec; every problem is found before the first is reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthface.errors import SpecError, SpecProblem
from synthface.spec.build import build_spec
from synthface.spec.checks import value_findings
from synthface.spec.files import SpecFiles
from synthface.spec.model import Source, Spec
from synthface.spec.names import nearest
from synthface.spec.plain import plain_data
from synthface.spec.reader import MAX_BYTES, Document, Finding, Place, Position, read_bytes, read_text
from synthface.spec.relations import relation_findings
from synthface.spec.schema import schema_findings, sound_part


def load_spec(source: str | Path | Mapping[str, Any] | Spec) -> Spec:
    """A spec from a file's path, YAML text (a string with a line break), plain data, or another spec, checked.

    Raises:
        SpecError: with every problem found, each with file, line and column where there are any.
    """
    if isinstance(source, Spec):
        return spec_from_mapping(source.to_dict(), folder=source.source.folder)
    if isinstance(source, Mapping):
        return spec_from_mapping(source)
    if isinstance(source, str) and "\n" in source:
        return _checked(read_text(source), Source(file="<text>", text=source))
    if isinstance(source, (str, Path)):
        return _from_file(Path(source))
    raise TypeError(f"load_spec takes a path, YAML text or a mapping, not {type(source).__name__}")


def spec_from_mapping(data: Mapping[str, Any], *, folder: Path = Path()) -> Spec:
    """A spec from plain data; file names are relative to `folder`."""
    document = plain_data(data)
    return _checked(document, Source(folder=folder))


def problems_of(spec: Spec) -> list[SpecProblem]:
    """What the loader would say about a spec built in Python."""
    try:
        loaded = load_spec(spec)
    except SpecError as error:
        return list(error.problems)
    names = [field.name for field in dataclasses.fields(spec) if field.compare]
    differing = [name for name in names if getattr(spec, name) != getattr(loaded, name)]
    message = "the values here are of types that YAML reads otherwise; build it as load_spec would"
    return [SpecProblem("", 0, 0, name, message) for name in differing]


def replaced(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """The spec with dotted places of its document changed; see `Spec.replace`."""
    document = plain_data(spec.source.document if spec.source.document is not None else spec.to_dict()).data
    changed = plain_data(changes)
    for dotted, value in (changed.data or {}).items():
        *parents, last = dotted.split(".")
        holder = document
        for step in parents:
            if not isinstance(holder.get(step), dict):
                holder[step] = {}
            holder = holder[step]
        holder[last] = value
    return _checked(Document(data=document, findings=changed.findings), Source(folder=spec.source.folder))


def _from_file(path: Path) -> Spec:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)  # one more than allowed is enough to be refused
    except (OSError, ValueError) as error:
        raise SpecError([SpecProblem(str(path), 0, 0, "", _unreadable(path, error))]) from None
    text = raw.decode("utf-8-sig", errors="replace")
    return _checked(read_bytes(raw), Source(file=str(path), folder=path.parent, text=text))


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        specs = sorted(entry.name for entry in path.glob("*.y*ml"))[:5]
        return f"this is a folder; name a spec file in it{': ' + ', '.join(specs) if specs else ''}"
    if isinstance(error, FileNotFoundError):
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        hint = f"did you mean {str(path.parent / guess)!r}?" if guess else "check the path"
        return f"there is no such file; {hint}"
    return f"the file can't be read ({getattr(error, 'strerror', None) or error}); check its name and permissions"


def _checked(document: Document, source: Source) -> Spec:
    """The linear story: grammar, single values, relations; what is sound goes on to the next step."""
    source = dataclasses.replace(source, positions=document.positions, document=document.data)
    findings = list(document.findings)
    if document.data is not None or not findings:
        files = SpecFiles(source.folder)
        spec, found = _built(document.data, _faulty_places(findings), files, source)
        findings += found
        if spec is not None and not findings:
            return spec
    raise SpecError(problems_from(findings, source))


def _built(data: Any, faulty: Sequence[Finding], files: SpecFiles, source: Source) -> tuple[Spec | None, list[Finding]]:
    known = {finding.place for finding in faulty}
    findings = [f for f in schema_findings(data) if f.place not in known]
    if not isinstance(data, Mapping):
        return None, findings
    sound = sound_part(data, [*faulty, *findings])
    findings += value_findings(sound, files)
    sound = sound_part(sound, findings)
    broken = frozenset(str(step) for finding in (*faulty, *findings) for step in finding.place)
    spec = build_spec(_with_stand_ins(sound), files, source)
    return spec, findings + relation_findings(spec, _with_stand_ins(sound), broken)


def _faulty_places(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.place]


def _with_stand_ins(sound: Mapping[str, Any]) -> dict[str, Any]:
    """A document with something in each required place, so that the rest can be judged when one is missing."""
    conditions = sound.get("conditions", {})
    counts = dict.fromkeys(conditions, 1) if conditions else 1
    required = {"version": 1, "name": "unnamed", "seed": 0, "identities": {"count": 1}, "images_per_identity": counts}
    return {**required, **sound}


def problems_from(findings: Sequence[Finding], source: Source) -> tuple[SpecProblem, ...]:
    """Findings with file, line and column, in the order of the file, each once."""
    return tuple(sorted({_problem(finding, source) for finding in findings}))


def _problem(finding: Finding, source: Source) -> SpecProblem:
    line, column = finding.position or position_of(source, finding.place, on_key=finding.on_key)
    message = " ".join(finding.message.split())
    return SpecProblem(source.file, line, column, dotted(finding.place), message)


def position_of(source: Source, place: Place, *, on_key: bool = False) -> Position:
    """Line and column of a place, or of the nearest place around it that the document has; (0, 0) without YAML."""
    for length in range(len(place), -1, -1):
        if place[:length] in source.positions:
            key, value = source.positions[place[:length]]
            return key if on_key or length < len(place) else value
    return (1, 1) if source.text is not None else (0, 0)


def dotted(place: Place) -> str:
    """`factors.expression.mixture[1].weight`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return " ".join(text.lstrip(".").split())[:200]
