"""Renders charts with `helm template`, run as a program.

The program runs without network, plugins, credentials or a home folder, and only after the chart,
its subcharts and its files of values were read and found to be complete and of the tag's tree.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from bundler.adapters import programs
from bundler.adapters.renderers import program as renderer_program
from bundler.adapters.renderers.chart_scan import GivenValues, Scanned, read_given, scan_chart
from bundler.adapters.renderers.chart_templates import nondeterminism
from bundler.adapters.renderers.helm_charts import Chart, effective, overlaid
from bundler.adapters.renderers.helm_words import findings_of
from bundler.adapters.schemas.definitions import served_apis, versions
from bundler.errors import RenderFailed, ToolMissing
from bundler.model.bundle import PinnedChart
from bundler.model.finding import Finding, Severity

OLDEST = (3, 8)
NEWEST_MAJOR = 4
_SHOWN_PATHS = 6
"""Of what pins and layers set, in a hint: enough to see that they do."""
_VERSION = re.compile(r"v?((\d+)\.(\d+)\.\d+[^\s+]*)\S*")
_HOW = "install helm v3 or v4 and put it on PATH: https://helm.sh/docs/intro/install/"


class Helm:
    """Implements `bundler.ports.ChartRenderer`."""

    name = "helm"

    def __init__(
        self, program: str | None = None, *, seconds: float = renderer_program.SECONDS
    ) -> None:
        """`program` is a path or name; None is `helm` on PATH."""
        self._program = program or "helm"
        self._seconds = seconds
        self._version: str | None = None
        self._scanned: dict[tuple[Path, str], Scanned] = {}
        self._lock = threading.Lock()

    def version(self) -> str:
        """Such as `v3.22.0`. Raises ToolMissing."""
        if self._version is None:
            self._version = self._ask_version()
        return self._version

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:
        """What a chart's templates would see as values, before `chart.values`; see the port."""
        read, given = self._checked(Path(tree).resolve(), chart)
        return effective(read, given.together)[0]

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:
        """What in a chart's templates is not always the same; see the port."""
        read, given = self._checked(Path(tree).resolve(), chart)
        values, enabled = effective(read, overlaid([given.together, chart.values]))
        severity: Severity = "error" if chart.pinned.environment.protected else "warning"
        return [
            replace(finding, environment=chart.place, severity=severity)
            for finding in nondeterminism(enabled, values, given.files)
        ]

    def render(self, tree: PurePath, chart: PinnedChart) -> bytes:
        """The YAML documents of a chart; see the port."""
        root = Path(tree).resolve()
        read, _ = self._checked(root, chart)
        self.version()
        with _folder(chart) as folder:
            try:
                done = self._run(_arguments(root, chart, folder), folder)
            except (programs.TimeLimit, programs.OutputLimit) as error:
                finding = Finding("render", f"helm: {error}", file=chart.release.chart)
                raise _failure(chart, [finding]) from error
            except OSError as error:
                raise _missing(self._program) from error
            if done.code:
                raise _failure(chart, findings_of(done.words, read, root, folder))
            return done.output

    def _checked(self, root: Path, chart: PinnedChart) -> tuple[Chart, GivenValues]:
        """Raises RenderFailed with all that is refused."""
        scanned = self._scan(root, chart.release.chart)
        given = read_given(root, chart.release.values)
        findings = [*scanned.findings, *given.findings]
        if findings or scanned.chart is None:
            raise _refusal(chart, findings)
        return scanned.chart, given

    def _scan(self, root: Path, folder: str) -> Scanned:
        """A tree does not change: a chart of many targets is read once."""
        with self._lock:
            key = (root, folder)
            if key not in self._scanned:
                self._scanned[key] = scan_chart(root, folder)
            return self._scanned[key]

    def _run(self, arguments: Sequence[str], folder: Path) -> programs.Completed:
        program = renderer_program.find([self._program])
        if program is None:
            raise _missing(self._program)
        return renderer_program.run(
            [program, *arguments],
            home=folder,
            folder=folder,
            seconds=self._seconds,
            more=_environment(folder),
        )

    def _ask_version(self) -> str:
        with tempfile.TemporaryDirectory(prefix="bundler-") as folder:
            try:
                done = self._run(["version", "--short"], Path(folder))
            except (OSError, programs.TimeLimit, programs.OutputLimit) as error:
                raise ToolMissing(f"{self._program}: cannot be run: {error}", hint=_HOW) from error
        match = _VERSION.search(done.output.decode(errors="replace"))
        if not match:
            raise ToolMissing(f"{self._program}: does not tell its version of helm", hint=_HOW)
        if not (OLDEST <= (int(match[2]), int(match[3])) < (NEWEST_MAJOR + 1, 0)):
            oldest = ".".join(map(str, OLDEST))
            raise ToolMissing(
                f"{self._program}: helm v{match[1]} is neither v{oldest} or newer nor v4",
                hint=_HOW,
            )
        return f"v{match[1]}"


