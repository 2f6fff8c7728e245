"""What helm says where it fails → findings, with the chart's own file and line where it tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bundler.adapters.renderers.helm_charts import Chart, template_paths
from bundler.adapters.renderers.program import shortened, without_root
from bundler.model.finding import Finding

_SCHEMA = "values don't meet the specifications of the schema"
_ADVICE = "Use --debug flag to render out invalid YAML"
_VIOLATION = re.compile(r"- (?:at '(?P<pointer>[^']*)': )?(?P<message>.*)")
_PLACE = re.compile(
    r"(?P<path>[^\s:()\"]{1,400})/templates/(?P<rest>[^\s:()\"]{1,400})(?::(?P<line>\d+))?"
)


def findings_of(words: str, chart: Chart, root: Path, folder: Path) -> list[Finding]:
    """At least one finding. `folder` is ours, for what is generated."""
    text = without_root(words, root).replace(f"{folder}/", "")
    lines = [line for line in text.splitlines() if line.strip() and line.strip() != _ADVICE]
    start = next((n for n, line in enumerate(lines) if line.startswith("Error: ")), 0)
    said = "\n".join(lines[start:]).removeprefix("Error: ").strip()
    places = dict(template_paths(chart))
    if said.startswith(_SCHEMA):
        violations = list(_violations(said.splitlines()[1:], places))
        if violations:
            return violations
    return [_failure(said, places, chart)]


def _violations(lines: list[str], charts: Mapping[str, Chart]) -> Iterator[Finding]:
    """One finding for each; what is indented belongs to the line before."""
    name = ""
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("- "):
            found.append((name, line))
        elif line.startswith(" ") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            name = line.strip().rstrip(":")
    for name, line in sorted(dict.fromkeys(found)):
        match = _VIOLATION.fullmatch(line)
        chart = next((c for path, c in charts.items() if path.rpartition("/")[2] == name), None)
        yield Finding(
            "values-schema",
            f"values of chart {name}: {match['message'] if match else line}",
            file=chart.file("values.schema.json") if chart else None,
            pointer=match["pointer"] if match else None,
        )


def _failure(said: str, charts: Mapping[str, Chart], chart: Chart) -> Finding:
    found = [match for match in _PLACE.finditer(said) if match["path"] in charts]
    # The innermost template is named last; a name alone says less than one with a line.
    places = [match for match in found if match["line"]] or found
    file, line = chart.place, None
    if places:
        last = places[-1]
        file = charts[last["path"]].file(f"templates/{last['rest']}")
        line = int(last["line"]) if last["line"] else None
    message = " ".join(said.split()) or "failed without a word"
    return Finding("render", f"helm: {shortened(message)}", file=file, line=line)
