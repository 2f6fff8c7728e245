"""files of a chart → the chart, and everything that is wrong with what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from posixpath import normpath
from typing import Any

from bundler.adapters.renderers.chart_files import Files, InvalidArchive, archive_files
from bundler.adapters.renderers.helm_charts import Chart, Dependency, Values
from bundler.adapters.schemas.references import remote_references
from bundler.manifests import InvalidYaml, read_values
from bundler.model.finding import Finding
from bundler.model.release import SemVer

MAX_DEPTH = 8
"""Of charts in charts."""
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")
_ALIAS = re.compile(r"[A-Za-z0-9_-]+")
_API_VERSIONS = ("v1", "v2")
_TYPES = (None, "", "application", "library")


def read_chart(
    files: Files, place: str, findings: list[Finding], *, is_packed: bool = False, depth: int = 0
) -> Chart | None:
    """The chart that files are; what is wrong is added to `findings`."""
    reading = _Reading(files, place, is_packed, findings)
    metadata = reading.document("Chart.yaml")
    if metadata is None or not reading.check_metadata(metadata):
        return None
    dependencies = tuple(reading.dependencies(metadata))
    subcharts = reading.subcharts(depth)
    chart = Chart(
        place,
        is_packed,
        metadata["name"],
        metadata["version"],
        metadata.get("type") == "library",
        dependencies,
        {path: content for path, content in files.items() if not path.startswith("charts/")},
        reading.document("values.yaml", {}) or {},
        tuple(subcharts),
    )
    reading.check_dependencies(chart)
    reading.check_schema()
    return chart


class _Reading:
    """One chart's files, and what is found wrong in them."""

    def __init__(self, files: Files, place: str, is_packed: bool, findings: list[Finding]) -> None:
        self._files = files
        self._place = place
        self._is_packed = is_packed
        self._findings = findings

    def report(
        self,
        rule: str,
        path: str,
        message: str,
        *,
        line: int | None = None,
        pointer: str | None = None,
        hint: str | None = None,
    ) -> None:
        file = self._place if self._is_packed else normpath(f"{self._place}/{path}")
        if self._is_packed:
            message = f"{path}: {message}"
        self._findings.append(
            Finding(rule, message, file=file, line=line, pointer=pointer, hint=hint)
        )

    def document(self, path: str, missing: Values | None = None) -> Values | None:
        """A file's mapping; None where it is not readable."""
        if path not in self._files:
            if missing is None:
                self.report("chart", path, "is not there: the folder is no chart")
            return missing
        try:
            return read_values(self._files[path])
        except InvalidYaml as error:
            self.report("invalid-yaml", path, str(error), line=error.line)
            return None

    def check_metadata(self, metadata: Values) -> bool:
        before = len(self._findings)
        name, version = metadata.get("name"), metadata.get("version")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            self.report("chart", "Chart.yaml", f"{name!r} is no name of a chart", pointer="/name")
        if not isinstance(version, str) or SemVer.parse(version) is None:
            message = f"{version!r} is no version such as 1.2.3"
            self.report("chart", "Chart.yaml", message, pointer="/version")
        if metadata.get("apiVersion") not in _API_VERSIONS:
            message = f"apiVersion {metadata.get('apiVersion')!r} is neither v1 nor v2"
            self.report("chart", "Chart.yaml", message, pointer="/apiVersion")
        if metadata.get("type") not in _TYPES:
            message = f"type {metadata.get('type')!r} is neither application nor library"
            self.report("chart", "Chart.yaml", message, pointer="/type")
        return len(self._findings) == before

    def dependencies(self, metadata: Values) -> Iterator[Dependency]:
        """Those of Chart.yaml, or of requirements.yaml as charts of the first kind have them."""
        path, declared = "Chart.yaml", metadata.get("dependencies")
        if metadata["apiVersion"] == "v1":
            path = "requirements.yaml"
            declared = (self.document(path, {}) or {}).get("dependencies")
        for index, entry in enumerate(declared if isinstance(declared, list) else ()):
            pointer = f"/dependencies/{index}"
            problem = _problem(entry)
            if problem:
                self.report("chart", path, problem, pointer=pointer)
            else:
                yield _dependency(entry)

    def subcharts(self, depth: int) -> Iterator[Chart]:
        """The charts in charts/: folders and archives. Hidden ones are none, as helm has it."""
        below: dict[str, dict[str, bytes]] = {}
        for path, content in self._files.items():
            folder, _, rest = path.removeprefix("charts/").partition("/")
            if path.startswith("charts/") and not folder.startswith(("_", ".")):
                below.setdefault(folder, {})[rest] = content
        for name, files in sorted(below.items()):
            is_archive = name.endswith(".tgz") and "" in files
            if "" in files and not is_archive:
                continue  # a file beside them, such as a README or a signature
            if depth >= MAX_DEPTH:
                self.report("chart", f"charts/{name}", "charts in charts are nested too deeply")
                continue
            unpacked = self._unpacked(name, files[""]) if is_archive else files
            chart = self._subchart(name, unpacked, is_archive, depth) if unpacked else None
            if chart:
                yield chart

    def _subchart(self, name: str, files: Files, is_archive: bool, depth: int) -> Chart | None:
        is_packed = self._is_packed or is_archive
        place = self._place if self._is_packed else normpath(f"{self._place}/charts/{name}")
        return read_chart(files, place, self._findings, is_packed=is_packed, depth=depth + 1)

    def _unpacked(self, name: str, content: bytes) -> Files:
        try:
            return archive_files(content)
        except InvalidArchive as error:
            self.report("chart-archive", f"charts/{name}", str(error))
            return {}

    def check_dependencies(self, chart: Chart) -> None:
        """Each is there, in a version that is wanted, and in the locked one if one is locked."""
        locked = self._locked()
        hint = (  # many charts' own .gitignore leaves the folder out
            f"run `helm dependency build {self._place}` and commit its charts/ folder: "
            "git add --force, where .gitignore has it"
        )
        for dependency in chart.dependencies:
            name, wanted = dependency.name, locked.get(dependency.name)
            found = [each for each in chart.subcharts if each.name == name]
            matching = [each for each in found if dependency.is_met_by(each)]
            if not found:
                self.report("chart-dependency", "charts", f"has no chart {name}", hint=hint)
            elif not matching:
                versions = ", ".join(each.version for each in found)
                message = f"has {name} {versions}, not {dependency.version}"
                self.report("chart-dependency", "charts", message, hint=hint)
            elif wanted and wanted not in {each.version.removeprefix("v") for each in matching}:
                message = f"has {name} {matching[0].version}, Chart.lock has {wanted}"
                self.report("chart-dependency", "charts", message, hint=hint)

    def _locked(self) -> Mapping[str, str]:
        """Dependency → version; none for those that are locked in several versions."""
        path = next((p for p in ("Chart.lock", "requirements.lock") if p in self._files), None)
        entries = (self.document(path, {}) or {}).get("dependencies") if path else None
        versions: dict[str, set[str]] = {}
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping):
                versions.setdefault(str(entry.get("name")), set()).add(
                    str(entry.get("version")).removeprefix("v")
                )
        return {
            name: next(iter(several)) for name, several in versions.items() if len(several) == 1
        }

    def check_schema(self) -> None:
        """A schema of values may refer to nothing but itself: helm would fetch the rest."""
        for pointer, reference in remote_references(self._files.get("values.schema.json", b"{}")):
            self.report(
                "remote-schema",
                "values.schema.json",
                f"refers to {reference}, which is not in the chart",
                pointer=pointer,
                hint="copy what it refers to into the schema's own $defs",
            )


def _problem(entry: Any) -> str | None:
    """What is wrong with an entry of `dependencies`."""
    if not isinstance(entry, Mapping):
        return "is no dependency"
    name, version, alias = entry.get("name"), entry.get("version", ""), entry.get("alias") or ""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{name!r} is no name of a chart"
    if not isinstance(version, str):
        return f"version {version!r} of {name} is no text: quote it"
    if not isinstance(alias, str) or (alias and not _ALIAS.fullmatch(alias)):
        return f"{alias!r} is no alias of a chart"
    return None


def _dependency(entry: Values) -> Dependency:
    tags = entry.get("tags")
    imports = entry.get("import-values")
    return Dependency(
        entry["name"],
        entry.get("version", ""),
        entry.get("alias") or "",
        str(entry.get("condition") or ""),
        tuple(map(str, tags)) if isinstance(tags, list) else (),
        tuple(_imports(imports)) if isinstance(imports, list) else (),
    )


def _imports(entries: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, Mapping):
            yield str(entry.get("child", "")), str(entry.get("parent", ""))
        else:
            yield f"exports.{entry}", ""
