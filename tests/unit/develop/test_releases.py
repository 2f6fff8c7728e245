"""The order of releases and what came before each, on generated histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.develop.releases import Ancestry, in_order, nearest_first, predecessors


@st.composite
def tagged_histories(draw: st.DrawFn) -> tuple[Ancestry, dict[str, str]]:
    """Commits, children before parents, and tags on some of them."""
    count = draw(st.integers(1, 14))
    commits: list[tuple[str, tuple[str, ...]]] = [("c0", ())]
    for number in range(1, count):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3, unique=True))
        commits.append((f"c{number}", tuple(f"c{parent}" for parent in parents)))
    chosen = draw(st.lists(st.integers(0, count - 1), max_size=8))
    tags = {f"v1.{number}.0": f"c{commit}" for number, commit in enumerate(chosen)}
    return tuple(reversed(commits)), tags


def strict_ancestors(ancestry: Ancestry, commit: str) -> set[str]:
    parents = dict(ancestry)[commit]
    return set(parents).union(*(strict_ancestors(ancestry, parent) for parent in parents))


@given(tagged_histories())
@pytest.mark.requirement("B-05")
def test_no_other_release_lies_between_a_release_and_its_predecessor(
    history: tuple[Ancestry, dict[str, str]],
) -> None:
    ancestry, tags = history
    found = predecessors(ancestry, tags)
    before = {tag: strict_ancestors(ancestry, commit) for tag, commit in tags.items()}
    order = nearest_first(ancestry, tags)

    def is_before(one: str, other: str) -> bool:
        if tags[one] == tags[other]:  # a lower version of the same commit
            return order.index(one) > order.index(other)
        return tags[one] in before[other]

    for tag, predecessor in found.items():
        candidates = [other for other in tags if other != tag and is_before(other, tag)]
        assert (predecessor is None) == (not candidates)
        if predecessor is not None:
            assert predecessor in candidates
            assert not [other for other in candidates if is_before(predecessor, other)]


@given(tagged_histories())
@pytest.mark.requirement("B-05")
def test_a_release_stands_before_all_of_its_ancestors(
    history: tuple[Ancestry, dict[str, str]],
) -> None:
    ancestry, tags = history
    order = in_order(ancestry, tags, ancestry[0][0])
    assert sorted(order) == sorted(tags)
    for number, tag in enumerate(order):
        before = strict_ancestors(ancestry, tags[tag])
        assert not [newer for newer in order[:number] if tags[newer] in before]


def test_versions_of_one_commit_stand_by_precedence() -> None:
    tags = dict.fromkeys(("v1.9.0", "v1.10.0", "v1.10.0-rc.1", "nightly"), "c0")
    ancestry: Ancestry = (("c0", ()),)
    assert nearest_first(ancestry, tags) == ["v1.10.0", "v1.10.0-rc.1", "v1.9.0", "nightly"]
    assert predecessors(ancestry, tags)["v1.10.0"] == "v1.10.0-rc.1"


def test_what_came_to_main_later_is_newer_though_it_was_made_earlier() -> None:
    ancestry: Ancestry = (
        ("merge", ("b", "side")),
        ("b", ("a",)),
        ("side", ("a",)),
        ("a", ()),
    )
    tags = {"v1.0.0": "a", "v1.1.0": "b", "v1.0.1": "side"}
    assert in_order(ancestry, tags, "merge") == ["v1.0.1", "v1.1.0", "v1.0.0"]
    assert in_order(ancestry, tags, "b") == ["v1.1.0", "v1.0.1", "v1.0.0"]
