"""How layers merge: by hand for each rule, and by generated values for what always holds."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.layers import (
    LEVELS,
    Layer,
    LayerConflict,
    difference,
    find,
    in_order,
    leaves,
    merge,
    names,
    same,
)


def env(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


@pytest.mark.requirement("C-20")
@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": 1, "b": {"c": 1, "d": 1}}, {"b": {"c": 2}}, {"a": 1, "b": {"c": 2, "d": 1}}),
        ({"a": 1}, {"a": "one"}, {"a": "one"}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": env(X="1", Y="2")}, {"a": env(Z="3", X="4")}, {"a": env(X="4", Y="2", Z="3")}),
        ({"a": env(X="1")}, {"a": []}, {"a": []}),
        ({"a": [1]}, {"a": env(X="1")}, {"a": env(X="1")}),
        ({"a": env(X="1") * 2}, {"a": env(X="2")}, {"a": env(X="2")}),
    ],
)
def test_what_a_layer_says_wins(below: Any, above: Any, merged: Any) -> None:
    assert merge(below, above) == merged


@pytest.mark.parametrize(
    ("below", "above", "steps", "words"),
    [
        ({"a": {"b": 1}}, {"a": 3}, ("a",), "a single value where there is a mapping"),
        ({"a": "x"}, {"a": {"b": 1}}, ("a",), "a mapping where there is a single value"),
        ({"a": [1]}, {"a": {"b": 1}}, ("a",), "a mapping where there is a list"),
        ({"a": env(X="1")}, {"a": [{"name": "X", "value": {}}]}, ("a", "X", "value"), "a mapping"),
    ],
)
def test_another_shape_is_a_conflict(
    below: Any, above: Any, steps: tuple[str, ...], words: str
) -> None:
    with pytest.raises(LayerConflict, match=words) as raised:
        merge(below, above)
    assert raised.value.steps == steps


def test_null_between_two_layers_makes_room_for_another_shape() -> None:
    assert reduce(merge, [{"a": {"b": 1}}, {"a": None}, {"a": 3}]) == {"a": 3}


def test_layers_come_in_their_order_whatever_the_order_of_the_project_file() -> None:
    given_order = [Layer(level, level) for level in reversed(LEVELS)]
    assert [layer.level for layer in in_order(given_order)] == list(LEVELS)


def test_a_path_goes_through_lists_by_name_or_number() -> None:
    value = {"env": env(X="1", Y="2"), "args": ["a", "b"], "gone": None}
    assert find(value, ["env", "Y", "value"]) == ("/env/1/value", "2")
    assert find(value, ["args", "1"]) == ("/args/1", "b")
    assert find(value, ["gone", "with", "all"]) == ("/gone", None)
    assert find(value, ["args", "2"]) is find(value, ["env", "Z"]) is None
    assert find(value, ["args", "1", "x"]) is None


# --- what always holds --------------------------------------------------------------------------

# A key says what shape its values have, so that nothing conflicts: `m…` a mapping, and so on.
scalars = st.one_of(st.integers(0, 3), st.sampled_from(["x", ""]), st.booleans())
plain_lists = st.lists(st.integers(0, 3), max_size=3)


def mappings(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = st.dictionaries(st.sampled_from("xyz"), inner, min_size=1, max_size=3).map(
        lambda found: [{"mName": value, "name": name} for name, value in found.items()]
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "s1": scalars,
            "s2": scalars,
            "l1": plain_lists,
            "m1": inner,
            "m2": inner,
            "n1": named,
        },
    )


documents: st.SearchStrategy[Any] = st.recursive(st.just({}), mappings, max_leaves=12).filter(
    lambda value: isinstance(value, dict)
)


def with_nulls(value: Any, choose: Any) -> Any:
    if isinstance(value, dict):
        return {k: None if choose() else with_nulls(v, choose) for k, v in value.items()}
    return value


nulled = st.builds(
    lambda value, flags: with_nulls(value, iter([*flags, *[False] * 500]).__next__),
    documents,
    st.lists(st.booleans(), max_size=20),
)


@given(documents, documents, documents)
def test_without_null_it_does_not_matter_which_two_merge_first(a: Any, b: Any, c: Any) -> None:
    assert same(merge(merge(a, b), c), merge(a, merge(b, c)))


@given(nulled)
def test_merging_the_same_layer_again_changes_nothing(layer: Any) -> None:
    once = merge({}, layer)
    assert same(merge(once, layer), once)


@given(documents, nulled)
def test_no_null_is_left_and_every_deleted_key_is_gone(below: Any, above: Any) -> None:
    merged = merge(below, above)
    assert all(value is not None for _, value in leaves(merged))
    for steps, value in leaves(above):
        if value is None:
            assert find(merged, steps) is None


@given(documents, nulled)
def test_every_value_of_the_higher_layer_is_there(below: Any, above: Any) -> None:
    merged = merge(below, above)
    for steps, value in leaves(above):
        if value is not None and not isinstance(value, dict):
            found = find(merged, steps)
            assert found is not None
            assert same(found.value, value)


@given(documents, nulled)
def test_named_items_keep_the_lower_order_and_new_ones_come_last(below: Any, above: Any) -> None:
    merged = merge(below, above)
    if below.get("n1") and above.get("n1"):
        lower, upper = names(below["n1"]), names(above["n1"])
        assert names(merged["n1"]) == (*lower, *(name for name in upper if name not in lower))


@given(documents, nulled)
def test_neither_side_is_changed(below: Any, above: Any) -> None:
    before = (repr(below), repr(above))
    merge(below, above)
    assert (repr(below), repr(above)) == before


@given(st.lists(nulled, max_size=4))
def test_the_last_word_on_a_single_value_wins(layers: list[Any]) -> None:
    merged: Any = reduce(merge, layers, {})
    said = [found.value for layer in layers if (found := find(layer, ["s1"]))]
    found = find(merged, ["s1"])
    assert (found.value if found else None) == (said[-1] if said else None)


@given(documents, documents)
def test_a_difference_leads_a_tool_that_merges_mappings_there(below: Any, wanted: Any) -> None:
    def helm(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
        merged = dict(lower)
        for key, value in upper.items():
            if value is None:
                merged.pop(key, None)
            elif isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = helm(merged[key], value)
            else:
                merged[key] = value
        return merged

    assert same(helm(below, difference(below, wanted)), wanted)
    assert difference(below, below) == {}
