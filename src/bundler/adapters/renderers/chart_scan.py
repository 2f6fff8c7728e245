"""Reads a chart and its files of values before helm does.

Refused is what would take something from elsewhere than the tag's tree (missing dependencies,
links, remote schemas) and what no chart may have. Nothing is ever downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bundler.adapters.renderers.chart_files import folder_files
from bundler.adapters.renderers.chart_reading import read_chart
from bundler.adapters.renderers.helm_charts import Chart, Values, overlaid
from bundler.adapters.renderers.near_paths import near_folder, near_sibling
from bundler.manifests import InvalidYaml, read_values
from bundler.model.finding import Finding

MAX_BYTES = 5 * 1024 * 1024
"""Of a file of values."""


@dataclass(frozen=True)
class Scanned:
    """A chart as it was read; None where it is none, and the findings say why."""

    chart: Chart | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class GivenValues:
    """Files of values, in their order, and what is wrong with them."""

    files: tuple[tuple[str, Values], ...]
    findings: tuple[Finding, ...]

    @property
    def together(self) -> Values:
        return overlaid(values for _, values in self.files)


def scan_chart(root: Path, folder: str) -> Scanned:
    """The chart in a folder of the tag's tree. A library is none that can be installed."""
    place = root / folder
    if not place.resolve().is_relative_to(root.resolve()):
        return _refused("leaves-the-tree", "is not in the tag's tree", folder)
    if not place.is_dir():
        near = near_folder(root.resolve(), folder, ("Chart.yaml",))
        hint = f"did you mean {near}?" if near else None
        return _refused("chart", "is no folder of the tag's tree", folder, hint)
    files, findings = folder_files(root, place)
    chart = read_chart(files, folder, findings)
    if chart is not None and chart.is_library:
        message = "is a library: it has no objects of its own"
        findings.append(Finding("chart", message, file=f"{folder}/Chart.yaml", pointer="/type"))
    return Scanned(chart, tuple(findings))


def _refused(rule: str, message: str, folder: str, hint: str | None = None) -> Scanned:
    return Scanned(None, (Finding(rule, message, file=folder, hint=hint),))


def read_given(root: Path, paths: tuple[str, ...]) -> GivenValues:
    """The files of values that a project file names."""
    files: list[tuple[str, Values]] = []
    findings: list[Finding] = []
    for path in paths:
        place = root / path
        try:
            if not place.resolve().is_relative_to(root.resolve()):
                findings.append(Finding("leaves-the-tree", "leaves the tag's tree", file=path))
            elif not place.is_file():
                near = near_sibling(place)
                hint = f"did you mean {PurePosixPath(path).with_name(near)}?" if near else None
                findings.append(
                    Finding("missing-file", "is not in the tag's tree", file=path, hint=hint)
                )
            elif place.stat().st_size > MAX_BYTES:
                findings.append(
                    Finding("invalid-yaml", f"has more than {MAX_BYTES} bytes", file=path)
                )
            else:
                files.append((path, read_values(place.read_bytes())))
        except InvalidYaml as error:
            findings.append(Finding("invalid-yaml", str(error), file=path, line=error.line))
    return GivenValues(tuple(files), tuple(findings))