def _missing(name: str) -> ToolMissing:
    return ToolMissing(f"{name} is not installed", hint=_HOW)


@contextmanager
def _folder(chart: PinnedChart) -> Iterator[Path]:
    """A folder with the values of the pins, which is also the program's home."""
    with tempfile.TemporaryDirectory(prefix="bundler-chart-") as name:
        folder = Path(name).resolve()
        (folder / "pins.json").write_text(json.dumps(chart.values), "utf-8")
        yield folder


def _arguments(root: Path, chart: PinnedChart, folder: Path) -> list[str]:
    release = chart.release
    files = [root / path for path in release.values]
    arguments = ["template", release.name, str((root / release.chart).resolve())]
    arguments += ["--namespace", chart.pinned.target.namespace]
    arguments += ["--kube-version", _full_version(chart.kubernetes)]
    for api in (*_own_apis(chart.kubernetes), *release.api_versions):
        arguments += ["--api-versions", api]
    arguments += ["--include-crds", "--skip-tests"]
    for file in (*files, folder / "pins.json"):
        arguments += ["--values", _quoted(str(file))]
    return arguments


def _own_apis(kubernetes: str) -> tuple[str, ...]:
    """What helm would learn from a cluster: by itself it knows versions, kinds it does not."""
    return served_apis(kubernetes) if kubernetes in versions() else ()


def _full_version(kubernetes: str) -> str:
    """As clusters say their version: `1.36` → `v1.36.0`."""
    return "v" + ".".join([*kubernetes.removeprefix("v").split("."), "0", "0"][:3])


def _quoted(path: str) -> str:
    """A path as an entry of a list: helm splits at commas, as in CSV."""
    return '"' + path.replace('"', '""') + '"' if set(path) & set(',"') else path


def _environment(home: Path) -> dict[str, str]:
    """Every place where helm would look for plugins, repositories and clusters: empty."""
    return {
        "HELM_CACHE_HOME": str(home / "cache"),
        "HELM_CONFIG_HOME": str(home / "config"),
        "HELM_DATA_HOME": str(home / "data"),
        "HELM_PLUGINS": str(home / "plugins"),
        "HELM_NO_PLUGINS": "1",
        "HELM_REGISTRY_CONFIG": str(home / "registry.json"),
        "HELM_REPOSITORY_CACHE": str(home / "repositories"),
        "HELM_REPOSITORY_CONFIG": str(home / "repositories.yaml"),
        "KUBECONFIG": os.devnull,
    }


def _refusal(chart: PinnedChart, findings: Sequence[Finding]) -> RenderFailed:
    problems = f"{len(findings)} problem{'s' if len(findings) > 1 else ''}"
    return RenderFailed(
        f"{chart.place}: chart {chart.release.chart} has {problems}",
        findings=[replace(finding, environment=chart.place) for finding in findings],
    )


def _failure(chart: PinnedChart, findings: Sequence[Finding]) -> RenderFailed:
    release = chart.release
    return RenderFailed(
        f"{chart.place}: chart {release.chart} does not render",
        hint=f"{_command(chart)} at the tag shows more",
        findings=[replace(finding, environment=chart.place) for finding in findings],
    )


def _command(chart: PinnedChart) -> str:
    """How its author gets the same: what pins and layers set matters to what a template says."""
    release = chart.release
    files = "".join(f" --values {path}" for path in release.values)
    paths = list(_paths(chart.values, ""))
    more = " …" if len(paths) > _SHOWN_PATHS else ""
    setting = f", with --set of {', '.join(paths[:_SHOWN_PATHS])}{more}," if paths else ""
    return f"helm template {release.name} {release.chart}{files}{setting}"


def _paths(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
