"""What helm says becomes findings with the chart's own places."""

from __future__ import annotations

import time
from pathlib import Path

from bundler.adapters.renderers.helm_charts import Chart
from bundler.adapters.renderers.helm_words import findings_of
from bundler.model.finding import Finding

ROOT, FOLDER = Path("/tmp/tree"), Path("/tmp/home")
CHART = Chart(
    "charts/shop", False, "shop", "1.0.0",
    subcharts=(Chart("charts/shop/charts/r.tgz", True, "redis", "1.0.0"),),
)  # fmt: skip


def said(words: str) -> list[Finding]:
    return findings_of(words, CHART, ROOT, FOLDER)


def test_the_innermost_template_is_the_place() -> None:
    words = (
        "coalesce.go:286: warning: cannot overwrite table\n"
        'Error: template: shop/templates/a.yaml:3:4: executing "shop/templates/a.yaml" at '
        '<include "x" .>: error calling include: template: '
        "shop/charts/redis/templates/_x.tpl:7:5:"
        ' executing "x" at <.Values.a.b>: nil pointer\n\n'
        "Use --debug flag to render out invalid YAML\n"
    )  # fmt: skip
    (finding,) = said(words)
    assert (finding.file, finding.line) == ("charts/shop/charts/r.tgz", 7)
    assert finding.message.startswith("helm: template: shop/templates/a.yaml:3:4: ")
    assert "debug" not in finding.message
    assert "coalesce" not in finding.message


def test_paths_of_the_machine_are_not_told() -> None:
    (finding,) = said("Error: open /tmp/tree/charts/shop/x: no such file; /tmp/home/pins.json\n")
    assert finding.message == "helm: open charts/shop/x: no such file; pins.json"
    assert finding.file == "charts/shop"


def test_every_violation_is_a_finding_with_its_chart() -> None:
    words = (
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\n"
        "redis:\n- at '/port': got string, want integer\n- at '': missing property 'a'\n"
        "  - at '/x': more\nshop:\n- (root): old words\n"
    )
    assert [(f.file, f.pointer, f.message) for f in said(words)] == [
        ("charts/shop/charts/r.tgz", "",
         "values of chart redis: missing property 'a' - at '/x': more"),
        ("charts/shop/charts/r.tgz", "/port", "values of chart redis: got string, want integer"),
        ("charts/shop/values.schema.json", None, "values of chart shop: (root): old words"),
    ]  # fmt: skip


def test_nothing_said_and_too_much_said_are_findings_too() -> None:
    assert [f.message for f in said("")] == ["helm: failed without a word"]
    began = time.monotonic()
    (finding,) = said("Error: " + "a" * 60_000)
    assert len(finding.message) < 5_000
    assert time.monotonic() - began < 5
