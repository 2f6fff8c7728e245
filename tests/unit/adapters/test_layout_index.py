"""The index of a layout when a version moves: nothing is lost that others wrote there."""

from __future__ import annotations

import pytest

from bundler.adapters.layout.index import CONTAINERD_NAME, LayoutIndex
from bundler.model.artifact import REF_NAME
from bundler.model.reference import Digest
from tests.fakes.registry import image

FORMER = image("former").manifest.descriptor


def index(*annotations: dict[str, str]) -> LayoutIndex:
    entries = [FORMER.as_dict() | ({"annotations": each} if each else {}) for each in annotations]
    return LayoutIndex({"schemaVersion": 2, "kept": "yes", "manifests": entries})


def notes(of: LayoutIndex) -> list[object]:
    return [entry.get("annotations", {}) for entry in of.entries]


@pytest.mark.requirement("B-82")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{REF_NAME: "v1"}], [{}]),
        ([{REF_NAME: "v1"}, {}], [{}]),
        ([{REF_NAME: "v1"}, {REF_NAME: "v2"}], [{REF_NAME: "v2"}]),
        ([{REF_NAME: "v1"}, {REF_NAME: "v1"}], [{}]),
        ([{REF_NAME: "v1", "by": "us"}], [{"by": "us"}]),
        ([{REF_NAME: "v1", "by": "us"}, {REF_NAME: "v2"}], [{REF_NAME: "v2"}, {"by": "us"}]),
        ([{CONTAINERD_NAME: "registry.test/shop:v1", REF_NAME: "v1"}], [{}]),
        ([{CONTAINERD_NAME: "registry.test/shop:v1"}], [{}]),
        ([{REF_NAME: "registry.test/shop:v1"}], [{}]),
        ([{REF_NAME: "v2"}], [{REF_NAME: "v2"}]),
        ([], []),
    ],
)
def test_what_loses_its_tag_stays_known_by_its_digest(
    before: list[dict[str, str]], after: list[dict[str, str]]
) -> None:
    changed = index(*before).without_tag("v1")
    assert notes(changed) == after
    assert changed.tagged("v1") is None
    assert changed.document["kept"] == "yes"
    assert (changed.named(FORMER.digest) is None) == (not before)
    assert changed.named(Digest.of(b"other")) is None
