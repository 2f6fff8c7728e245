from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.field_path import parse_path, with_item, with_key


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("spec.replicas", ("spec", "replicas")),
        (".spec.replicas", ("spec", "replicas")),
        ("/spec/replicas", ("spec", "replicas")),
        ("/spec/containers[cart]/image", ("spec", "containers", "cart", "image")),
        ("containers[cart].args[0]", ("containers", "cart", "args", "0")),
        ('metadata.annotations["a.b/c"].x', ("metadata", "annotations", "a.b/c", "x")),
        ("/data/settings.json", ("data", "settings.json")),
        ("/metadata/labels/example.com~1team", ("metadata", "labels", "example.com/team")),
        ("", ()),
    ],
)
def test_a_path_is_read_in_both_ways_of_writing_it(text: str, steps: tuple[str, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["a..b", "a[", "a[]", "a]b", ".", "a[b"])
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        parse_path(text)


items = st.from_regex(r"\A[a-z0-9][a-z0-9.-]{0,9}\Z")


@given(st.lists(st.tuples(st.booleans(), st.text(min_size=1), items), min_size=1))
def test_a_path_that_is_written_is_read_again(parts: list[tuple[bool, str, str]]) -> None:
    path = ""
    steps: list[str] = []
    for is_item, key, item in parts:
        path = with_item(path, item) if is_item and path else with_key(path, key)
        steps.append(item if is_item and len(steps) > 0 else key)
    assert parse_path(path) == tuple(steps)
