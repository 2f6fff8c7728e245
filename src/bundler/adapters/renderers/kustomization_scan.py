"""Reads every kustomization that an overlay reaches, before kustomize does.

Refused is what would take something from elsewhere than the tag's tree (remote bases and files,
absolute paths, paths out of the tree) and what would run programs (functions). Charts are
inflated where they are vendored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bundler.adapters.renderers import kustomize_charts
from bundler.adapters.renderers.near_paths import near_sibling
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.finding import Finding

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MAX_BYTES = 4 * 1024 * 1024
_FOLDERS = ("resources", "bases", "components")
_PLUGINS = ("generators", "transformers", "validators")
_FILES = ("crds", "configurations", "patchesStrategicMerge")
_PATH_KEYS = frozenset(
    {"path", "paths", "files", "envs", "env", "valuesFile", "additionalValuesFiles"}
)
_FREE_TEXT = frozenset(
    {
        "commonLabels",
        "commonAnnotations",
        "labels",
        "images",
        "literals",
        "generatorOptions",
        "valuesInline",
        "vars",
    }
)
_CHARTS = "helmCharts"
_OLD_CHARTS = "helmChartInflationGenerator"
_REMOTE = re.compile(
    r"^[A-Za-z0-9+.-]+://|^git::|^gh:|^[\w.-]+@[\w.-]+:|^(?:www\.)?(?:github|gitlab)\.com[/:]"
    r"|^bitbucket\.org[/:]|\.git(?:/|$)|[?&](?:ref|version|timeout|submodules)=",
    re.IGNORECASE,
)
_FUNCTION = "config.kubernetes.io/function"


def find_kustomization(folder: Path) -> Path | None:
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def is_remote(entry: str) -> bool:
    """Whether an entry of a kustomization names something outside of the repository."""
    return _REMOTE.search(entry) is not None


class Scanned(NamedTuple):
    findings: tuple[Finding, ...]
    """Everything that is refused."""
    has_charts: bool
    """Whether helm is needed."""


def scan(root: Path, overlay: str, environment: str, *, protected: bool = True) -> Scanned:
    """What is refused in all that an overlay (a folder in the tree) reaches.

    In protected environments that is also what a chart may render differently each time.
    """
    found = _Scan(root.resolve(), environment, protected)
    found.visit_folder((root / overlay).resolve())
    return Scanned(tuple(found.findings), found.has_charts)


class _Scan:
    """One walk; each folder and file is read once, so that a circle ends it."""

    def __init__(self, root: Path, environment: str, protected: bool) -> None:
        self._root = root
        self._environment = environment
        self._protected = protected
        self._seen: set[Path] = set()
        self.findings: list[Finding] = []
        self.has_charts = False

    def visit_folder(self, folder: Path) -> None:
        kustomization = find_kustomization(folder)
        if kustomization is None or folder in self._seen:
            return
        self._seen.add(folder)
        for document in self._documents(kustomization):
            self._visit(kustomization, document)

    def _documents(self, file: Path) -> list[Mapping[str, Any]]:
        real = file.resolve()
        if not real.is_relative_to(self._root):
            self._report("leaves-the-tree", file, f"{file.name} links out of the tag's tree")
            return []
        try:
            if real.stat().st_size > MAX_BYTES:
                raise InvalidYaml(f"larger than {MAX_BYTES} bytes")
            documents = _parsed(real.read_bytes())
        except (InvalidYaml, OSError) as error:
            line = error.line if isinstance(error, InvalidYaml) else None
            self._report("invalid-yaml", file, str(error), line=line)
            return []
        return [document for document in documents if isinstance(document, Mapping)]

    def _visit(self, file: Path, document: Mapping[str, Any]) -> None:
        if _OLD_CHARTS in document:
            message = f"{_OLD_CHARTS} would let helm download charts"
            hint = "write helmCharts, with the chart in the repository"
            self._report("helm-in-kustomize", file, message, pointer=f"/{_OLD_CHARTS}", hint=hint)
        if document.get(_CHARTS):
            self.has_charts = True
            found = kustomize_charts.check(self._root, file, document, protected=self._protected)
            self.findings += [
                replace(each, file=each.file or self._name(file), environment=self._environment)
                for each in found
            ]
        for pointer, entry in _entries(document, _FOLDERS):
            self._visit_entry(file, pointer, entry)
        for pointer, entry in _entries(document, _FILES):
            if "\n" not in entry:
                self._local(file, pointer, entry)
        for pointer, entry in _entries(document, _PLUGINS):
            self._visit_plugin(file, pointer, entry)
        for pointer, entry in _path_values(document, ""):
            self._local(file, pointer, entry)

    def _visit_entry(self, file: Path, pointer: str, entry: str) -> Path | None:
        place = self._local(file, pointer, entry)
        if place is not None and place.is_dir():
            self.visit_folder(place)
        elif place is not None and not place.exists():
            near = near_sibling(place)
            hint = f"did you mean {PurePosixPath(entry).with_name(near)}?" if near else None
            message = f"{entry} is not in the tag's tree"
            self._report("missing-file", file, message, pointer=pointer, hint=hint)
        return place

    def _visit_plugin(self, file: Path, pointer: str, entry: str) -> None:
        """A plugin's configuration stands in the list itself, in a file or in a folder."""
        if "\n" in entry:
            try:
                documents = read_documents(entry)
            except InvalidYaml:
                documents = []  # a name with a line break in it: kustomize says what it is
            self._check_plugins(file, file, documents)
            return
        place = self._visit_entry(file, pointer, entry)
        if place is not None and place.is_file():
            self._check_plugins(file, place, self._documents(place))

    def _check_plugins(self, user: Path, file: Path, documents: Iterable[Any]) -> None:
        """`file` has the configurations; their paths start at the folder of its `user`."""
        for document in documents:
            if not isinstance(document, Mapping):
                continue
            kind = str(document.get("kind") or "a plugin")
            if document.get("apiVersion") != "builtin" or _FUNCTION in str(document):
                self._report("plugin", file, f"{kind} would run a program")
            elif kind.startswith("Helm"):
                self._report("helm-in-kustomize", file, f"{kind} would run helm")
            for pointer, entry in _path_values(document, ""):
                self._local(user, pointer, entry, written_in=file)

    def _local(
        self, file: Path, pointer: str, entry: str, *, written_in: Path | None = None
    ) -> Path | None:
        """The place that an entry names from a file's folder; None where it is refused."""
        place = (file.parent / entry).resolve()
        if is_remote(entry):
            rule, problem = "remote-base", "is remote; a release is made of the tag's tree alone"
        elif entry.startswith("/"):
            rule, problem = "leaves-the-tree", "is an absolute path"
        elif not place.is_relative_to(self._root):
            rule, problem = "leaves-the-tree", "leaves the tag's tree"
        else:
            return place
        self._report(rule, written_in or file, f"{entry} {problem}", pointer=pointer)
        return None

    def _report(
        self,
        rule: str,
        file: Path,
        message: str,
        *,
        pointer: str | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        hint = "copy it into the repository" if rule == "remote-base" else hint
        self.findings.append(
            Finding(
                rule,
                message,
                file=self._name(file),
                line=line,
                pointer=pointer,
                environment=self._environment,
                hint=hint,
            )
        )

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self._root)) if file.is_relative_to(self._root) else file.name


@lru_cache(maxsize=4096)
def _parsed(content: bytes) -> Sequence[Any]:
    """Overlays have most of what they reach in common: it is parsed once."""
    return tuple(read_documents(content))


def _entries(document: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        value = document.get(key)
        for index, entry in enumerate(value if isinstance(value, list) else ()):
            if isinstance(entry, str):
                yield f"/{key}/{index}", entry


def _path_values(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    """Every file that a field names: the values of path, files, envs; not free text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _FREE_TEXT:
                continue
            here = f"{pointer}/{key}"
            if key in _PATH_KEYS:
                yield from _named_files(inner, here)
            else:
                yield from _path_values(inner, here)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _path_values(inner, f"{pointer}/{index}")


def _named_files(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    values = enumerate(value) if isinstance(value, list) else [(None, value)]
    for index, text in values:
        if isinstance(text, str) and "\n" not in text:
            # A generator's file may have a key: `settings.json=files/prod.json`.
            name, equals, path = text.partition("=")
            is_keyed = equals and "/" not in name and ":" not in name
            yield (pointer if index is None else f"{pointer}/{index}"), path if is_keyed else text
