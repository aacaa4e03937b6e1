"""YAML 1.2 text to plain data, with the position of every key and value and every fault along the way.

ruamel.yaml does the scanning and parsing. Composing is done here on its events, because its composer stops at the first
duplicate key, expands anchors without bound and forgets where plain scalars stood.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent
from ruamel.yaml.reader import ReaderError

Place: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_VALUES = 100_000

_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_BASE = re.compile(r"0(o[0-7]+|x[0-9a-fA-F]+)\Z")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word[0] in "tT" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}


@dataclass(frozen=True)
class Finding:
    """Something wrong at a place of the document; `position` only where the document has none for it."""

    place: Place
    message: str
    on_key: bool = False
    position: Position | None = None


@dataclass
class Document:
    """Plain data with its positions: place to ((line, column) of key, (line, column) of value)."""

    data: Any = None
    positions: dict[Place, tuple[Position, Position]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class _StopError(Exception):
    """Reading can't go on; the finding says why."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.finding = Finding((), message, position=position)


@dataclass
class _Node:
    position: Position
    scalar: Any = None
    items: list[_Node] | None = None
    pairs: list[tuple[_Node, _Node]] | None = None


def read_bytes(raw: bytes) -> Document:
    """A document from a file's bytes. Never raises; what's wrong is in `findings`."""
    if len(raw) > MAX_BYTES:
        return _refused(
            f"the file has more than {MAX_BYTES} bytes, the most a spec may have. Put long tables in .csv files"
        )
    if b"\0" in raw[:4096]:
        return _refused("this is a binary file; a spec is YAML text in UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        position = (before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        return _refused(f"byte 0x{raw[error.start]:02x} isn't UTF-8; save the file as UTF-8 text", position)
    return read_text(text)


def read_text(text: str) -> Document:
    """A document from YAML text. Never raises; what's wrong is in `findings`."""
    if len(text) > MAX_BYTES:
        return _refused(f"the text has {len(text)} characters; a spec has at most {MAX_BYTES}")
    document = Document()
    try:
        root = _Composer(text, document.findings).compose()
        if root is not None:
            document.data = _Expander(document).expand((), root, root.position, 0)
    except _StopError as stop:
        document.findings.append(stop.finding)
    except YAMLError as error:
        document.findings.append(_syntax_finding(error, text))
    return document


def _refused(message: str, position: Position = (1, 1)) -> Document:
    return Document(findings=[Finding((), message, position=position)])


class _Composer:
    """Events to a tree of nodes."""

    def __init__(self, text: str, findings: list[Finding]) -> None:
        self._events = YAML(typ="safe", pure=True).parse(text)
        self._findings = findings
        self._anchors: dict[str, _Node] = {}

    def compose(self) -> _Node | None:
        root: _Node | None = None
        for event in self._events:
            if isinstance(event, (AliasEvent, ScalarEvent, MappingStartEvent, SequenceStartEvent)):
                if root is not None:
                    raise _StopError("a second document starts here; a spec is one document", _at(event))
                root = self._node(event, 0)
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise _StopError(f"nested deeper than {MAX_DEPTH} levels; no spec needs that", _at(event))
        if isinstance(event, AliasEvent):
            return self._aliased(event)
        self._check_tag(event)
        if isinstance(event, ScalarEvent):
            node = _Node(_at(event), scalar=self._scalar(event))
        elif isinstance(event, SequenceStartEvent):
            node = _Node(_at(event), items=self._sequence(depth))
        else:
            node = _Node(_at(event), pairs=self._mapping(depth))
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _aliased(self, event: Any) -> _Node:
        if event.anchor not in self._anchors:
            raise _StopError(f"the alias *{event.anchor} has no finished anchor &{event.anchor} before it", _at(event))
        return self._anchors[event.anchor]

    def _check_tag(self, event: Any) -> None:
        tag = str(event.tag) if event.tag else None
        if tag and tag not in _CORE_TAGS and tag != "!":
            self._findings.append(
                Finding((), f"the tag {tag!r} isn't allowed; a spec is plain data: remove the tag", position=_at(event))
            )

    def _sequence(self, depth: int) -> list[_Node]:
        items = []
        while not type(event := next(self._events)).__name__.startswith("SequenceEnd"):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> list[tuple[_Node, _Node]]:
        pairs = []
        while not type(event := next(self._events)).__name__.startswith("MappingEnd"):
            key = self._node(event, depth + 1)
            pairs.append((key, self._node(next(self._events), depth + 1)))
        return pairs

    def _scalar(self, event: Any) -> Any:
        is_text = event.style is not None or (event.tag and str(event.tag).endswith(":str"))
        return event.value if is_text else plain_scalar(event.value)


class _Expander:
    """Nodes to plain data: aliases are copied out, up to a bound, and keys checked."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._num_values = 0

    def expand(self, place: Place, node: _Node, key_position: Position, depth: int) -> Any:
        self._num_values += 1
        if self._num_values > MAX_VALUES or depth > MAX_DEPTH:
            raise _StopError(
                f"more than {MAX_VALUES} values or {MAX_DEPTH} levels once anchors are expanded", node.position
            )
        self._document.positions[place] = (key_position, node.position)
        if node.items is not None:
            return [self.expand((*place, i), item, item.position, depth + 1) for i, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(place, node.pairs, depth)
        if isinstance(node.scalar, float) and not math.isfinite(node.scalar):
            self._report(place, f"found {node.scalar}; numbers must be finite", node.position)
        return node.scalar

    def _mapping(self, place: Place, pairs: list[tuple[_Node, _Node]], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first: dict[str, Position] = {}
        for key, value in pairs:
            name = key.scalar
            if not isinstance(name, str):
                found = "a list or mapping" if key.items is not None or key.pairs is not None else repr(name)
                self._report(place, f"found the key {found}; keys are text: put it in quotes if it is", key.position)
            elif name == "<<":
                self._report(place, "merge keys (<<) aren't part of YAML 1.2; repeat the values", key.position)
            elif name in first:
                line = first[name][0]
                message = f"the key {name!r} is here twice, first on line {line}; keep one"
                self._report((*place, name), message, key.position)
            else:
                first[name] = key.position
                result[name] = self.expand((*place, name), value, key.position, depth + 1)
        return result

    def _report(self, place: Place, message: str, position: Position) -> None:
        self._document.findings.append(Finding(place, message, position=position))


def plain_scalar(text: str) -> Any:
    """The value of a plain scalar by YAML 1.2's core schema: `3e-4` is a number, `no` is text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text) if len(text) < 400 else float("inf")
    if _BASE.match(text):
        return int(text, 0) if len(text) < 400 else float("inf")
    if _FLOAT.match(text):
        return float(text)
    if _INFINITE.match(text):
        return float(text.replace(".", "", 1))
    return text


def _at(event: Any) -> Position:
    return (event.start_mark.line + 1, event.start_mark.column + 1)


def _syntax_finding(error: YAMLError, text: str) -> Finding:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        return Finding((), "a control character, which YAML doesn't allow; remove it", position=position)
    problem, position = str(error), (1, 1)
    if isinstance(error, MarkedYAMLError):
        # An unclosed bracket or quote is noticed far from where it is; what it opens is what needs closing.
        is_open = "flow" in str(error.context) or "end of stream" in str(error.problem)
        mark = (error.context_mark if is_open else None) or error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark else position
        problem = ", ".join(str(part) for part in (error.context, error.problem) if part)
    if "'\\t'" in problem:
        return Finding((), "a tab; YAML indents with spaces: replace it", position=position)
    hint = "; check the brackets and quotes that open here" if "flow" in problem or "quoted" in problem else ""
    return Finding((), f"this isn't YAML: {' '.join(problem.split())}{hint}", position=position)
