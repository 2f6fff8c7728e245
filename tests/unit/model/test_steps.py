"""When an object is applied: by its kind, or as its annotations say."""

from __future__ import annotations

import pytest

from bundler.model.objects import WAVE, WEIGHT, Step
from tests.fakes.shop import obj


def step(kind: str, **annotations: str) -> tuple[str, int]:
    names = {"wave": WAVE, "weight": WEIGHT}
    said = {names[key]: value for key, value in annotations.items()}
    found = Step.of(
        obj("batch/v1" if kind == "Job" else "v1", kind, "a", metadata={"annotations": said})
    )
    return found.name, found.weight


def test_without_an_annotation_the_kind_decides() -> None:
    assert step("Job") == ("jobs", 0)
    assert step("ConfigMap") == ("configuration", 0)
    assert Step.of({}).name == "workloads"


def test_an_annotation_says_the_wave_and_the_weight() -> None:
    assert step("Job", wave="afterwards", weight="-3") == ("afterwards", -3)
    assert step("ConfigMap", wave="jobs") == ("jobs", 0)


@pytest.mark.parametrize(("wave", "weight"), [("later", "1.5"), ("", ""), ("Jobs", "1" * 20)])
def test_what_says_neither_does_not_count(wave: str, weight: str) -> None:
    assert step("Job", wave=wave, weight=weight) == ("jobs", 0)


def test_steps_come_in_their_order() -> None:
    steps = [Step(4, -1), Step(2, 5), Step(2, -5), Step(0, 0)]
    assert sorted(steps) == [Step(0, 0), Step(2, -5), Step(2, 5), Step(4, -1)]
