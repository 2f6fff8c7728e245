from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.manifests import (
    InvalidYaml,
    line_numbers,
    read_documents,
    read_json,
    write_documents,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT | st.sampled_from(["yes", "on", "0777", "1:30", "~", "null", "1e3", "a: b", "- x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)  # a busy machine is no mistake
@given(st.lists(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), max_size=3))
def test_what_is_written_reads_the_same_here_and_in_yaml_1_1(documents: list[Any]) -> None:
    written = write_documents(documents)
    assert read_documents(written) == documents
    assert [d for d in yaml.safe_load_all(written) if d is not None] == documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("0644", 420),
        ("0o644", 420),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("TRUE", True),
        ("~", None),
        ("1e3", 1000.0),
        ("1_000", 1000),
        ("=", "="),
    ],
)
def test_scalars_are_read_as_kubernetes_tools_read_them(text: str, value: object) -> None:
    [document] = read_documents(f"a: {text}")
    assert document == {"a": value}


def test_a_key_of_ones_own_wins_over_a_merged_one() -> None:
    text = """
    base: &base {k: 1, l: 1}
    own: {k: 2, <<: *base}
    first: {<<: [{l: 5}, *base]}
    """
    [document] = read_documents(text)
    assert document["own"] == {"k": 2, "l": 1}
    assert document["first"] == {"k": 1, "l": 5}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{last}'] * 10)}]\n"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: 1\na: 2", "stands twice"),
        (b"!!python/object/apply:os.system [ls]", "not allowed"),
        (b"a: !custom 1", "not allowed"),
        (b"1: 2", "not a string"),
        (b"a: .nan", "no value"),
        (b"a: 1e999", "no value"),
        (b"a: &x {k: 1}\nb: {<<: *x, l: 1, l: 2}", "stands twice"),
        (b"a: &a [*a]", "expand"),
        (BOMB.encode(), "expand"),
        (b"\xff\xfe", "UTF-8"),
        (b"a: \x00", "control"),
        (b"a: [1", "expected"),
        (b"a:\n\t- b", "token"),
    ],
)
def test_bad_yaml_is_a_clear_error(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidYaml, match=problem):
        read_documents(text)


@pytest.mark.parametrize("text", ["'[' * 100_000", "'- ' * 5_000", "'{a: ' * 5_000"])
def test_deep_nesting_is_refused_without_harm_to_the_process(text: str) -> None:
    program = f"""
from bundler.manifests import read_documents, InvalidYaml
try:
    read_documents({text})
except InvalidYaml as error:
    print(error)
"""
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stdout) == (0, "nested too deeply\n")


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 2}', b"NaN", b"[" * 100_000, b"{", b"\xff"])
def test_bad_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_json(text)


# --- lines --------------------------------------------------------------------------------------


def test_every_place_of_a_document_has_its_line() -> None:
    text = b"# of two\n---\na:\n  b: [1,\n    2]\n---\n\n---\n- x\n- y: &y\n    z: 1\n- *y\n"
    assert line_numbers(text) == {"/a": 3, "/a/b": 4, "/a/b/0": 4, "/a/b/1": 5}
    assert line_numbers(text, 1) == {"/0": 9, "/1": 10, "/1/y": 10, "/1/y/z": 11, "/2": 10}
    assert line_numbers(text, 2) == line_numbers("") == {}


@pytest.mark.parametrize(
    "text", ["a: !!str {b: c}", "a: !!map b", "a: !!seq {b: c}", "a: !!map [b]", "a: !!str [b]"]
)
def test_a_tag_that_is_not_that_of_its_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidYaml, match="not allowed"):
        read_documents(text)
