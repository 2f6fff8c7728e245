"""Charts that a kustomization inflates (`helmCharts`): only such as are vendored beside it.

kustomize hands what stands there to `helm template` as it is, so whatever could be read as a flag,
or fetched, or lies elsewhere is refused before it runs (kustomize#6241).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundler.adapters.renderers.chart_scan import scan_chart
from bundler.adapters.renderers.chart_templates import nondeterminism
from bundler.adapters.renderers.helm_charts import effective, overlaid
from bundler.model.finding import Finding, json_pointer

_HOME = "charts"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_FREE = frozenset({"valuesInline", "valuesMerge", "includeCRDs", "skipHooks", "skipTests", "debug"})
"""What helm is not given as text, or not at all."""
_FILES = frozenset({"valuesFile", "additionalValuesFiles"})
_REMOTE = ("repo", "devel")


def check(
    root: Path, file: Path, document: Mapping[str, Any], *, protected: bool
) -> Iterator[Finding]:
    """What is refused in a kustomization's `helmGlobals` and `helmCharts`.

    The files of values are checked as all paths are. Findings name no file where it is `file`.
    """
    settings = document.get("helmGlobals")
    settings = settings if isinstance(settings, Mapping) else {}
    if "configHome" in settings:
        message = "configHome would have helm's settings and plugins"
        yield Finding("helm-in-kustomize", message, pointer="/helmGlobals/configHome")
    home = settings.get("chartHome", _HOME)
    charts = document.get("helmCharts")
    for index, entry in enumerate(charts if isinstance(charts, list) else ()):
        if isinstance(entry, Mapping):
            yield from _entry(root, file.parent / str(home), entry, index, protected)


def _entry(
    root: Path, home: Path, entry: Mapping[str, Any], index: int, protected: bool
) -> Iterator[Finding]:
    pointer = json_pointer("helmCharts", index)
    for key in _REMOTE:
        if entry.get(key):
            yield Finding(
                "remote-base",
                f"{key} lets helm download the chart; a release is made of the tag's tree alone",
                pointer=f"{pointer}/{key}",
                hint=f"helm pull --untar --untardir {_HOME}, commit it, and take {key} out",
            )
    for key, value in entry.items():
        texts = value if isinstance(value, list) else [value]
        if key in _FREE | _FILES | set(_REMOTE):
            continue
        for text in texts:
            if isinstance(text, str) and text and not _is_plain(key, text):
                message = f"{key} {text!r} is refused: helm could take it for something else"
                yield Finding("helm-in-kustomize", message, pointer=f"{pointer}/{key}")
    name = entry.get("name")
    if isinstance(name, str) and _NAME.fullmatch(name):
        yield from _chart(root, home / name, entry, pointer, protected)


def _is_plain(key: str, text: str) -> bool:
    if key == "apiVersions":
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./-]*", text) is not None
    return _NAME.fullmatch(text) is not None


def _chart(
    root: Path, place: Path, entry: Mapping[str, Any], pointer: str, protected: bool
) -> Iterator[Finding]:
    real = place.resolve()
    if not real.is_relative_to(root):
        yield Finding("leaves-the-tree", "chartHome leaves the tag's tree", pointer=pointer)
        return
    scanned = scan_chart(root, str(real.relative_to(root)))
    yield from scanned.findings
    if scanned.chart is None or not protected:
        return
    inline = entry.get("valuesInline")
    given = overlaid([inline]) if isinstance(inline, Mapping) else {}
    values, enabled = effective(scanned.chart, given)
    yield from nondeterminism(enabled, values, ())
