"""Environments that are proposed for the charts of a repository."""

from __future__ import annotations

import pytest
import yaml

from bundler.draft.charts import MANY, DraftChart, draft_charts
from bundler.draft.flow import Wishes, draft
from bundler.model.survey import Dockerfile, Survey


@pytest.mark.parametrize(
    ("chart", "file", "environment"),
    [
        ("charts/shop", "charts/shop/values-prod.yaml", "prod"),
        ("charts/shop", "charts/shop/values.staging.yml", "staging"),
        ("charts/shop", "charts/shop/qa-values.yaml", "qa"),
        ("charts/shop", "charts/shop/values/prod-eu.yaml", "prod-eu"),
        ("charts/shop", "charts/values/prod.yaml", "prod"),
        ("charts/shop", "values/prod.yaml", "prod"),
        ("helm", "values/prod.yaml", "prod"),
        (".", "values-dev.yaml", "dev"),
    ],
)
def test_a_file_of_values_that_is_called_like_an_environment_is_proposed(
    chart: str, file: str, environment: str
) -> None:
    assert draft_charts([chart], [file]) == (DraftChart(environment, chart, (file,)),)


@pytest.mark.parametrize(
    "file", ["charts/shop/values.yaml", "charts/shop/values-redis.yaml", "other/values-prod.yaml"]
)
def test_other_files_are_not(file: str) -> None:
    assert draft_charts(["charts/shop"], [file]) == (DraftChart("prod", "charts/shop"),)


def test_subcharts_are_not_proposed_and_not_many() -> None:
    assert draft_charts(["a", "a/charts/b", "."], []) == (
        DraftChart("prod", "."),
        DraftChart("prod", "a"),
    )
    assert len(draft_charts([f"c{number}" for number in range(100)], [])) == MANY


def test_what_is_proposed_would_be_an_environment() -> None:
    found = Survey(
        "shop",
        files=frozenset({"values/prod.yaml", "cart/Dockerfile"}),
        dockerfiles=(Dockerfile("cart/Dockerfile", ()),),
        charts=("charts/shop",),
    )
    text = draft(found, Wishes()).text
    (line,) = [line for line in text.splitlines() if line.startswith("#  prod: {helm")]
    assert yaml.safe_load(line.removeprefix("#")) == {
        "prod": {
            "helm": {"chart": "charts/shop", "values": ["values/prod.yaml"]}, "namespace": "prod",
        }
    }  # fmt: skip
