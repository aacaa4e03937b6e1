"""Slips of the pen, made in the text of real specs, each with the line that must be named.

They work on text and know nothing of the loader, so that its positions are tested against something independent.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SINK = Path(__file__).parent / "data" / "sink.yaml"
BASES = (SINK, *sorted((ROOT / "specs").glob("*.yaml")))

#: Words of the language that can stand before a colon and aren't names of the user's.
_WORDS = """
 version name seed generator truncation psi kind identities count sample attributes factors pose yaw pitch
roll expression mixture weight named lighting frame ambient lights azimuth elevation intensity
colour_temperature noise conditions images_per_identity design axes vary steps anchor splits pairs genuine
impostor folds across output image size crop format post annotations shards samples order uniform normal mean
std low high beta von_mises choice grid start stop num constant between rho correlate joint table file columns
audit pose_deg on_fail balance edges min_distance max_tries
"""
KEYWORDS = _WORDS.split()
ACTIONS = "smile|jaw_open|cheek_raise|frown|brow_lower|brow_raise|wide_eyes|blink|squint|sneer|look_left|look_up"
NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])"


@dataclass(frozen=True)
class Mutation:
    """A spec gone wrong: which slip, in which file, the text, and the line (from 1) that must be named."""

    name: str
    base: Path
    text: str
    line: int


Edit = tuple[str, int]  # the new text and the line to be named
Operator = Callable[[random.Random, list[str]], Edit | None]


def _matches(lines: list[str], pattern: str) -> list[tuple[int, re.Match[str]]]:
    """Every match outside of comments and of the free-text `name`."""
    found = []
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("#", "name:")):
            continue
        code = line.split(" #")[0]
        found += [(number, match) for match in re.finditer(pattern, code)]
    return found


def _replace(pattern: str, new: Callable[[re.Match[str]], str]) -> Operator:
    """An operator that rewrites one random match of a pattern and names its line."""

    def operator(rng: random.Random, lines: list[str]) -> Edit | None:
        matches = _matches(lines, pattern)
        if not matches:
            return None
        number, match = rng.choice(matches)
        line = lines[number]
        changed = line[: match.start()] + new(match) + line[match.end() :]
        return "\n".join([*lines[:number], changed, *lines[number + 1 :]]), number + 1

    return operator


def _swapped(match: re.Match[str]) -> str:
    return f"uniform: [{match[2]}, {match[1]}]"


def _duplicated(rng: random.Random, lines: list[str]) -> Edit | None:
    whole = [
        i
        for i, line in enumerate(lines)
        if re.match(r"^ *[a-z_]+: \S", line) and all(line.count(a) == line.count(b) for a, b in ("[]", "{}"))
    ]
    number = rng.choice(whole)
    return "\n".join([*lines[: number + 1], lines[number], *lines[number + 1 :]]), number + 2


def _tabbed(rng: random.Random, lines: list[str]) -> Edit | None:
    indented = [i for i, line in enumerate(lines) if re.match(r"^ +[a-z_]+:", line)]
    number = rng.choice(indented)
    changed = re.sub(r"^ +", "\t", lines[number])
    return "\n".join([*lines[:number], changed, *lines[number + 1 :]]), number + 1


def _without_required(rng: random.Random, lines: list[str]) -> Edit | None:
    whole = [i for i, line in enumerate(lines) if re.match(r"^(version|name|seed|images_per_identity): \S", line)]
    number = rng.choice(whole)
    kept = [*lines[:number], *lines[number + 1 :]]
    first = next(i for i, line in enumerate(kept) if line and not line.startswith("#"))
    return "\n".join(kept), first + 1


def _without_count(rng: random.Random, lines: list[str]) -> Edit | None:
    """One condition's number is removed: its definition is named."""
    counts = _matches(lines, r"^images_per_identity: \{.*\}")
    if not counts:
        return None
    number, match = counts[0]
    names = re.findall(r"(\w+):", match[0])[1:]
    name = rng.choice(names)
    changed = re.sub(rf"\b{name}: \d+(, )?", "", lines[number]).replace(", }", "}")
    defined = next(i for i, line in enumerate(lines) if re.match(rf"^  {name}:", line))
    return "\n".join([*lines[:number], changed, *lines[number + 1 :]]), defined + 1


