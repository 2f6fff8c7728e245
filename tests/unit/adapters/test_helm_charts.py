"""How a chart's values and those of its subcharts come together."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.renderers.helm_charts import (
    Chart,
    Dependency,
    coalesced,
    effective,
    template_paths,
)


def chart(name: str, values: dict[str, Any] | None = None, *below: Chart, **more: Any) -> Chart:
    return Chart(name, False, name, "1.0.0", values=values or {}, subcharts=below, **more)


def needing(*dependencies: Dependency, values: dict[str, Any] | None = None) -> Chart:
    return chart(
        "shop", values, chart("redis", {"port": 1, "image": {"tag": "7"}}),
        dependencies=dependencies,
    )  # fmt: skip


def names(of: Chart, given: dict[str, Any] | None = None) -> list[str]:
    return [each.name for each in effective(of, given or {})[1]]


def test_a_null_takes_a_default_away() -> None:
    defaults = {"a": {"b": 1, "c": 2}, "d": 3}
    assert coalesced(defaults, {"a": {"b": None}, "d": None, "e": None}) == {
        "a": {"c": 2},
        "e": None,
    }


def test_what_is_given_is_over_the_chart_s_and_that_over_its_subchart_s() -> None:
    of = needing(values={"redis": {"port": 2}, "a": 1})
    values, _ = effective(of, {"redis": {"image": {"tag": "8"}}})
    assert values == {"a": 1, "redis": {"port": 2, "image": {"tag": "8"}}}


def test_a_subchart_is_there_under_each_of_its_aliases() -> None:
    of = needing(Dependency("redis", "^1", "cache"), Dependency("redis", "1.0.0", "queue"))
    values, charts = effective(of, {"queue": {"port": 5}})
    assert values["cache"]["port"] == 1
    assert values["queue"]["port"] == 5
    assert len(charts) == 3
    assert [path for path, _ in template_paths(of)] == [
        "shop", "shop/charts/cache", "shop/charts/queue",
    ]  # fmt: skip


def test_a_subchart_that_nothing_asks_for_is_there_too() -> None:
    assert names(needing()) == ["shop", "redis"]


@pytest.mark.parametrize(
    ("given", "is_there"),
    [
        ({}, True),
        ({"redis": {"enabled": False}}, False),
        ({"redis": {"enabled": "false"}}, True),
        ({"tags": {"store": False}}, False),
        ({"tags": {"store": False, "more": True}}, True),
        ({"tags": {"store": False}, "redis": {"enabled": True}}, True),
        ({"global": {"redis": False}}, False),
        ({"global": {"redis": False}, "redis": {"enabled": True}}, True),
    ],
)
def test_conditions_and_tags_decide_whether_a_subchart_is_there(
    given: dict[str, Any], is_there: bool
) -> None:
    dependency = Dependency(
        "redis", condition="redis.enabled, global.redis", tags=("store", "more")
    )
    assert ("redis" in names(needing(dependency), given)) == is_there


def test_a_condition_in_a_subchart_sees_its_own_values_and_those_of_all() -> None:
    of = chart(
        "common", {}, chart("deep"), dependencies=(Dependency("deep", condition="global.deep"),)
    )
    assert names(chart("shop", {"global": {"deep": False}}, of)) == ["shop", "common"]
    assert names(chart("shop", {}, of)) == ["shop", "common", "deep"]


def test_imported_values_are_below_a_chart_s_own() -> None:
    dependency = Dependency("redis", imports=(("image", "cache.image"), ("exports.data", "")))
    of = needing(dependency, values={"cache": {"image": {"tag": "6"}}})
    given = {"redis": {"exports": {"data": {"size": 1}}, "image": {"name": "r"}}}
    values, _ = effective(of, given)
    assert values["cache"] == {"image": {"tag": "6", "name": "r"}}
    assert values["size"] == 1
