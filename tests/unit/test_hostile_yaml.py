"""YAML that means harm, or means two things: what each reads as, or how it is refused (group A3).

What is made to exhaust a reader is read in a process of its own, whose time and memory are told.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bundler.manifests import InvalidYaml, read_documents
from bundler.publish.placement import check_shape, flattened
from bundler.yaml_scalars import ambiguous_scalars

SECONDS = 10
MEGABYTES = 200
READ = """
import json, sys, time
from pathlib import Path
from bundler.manifests import InvalidYaml, read_documents
text = eval(sys.stdin.read())
started = time.process_time()
def status(key):
    return int(Path("/proc/self/status").read_text().partition(key + ":")[2].split()[0])

Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
try:
    outcome = len(json.dumps(read_documents(text)))
except InvalidYaml as error:
    outcome = str(error)
memory = (status("VmHWM") - before) // 1024
print(json.dumps([outcome, time.process_time() - started, memory]))
"""
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{this}: &{this} [{','.join([f'*{last}'] * 10)}]\n"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 60)
)


def outcome(text: str) -> Any:
    """What comes of the text that a Python expression makes, within bounds."""
    completed = subprocess.run(
        [sys.executable, "-c", READ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=6 * SECONDS,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    result, seconds, megabytes = json.loads(completed.stdout)
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
    return result


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (repr(LAUGHS), "its aliases expand beyond all bounds"),
        (repr(MERGES), "its aliases expand beyond all bounds"),
        ('"a: &a [*a]"', "its aliases expand beyond all bounds"),
        ('"a: &a {<<: *a}"', "its aliases expand beyond all bounds"),
        ("'[' * 10_000", "nested too deeply"),
        ("'{a: ' * 10_000", "nested too deeply"),
        ("'- ' * 10_000", "nested too deeply"),
        ("'? ' * 10_000", "nested too deeply"),
        ("'\\n'.join(' ' * n + 'a:' for n in range(10_000))", "nested too deeply"),
        ("'[' * 110 + ']' * 110", "nested too deeply"),
        ("'a: ' + 'x' * 100_000_000", "larger than 64 MiB"),
        ("b'a: ' + b'x' * 100_000_000", "larger than 64 MiB"),
        ("'a: ' + '9' * 1_000_000", "a number with too many digits"),
        ("'a: 0x' + 'f' * 1_000_000", "a number with too many digits"),
        ("'--- a\\n' * 50_001", "more than 50000 documents"),
    ],
)
def test_a_bomb_is_refused_within_bounds(text: str, problem: str) -> None:
    assert outcome(text) == problem


def test_what_is_merely_large_is_read_within_bounds() -> None:
    assert outcome("'a: ' + 'x' * 8_000_000") == 8_000_011
    assert outcome("'[' * 90 + ']' * 90") == 182


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [ls]",
        "!!python/object:os.system {}",
        "!!python/name:os.system ''",
        "!!python/tuple [1]",
        "!!binary aGk=",
        "!!timestamp 2024-01-01",
        "!!set {a}",
        "!!omap [a: 1]",
        "!custom 1",
        "!<tag:example.com,2000:x> 1",
    ],
)
def test_a_tag_makes_nothing_but_plain_values(tag: str) -> None:
    with pytest.raises(InvalidYaml, match="not allowed"):
        read_documents(f"a: {tag}")


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "{a: 1, 'a': 2}",
        'a: 1\n"\\x61": 2',
        "x: {a: 1, !!str a: 2}",
        "x: &x {k: 1}\ny: {<<: *x, l: 1, l: 2}",
    ],
)
def test_a_key_that_stands_twice_is_refused_however_it_is_written(text: str) -> None:
    with pytest.raises(InvalidYaml, match="stands twice"):
        read_documents(text)


@pytest.mark.parametrize(
    "key", ["1", "1.5", "true", "null", "~", "0x1", "? [a]\n", "? {a: 1}\n", "[a]", "{a: 1}"]
)
def test_a_key_that_is_no_text_is_refused(key: str) -> None:
    with pytest.raises(InvalidYaml, match="not a string"):
        read_documents(f"{key}: x")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [("yes", "yes"), ("on", "on"), ("0777", 511), ("1:30", "1:30")],
)
def test_what_readers_disagree_about_has_one_meaning_here_and_is_told(
    scalar: str, value: object
) -> None:
    text = f"a: {scalar}"
    assert read_documents(text) == [{"a": value}]
    assert [finding.rule for finding in ambiguous_scalars(text)] == ["ambiguous-scalar"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"a: x\x00y", "control characters"),
        (b"a: \x1b[31m", "control characters"),
        (b"\xff\xfea\x00:\x00", "not UTF-8"),
        (b"a: \xc3\x28", "not UTF-8"),
        (b'a: "\\ud800"', "invalid Unicode"),
    ],
)
def test_bytes_that_no_manifest_has_are_refused(text: bytes, problem: str) -> None:
    with pytest.raises(InvalidYaml, match=problem):
        read_documents(text)


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read_documents(b"\xef\xbb\xbfa: 1") == [{"a": 1}]
    assert read_documents(b"a: 1\n---\n\xef\xbb\xbfb: 1") == [{"a": 1}, {"b": 1}]


def test_line_ends_of_windows_leave_no_trace() -> None:
    text = b"a: 1\r\nb:\r\n- x\r\n- |\r\n  one\r\n  two\r\n---\r\nc: 'x\r\n  y'\r\n"
    assert read_documents(text) == [{"a": 1, "b": ["x", "one\ntwo\n"]}, {"c": "x y"}]


@pytest.mark.parametrize("text", ["\ta: 1", "a:\n\t- b", "a:\n- \tb: 1", "a:\n  b: 1\n\tc: 2"])
def test_tabs_do_not_indent(text: str) -> None:
    with pytest.raises(InvalidYaml):
        read_documents(text)


def test_tabs_elsewhere_separate_or_stay() -> None:
    assert read_documents("a:\tx\nb: 'x\ty'\nc: [\t1,\t2]") == [
        {"a": "x", "b": "x\ty", "c": [1, 2]}
    ]


def test_merge_keys_are_merged_as_kubernetes_tools_do() -> None:
    text = "x: &x {k: 1, l: 1}\ny: {l: 2, <<: *x}\nz: {<<: [{k: 3}, *x]}"
    (document,) = read_documents(text)
    assert (document["y"], document["z"]) == ({"k": 1, "l": 2}, {"k": 3, "l": 1})


@pytest.mark.parametrize("value", ["1", "x", "[[{a: 1}]]"])
def test_a_merge_of_what_is_no_mapping_is_refused(value: str) -> None:
    with pytest.raises(InvalidYaml, match="for merging"):
        read_documents(f"<<: {value}")


@pytest.mark.parametrize("kind", ["List", "ConfigMapList"])
def test_the_items_of_a_list_are_objects_like_all_others(kind: str) -> None:
    """So that a List carries nothing past the checks of namespaces."""
    item = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: kube-system}}"
    inner = f"{{apiVersion: v1, kind: List, items: [{item}]}}"
    text = f"{{apiVersion: v1, kind: {kind}, metadata: {{}}, items: [{item}, {inner}]}}"
    objects, findings = check_shape("stage/default", flattened(read_documents(text)))
    assert [each["metadata"]["namespace"] for each in objects] == ["kube-system"] * 2
    assert findings == []


@pytest.mark.parametrize("items", ["null", "{}", "x"])
def test_a_list_without_a_list_of_items_is_no_object(items: str) -> None:
    text = f"{{apiVersion: v1, kind: List, items: {items}}}"
    _, findings = check_shape("stage/default", flattened(read_documents(text)))
    assert [finding.rule for finding in findings] == ["no-object"]
