from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler import yaml_scalars
from bundler.yaml_scalars import ambiguous_scalars

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: cart, namespace: shop, labels: {on: 'on', team: yes}}
data:
  y: "no"
  script: |
    a: yes
    - no
    1:30
---
apiVersion: v1
kind: List
items:
- kind: Pod
  metadata:
    name: orders
  spec:
    volumes:
    - mode: 0644
    started:
      2024-01-01 10:00:00
    args: [1, &a off, *a]
    folded: a
      yes
"""


def places(text: str) -> list[tuple[int | None, str | None, str | None]]:
    return [(each.line, each.object, each.pointer) for each in ambiguous_scalars(text)]


@pytest.mark.requirement("B-71")
def test_a_scalar_is_told_with_its_line_its_object_and_its_pointer() -> None:
    assert places(MANIFEST) == [
        (3, "ConfigMap/shop/cart", "/metadata/labels/on"),
        (3, "ConfigMap/shop/cart", "/metadata/labels/team"),
        (5, "ConfigMap/shop/cart", "/data/y"),
        (19, "Pod/orders", "/items/0/spec/volumes/0/mode"),
        (21, "Pod/orders", "/items/0/spec/started"),
        (22, "Pod/orders", "/items/0/spec/args/1"),
    ]


def test_a_finding_says_both_meanings_and_how_to_write_either() -> None:
    (mode,) = ambiguous_scalars("mode: 0644")
    assert mode.rule == "ambiguous-scalar"
    assert mode.message == "value 0644 is number 420 in YAML 1.1, number 644 in YAML 1.2"
    assert mode.hint == 'write "0644" if it is a text, 420 or 644 if it is not'
    (key,) = ambiguous_scalars("on: 1")
    assert key.message == "key on is boolean true in YAML 1.1, a text in YAML 1.2"


@pytest.mark.parametrize(
    "scalar",
    [
        "y", "Y", "n", "N", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off",
        "OFF", "0777", "-0777", "08", "0o777", "0b1", "-0b1", "-0x1F", "0x1_F", "1_000", "1_000.5",
        "1:30", "22:22", "12:34:56", "190:20:30.15", "1e3", "12e4567", "1E3", "1e+3", "1.5e3",
        ".5e3", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 10:00:00", "=", "<<",
    ],
)  # fmt: skip
def test_what_the_versions_of_yaml_read_differently_is_found_wherever_it_stands(
    scalar: str,
) -> None:
    for text in (
        f"a: {scalar}", f"a: {scalar}\n", f"a:   {scalar}  # why", f"a: {scalar}\r\nb: 1\r\n",
        f"- {scalar}", f"-   {scalar}", f"a:\n  {scalar}\n", f"[1, {scalar}]", f"[{scalar}]",
        f"{{a: {scalar}}}", f"{{a: {scalar} , b: 1}}", f"a: &x {scalar}", f"a:\t{scalar}",
        f"---\n{scalar}", f"--- \n- - {scalar}", f"{scalar}", f"? a\n: {scalar}",
    ):  # fmt: skip
        assert len(ambiguous_scalars(text)) == 1, text


@pytest.mark.parametrize("key", ["y", "no", "on", "0644", "1e3", "2024-01-01", "1:30"])
def test_keys_are_found_too(key: str) -> None:
    for text in (f"{key}: 1", f"a:\n  {key} : 1", f"- {key}: 1", f"{{{key}: 1}}", f"? {key}\n: 1"):
        assert len(ambiguous_scalars(text)) == 1, text


@pytest.mark.parametrize(
    "text",
    [
        "a: true", "a: False", "a: ~", "a: null", "a:", "a: 0", "a: 007", "a: 12", "a: -1", "a: +1",
        "a: 0x1F", "a: 1.5", "a: .5", "a: 1.5e+3", "a: 8080:80", "a: 1.2.3", "a: yEs", "a: yes no",
        "a: 10.0.0.1", "a: 1Gi", "a: 'yes'", 'a: "0644"', "a: !!str yes", "a: >\n  yes\n",
        "a: |\n  on: 0644\n", "a: text\n  yes\n", "# a: yes", "a: no-reply", "x: {<<: {a: b}}",
        "<<: {a: b}", "a: 12e", "a: 1-2-3", "a: 2024", "",
    ],
)  # fmt: skip
def test_what_all_read_alike_is_not_found(text: str) -> None:
    assert ambiguous_scalars(text) == ()


def test_a_difference_that_is_quoted_or_marked_is_none() -> None:
    text = "a: 'yes'\nb: \"no\"\nc: !!str on\nd: |\n  off\n"
    assert ambiguous_scalars(text) == ()


@pytest.mark.parametrize("text", [b"a: [yes", b"a: \xff yes\nb: no", b"\x00 yes: no", b"\t- yes"])
def test_what_is_no_yaml_is_left_to_who_reads_it(text: bytes) -> None:
    ambiguous_scalars(text)


def test_there_are_no_more_findings_than_anybody_reads() -> None:
    text = "---\n" + "- yes\n" * 5_000
    assert len(ambiguous_scalars(text)) == yaml_scalars.MAX_FINDINGS


@settings(deadline=None, max_examples=300)
@given(st.from_regex(r"[-+]?[0-9_.:eExobT-]{1,8}", fullmatch=True))
def test_what_pyyaml_reads_otherwise_than_the_core_schema_is_found(scalar: str) -> None:
    text = f"a: {scalar}"
    if scalar.startswith(("-.", "+.")):
        return  # against YAML 1.1, PyYAML has no sign before a point
    try:
        (old,) = yaml.safe_load(text).values()
    except (yaml.YAMLError, ValueError, AttributeError, OverflowError):
        return
    new = yaml_scalars._yaml_1_2(scalar).value
    same = (new is None and isinstance(old, str)) or (
        new is not None and not isinstance(old, str) and old == new
    )
    if isinstance(old, (str, int, float)) and not same:
        assert ambiguous_scalars(text), (old, new)


def test_a_hint_writes_an_exponent_so_that_all_read_a_number() -> None:
    (finding,) = ambiguous_scalars("a: 1e-05\n")
    assert finding.hint == 'write "1e-05" if it is a text, 1.0e-05 if it is not'
    assert ambiguous_scalars("a: 1.0e-05\n") == ()


def test_text_without_any_costs_next_to_nothing() -> None:
    line = "  name: registry.example.com/shop/cart:1.2.3  # 10, 0.5 and so on\n"
    text = "a:\n" + "".join(f"- b{n}: {n}\n{line}" for n in range(20_000))
    started = time.process_time()
    assert ambiguous_scalars(text) == ()
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "1" * 1_000_000,
        "a: " + "1_" * 500_000,
        "a: 0" + "7" * 1_000_000,
        "a: 1" + ":1" * 500_000,
        "a: " + "&a " * 300_000,
        "a:" + " " * 1_000_000 + "x",
        "\n" + " " * 1_000_000,
        "a: yes" + " " * 1_000_000 + "x",
        ", " * 500_000,
    ],
)
def test_long_lines_take_linear_time(text: str) -> None:
    started = time.process_time()
    ambiguous_scalars(text)
    assert time.process_time() - started < 5.0