def _added_line(text: str) -> Operator:
    def operator(rng: random.Random, lines: list[str]) -> Edit | None:
        tops = [i for i, line in enumerate(lines) if re.match(r"^[a-z_]+:", line)]
        number = rng.choice(tops)
        return "\n".join([*lines[:number], text, *lines[number:]]), number + 1

    return operator


def _keyword(suffix: str) -> Operator:
    words = "|".join(KEYWORDS)
    return _replace(rf"(?<=[\s{{])({words}|^({words}))(?=:)", lambda match: match[0] + suffix)


OPERATORS: dict[str, Operator] = {
    "key-misspelt": _keyword("x"),
    "key-doubled-letter": _replace(
        r"(?<=[ {])(?:uniform|normal|pitch|weight|named|azimuth|low|mean)(?=:)", lambda m: m[0][0] + m[0]
    ),
    "action-misspelt": _replace(rf"(?<=[ {{])(?:{ACTIONS})(?=: )", lambda m: m[0] + "q"),
    "text-for-number": _replace(NUMBER, lambda m: "wide"),
    "quoted-number": _replace(NUMBER, lambda m: f"'{m[0]}'"),
    "mapping-for-number": _replace(NUMBER, lambda m: "{a: 1}"),
    "null-for-number": _replace(NUMBER, lambda m: "~"),
    "nan": _replace(NUMBER, lambda m: ".nan"),
    "infinite": _replace(NUMBER, lambda m: "-.inf"),
    "overflow": _replace(NUMBER, lambda m: "1e999"),
    "true-for-number": _replace(NUMBER, lambda m: "true"),
    "bounds-swapped": _replace(r"uniform: \[([-\d.]+), ([-\d.]+)\]", _swapped),
    "bounds-equal": _replace(r"uniform: \[([-\d.]+), ([-\d.]+)\]", lambda m: f"uniform: [{m[1]}, {m[1]}]"),
    "three-bounds": _replace(r"uniform: \[([-\d.]+), ([-\d.]+)\]", lambda m: f"uniform: [{m[1]}, {m[2]}, {m[2]}]"),
    "one-bound": _replace(r"uniform: \[([-\d.]+), ([-\d.]+)\]", lambda m: f"uniform: [{m[1]}]"),
    "truncation-swapped": _replace(r"low: ([-\d.]+), high: ([-\d.]+)", lambda m: f"low: {m[2]}, high: {m[1]}"),
    "truncation-far-away": _replace(r"low: ([-\d.]+), high: ([-\d.]+)", lambda m: "low: 888, high: 999"),
    "std-negative": _replace(r"std: [\d.]+", lambda m: "std: -3"),
    "std-missing": _replace(r", std: [\d.]+", lambda m: ""),
    "weight-negative": _replace(r"weight: \d+", lambda m: "weight: -1"),
    "weight-zero": _replace(r"weight: \d+", lambda m: "weight: 0"),
    "two-distributions": _replace(r"\{uniform: ", lambda m: "{normal: [0, 1], uniform: "),
    "no-distribution": _replace(r"\{uniform: \[[^]]*\]\}", lambda m: "{per: image}"),
    "leaf-prior": _replace(r"\{uniform: \[[^]]*\]\}", lambda m: "{prior: {scale: 1}}"),
    "out-of-reach": _replace(r"(?<!deg: \{)uniform: \[([-\d.]+), ([-\d.]+)\]", lambda m: f"uniform: [{m[1]}, 90000]"),
    "per-unknown": _replace(r"\{uniform: (\[[^]]*\])\}", lambda m: f"{{uniform: {m[1]}, per: person}}"),
    "count-huge": _replace(r"\bcount: \d+", lambda m: "count: 1000000000"),
    "count-zero": _replace(r"\bcount: \d+", lambda m: "count: 0"),
    "count-fractional": _replace(r"\bcount: \d+", lambda m: "count: 12.5"),
    "size-tiny": _replace(r"size: \d+", lambda m: "size: 4"),
    "seed-negative": _replace(r"^seed: \d+", lambda m: "seed: -1"),
    "seed-list": _replace(r"^seed: \d+", lambda m: "seed: [1, 2]"),
    "version-other": _replace(r"^version: 1", lambda m: "version: 2"),
    "annotation-unknown": _replace(r"annotations: \[", lambda m: "annotations: [landmarkz, "),
    "enum-misspelt": _replace(
        r"(?<=: )(?:shuffled|arcface|factorial|one_factor|jpg|resample|head)\b", lambda m: m[0] + "x"
    ),
    "preset-unknown": _replace(r"(?<=preset: )\w+", lambda m: m[0] + "x"),
    "design-unknown": _replace(r"^design: sobol", lambda m: "design: sobolev"),
    "shares-over-one": _replace(r"^splits: \{(\w+): [\d.]+", lambda m: f"splits: {{{m[1]}: 0.97, more: 0.2"),
    "split-unknown": _replace(r"(?<=split: )\w+", lambda m: m[0] + "ing"),
    "across-unknown": _replace(r"across: \[\w+", lambda m: m[0] + "x"),
    "pairs-too-many": _replace(r"genuine: \d+", lambda m: "genuine: 99999999"),
    "leaf-unknown": _replace(r"(?<=[\[ ])(?:pose\.(?:pitch|yaw)|lighting\.ambient)(?=[,\]])", lambda m: m[0] + "z"),
    "rho-singular": _replace(r"rho: [\d.]+", lambda m: "rho: 1.0"),
    "rho-out-of-range": _replace(r"rho: [\d.]+", lambda m: "rho: 1.7"),
    "cells-do-not-fit": _replace(r"^images_per_identity: (45|33)", lambda m: "images_per_identity: 44"),
    "file-missing": _replace(r"poses\.csv", lambda m: "posse.csv"),
    "column-missing": _replace(r"(?<=column: )share|(?<=pose\.yaw: )yaw", lambda m: m[0] + "s"),
    "key-twice": _duplicated,
    "tab": _tabbed,
    "bracket-unclosed": _replace(r"[\]}]$", lambda m: ""),
    "bracket-crossed": _replace(r"\](?=\})", lambda m: ")"),
    "quote-unclosed": _replace(r"(?<=: )(?=[a-z]+$)", lambda m: '"'),
    "at-sign": _replace(r"(?<=: )(?=[\d{\[])", lambda m: "@"),
    "colon-twice": _replace(r"^[a-z]+: (?=\d)", lambda m: m[0] + "a: "),
    "control-character": _replace(r"(?<=\w)(?=:)", lambda m: "\x07"),
    "alias-undefined": _replace(NUMBER, lambda m: "*nowhere"),
    "tag": _replace(NUMBER, lambda m: f"!secret {m[0]}"),
    "required-missing": _without_required,
    "condition-without-count": _without_count,
    "unknown-section": _added_line("colour: blue"),
    "factor-at-top": _added_line("pose: {yaw: 0}"),
    "merge-key": _added_line("<<: {seed: 1}"),
    "number-as-key": _added_line("12: twelve"),
}


def mutations(count: int) -> Iterator[Mutation]:
    """`count` different mutations, every operator in turn over every spec, the same each time."""
    seen: set[str] = set()
    for attempt in range(40 * count):
        if len(seen) == count:
            return
        name = list(OPERATORS)[attempt % len(OPERATORS)]
        rng = random.Random(attempt)
        base = BASES[(attempt // len(OPERATORS)) % len(BASES)]
        edit = OPERATORS[name](rng, base.read_text(encoding="utf-8").split("\n"))
        if edit is not None and edit[0] not in seen:
            seen.add(edit[0])
            yield Mutation(name, base, *edit)
    raise AssertionError(f"only {len(seen)} of {count} mutations")
