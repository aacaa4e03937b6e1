"""Recipes: YAML (or JSON) to frozen dataclasses, strictly, with every problem reported at once.

A recipe file has one section per stage; a stage reads its own and leaves the others alone. JSON needs no package; YAML
needs ruamel.yaml.

`extends: other.yaml`, a path from the recipe's own folder, takes another recipe's sections as a basis: mappings are merged
key by key; anything else, lists too, is replaced.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from synthface.errors import SpecError, SpecProblem

T = TypeVar("T")


def load_recipe(path: str | Path, section: str, kind: type[T]) -> T:
    """A stage's section of a recipe file as an instance of the dataclass `kind`.

    Raises:
        SpecError: the file isn't there or isn't a recipe; carries every problem.
    """
    data = read_sections(path)
    if section not in data:
        raise SpecError([_problem(path, section, f"no such section; found {', '.join(data) or 'none'}")])
    return parse(kind, data[section], file=str(path), place=section)


def read_sections(path: str | Path) -> dict[str, Any]:
    """All sections of a recipe file, unchecked, on the basis of the one that it extends.

    Raises:
        SpecError: a file isn't there or isn't a recipe, or recipes extend one another in a circle.
    """
    return _read_sections(Path(path), ())


def _read_sections(path: Path, through: tuple[Path, ...]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError([_problem(path, "", f"can't be read: {error.strerror}; give the path of a recipe")]) from error
    data = json.loads(text) if path.suffix == ".json" else _yaml(path, text)
    if not isinstance(data, dict):
        raise SpecError([_problem(path, "", "a recipe is a mapping of stages to their settings")])
    basis = data.pop("extends", None)
    if basis is None:
        return data
    if path.resolve() in through:
        raise SpecError(
            [_problem(path, "extends", "extends itself, through other recipes; let one of them stand alone")]
        )
    return _merged(_read_sections(path.parent / str(basis), (*through, path.resolve())), data)


def _merged(basis: Any, change: Any) -> Any:
    """Mappings merged key by key, the change winning; anything else is the change."""
    if not isinstance(basis, Mapping) or not isinstance(change, Mapping):
        return change
    return {**basis, **{key: _merged(basis[key], value) if key in basis else value for key, value in change.items()}}


def parse(kind: type[T], data: Any, *, file: str = "", place: str = "") -> T:
    """A dataclass from plain data: unknown keys, missing keys and wrong types are all reported.

    Raises:
        SpecError: with every problem found.
    """
    problems: list[SpecProblem] = []
    value = _read(kind, data, place, file, problems)
    if problems:
        raise SpecError(problems)
    return typing.cast(T, value)


def to_plain(value: Any) -> Any:
    """A dataclass as JSON can hold it, every default filled in."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    return [to_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def save_resolved(path: Path, section: str, value: Any) -> None:
    """Write a section with every default filled in, as JSON (which is also YAML): it loads again to the same value."""
    path.write_text(json.dumps({section: to_plain(value)}, indent=2) + "\n", encoding="utf-8")


def _yaml(path: Path, text: str) -> Any:
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise SpecError([_problem(path, "", f"not YAML: {error}")]) from error


def _problem(file: str | Path, place: str, message: str) -> SpecProblem:
    return SpecProblem(str(file), 0, 0, place, message)


def _read(kind: Any, data: Any, place: str, file: str, problems: list[SpecProblem]) -> Any:
    """`data` as `kind`; appends to `problems` and returns None where it isn't one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, data, place, file, problems)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        return _read(next(a for a in arguments if a is not type(None)), data, place, file, problems)
    if origin is tuple and isinstance(data, list | tuple):
        inner = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else arguments
        if len(inner) == len(data):
            return tuple(
                _read(a, entry, f"{place}[{n}]", file, problems)
                for n, (a, entry) in enumerate(zip(inner, data, strict=True))
            )
    if origin is not None and issubclass(_class_of(origin), Mapping) and isinstance(data, Mapping):
        number = arguments[0] is int
        return {
            int(key) if number else key: _read(arguments[1], entry, f"{place}.{key}", file, problems)
            for key, entry in data.items()
        }
    if origin is typing.Literal and data in arguments:
        return data
    if kind is Any:
        return data
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return float(data)
    if kind in (int, str, bool) and type(data) is kind:
        return data
    problems.append(_problem(file, place, f"found {data!r}; allowed: {_allowed(kind)}"))
    return None


def _read_dataclass(kind: Any, data: Any, place: str, file: str, problems: list[SpecProblem]) -> Any:
    if not isinstance(data, Mapping):
        problems.append(_problem(file, place, f"found {data!r}; allowed: a mapping of settings"))
        return None
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    found = list(_key_problems(data, fields, place, file))
    values = {
        name: _read(hints[name], entry, f"{place}.{name}", file, problems)
        for name, entry in data.items()
        if name in fields
    }
    problems += found
    if found or len(problems) > 0:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(_problem(file, place, str(error)))
        return None


def _key_problems(data: Mapping[str, Any], fields: Mapping[str, Any], place: str, file: str) -> Iterator[SpecProblem]:
    for name in data:
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            yield _problem(file, f"{place}.{name}", f"unknown setting; {hint}allowed: {', '.join(fields)}")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in data and not has_default:
            yield _problem(file, f"{place}.{name}", "missing; it has no default")


def _class_of(origin: Any) -> type:
    return origin if isinstance(origin, type) else object


def _allowed(kind: Any) -> str:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(map(repr, arguments))
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, str(kind))
