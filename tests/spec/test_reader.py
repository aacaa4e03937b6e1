"""YAML is read as YAML 1.2, with positions, and whatever isn't YAML is said to be so."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from synthface.spec.reader import MAX_BYTES, plain_scalar, read_bytes, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e3", 1000.0),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("~", None),
        ("", None),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("+7", 7),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_follow_the_core_schema(text, value):
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)


def test_positions_are_those_of_keys_and_values():
    document = read_text("a: 1\nb:\n  - {c: [2, x]}\n  - d\n")
    assert document.data == {"a": 1, "b": [{"c": [2, "x"]}, "d"]}
    assert document.positions[("b", 0, "c")] == ((3, 6), (3, 9))
    assert document.positions[("b", 0, "c", 1)] == ((3, 13), (3, 13))
    assert document.positions[("b", 1)] == ((4, 5), (4, 5))


@given(
    st.recursive(
        st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.booleans() | st.text("abc xyz:#-é'\"", max_size=12),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_ruamel_writes_is_read_back(data):
    """The composer agrees with the library about every document that the library writes and reads itself."""
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.dump({"root": data}, stream)
    try:
        loaded = yaml.load(stream.getvalue())
    except YAMLError:  # `{a: :b}`, say, which it writes but can't read
        reject()
    document = read_text(stream.getvalue())
    assert not document.findings
    assert document.data == loaded == {"root": data}


def test_every_duplicate_is_reported():
    findings = read_text("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n").findings
    assert [(finding.position[0], finding.place[-1]) for finding in findings if finding.position] == [
        (2, "a"),
        (3, "c"),
        (4, "a"),
    ]


def test_aliases_are_copied():
    assert read_text("a: &x [1, 2]\nb: *x\n").data == {"a": [1, 2], "b": [1, 2]}


def test_a_billion_laughs_are_cut_short():
    """Anchors that multiply are refused at once instead of filling the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    start = time.perf_counter()
    document = read_text("\n".join(lines))
    assert time.perf_counter() - start < 5
    assert "anchors" in document.findings[0].message


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "a: &x [*x]"])
def test_bottomless_nesting_is_refused(text):
    document = read_text(text)
    assert len(document.findings) == 1
    assert document.findings[0].position is not None


@pytest.mark.parametrize(
    ("raw", "word", "position"),
    [
        (b"name: \xff\xfe", "UTF-8", (1, 7)),
        (b"a: 1\n\x80", "UTF-8", (2, 1)),
        (b"PK\x03\x04\x00\x00", "binary", (1, 1)),
        (b"a: 1\nb: \x01", "control", (2, 4)),
        (b"a:\n\t- 1", "tab", (2, 1)),
        (b"a: 1\n---\nb: 2", "second document", (3, 1)),
        (b"a: !!python/name:os.system x", "tag", (1, 4)),
        (b"x" * (MAX_BYTES + 1), "bytes", (1, 1)),
        (b"? [1]\n: 2", "keys are text", (1, 3)),
    ],
)
def test_what_is_not_a_spec_is_named(raw, word, position):
    findings = read_bytes(raw).findings
    assert word in findings[0].message
    assert findings[0].position == position


def test_a_byte_order_mark_is_welcome():
    assert read_bytes(b"\xef\xbb\xbfa: 1").data == {"a": 1}


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw):
    """Junk gives findings or data, never an exception."""
    document = read_bytes(raw)
    assert document.findings or document.positions or document.data is None


@given(st.text("{}[]:,-#&*!|>'\"%@` \n\tab1.~?", max_size=60))
def test_no_text_raises(text):
    """Nor does anything made of YAML's own signs."""
    document = read_text(text)
    assert all("\n" not in finding.message for finding in document.findings)
