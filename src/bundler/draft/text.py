"""The text of a drafted project file: keys in reading order, comments, quotes where needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bundler.draft.charts import DraftChart
from bundler.draft.parts import (
    Check,
    DraftEnvironment,
    DraftLibrary,
    DraftService,
    DraftTarget,
    shown,
)
from bundler.model.project import DEFAULT_TARGET

Value: TypeAlias = "str | bool | Sequence[Value] | Mapping[str, Value]"
WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_PLAIN_ALONE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?:[:@][A-Za-z0-9_./-]+)*")
"""On a line of its own; in a flow collection old readers stumble over a colon."""
_RESERVED = frozenset({
    "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
})  # fmt: skip


@dataclass(frozen=True)
class DraftedProject:
    name: str
    source: str | None
    deploy_registry: str
    branches: tuple[str, ...]
    registry: str
    external: tuple[str, ...]
    services: tuple[DraftService, ...]
    libraries: tuple[DraftLibrary, ...]
    environments: tuple[DraftEnvironment, ...]
    charts: tuple[DraftChart, ...]
    checks: tuple[Check, ...]


def project_text(project: DraftedProject) -> str:
    sections = (
        _head(project),
        _places(project),
        _images(project),
        _services(project),
        _libraries(project),
        _environments(project),
    )
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections if section)


def _head(project: DraftedProject) -> list[str]:
    return [
        "# What the releases of this project are made of; docs/project-file.md has every key.",
        "# Drafted by `bundler init` from the files of the repository; `check:` marks what they",
        "# do not tell.",
        "apiVersion: bundler/v1",
        "kind: Project",
        f"name: {scalar(project.name)}",
    ]


def _places(project: DraftedProject) -> list[str]:
    source = project.source
    lines = [
        "# The repository's URL, for annotations.",
        f"source: {scalar(source, _PLAIN_ALONE)}"
        if source
        else "# source: https://git.example.com/shop/shop",
        "",
        "# Where releases are published to.",
        *_marks(project.checks, "deployRegistry: "),
        f"deployRegistry: {scalar(project.deploy_registry, _PLAIN_ALONE)}",
        "",
        "# A release's tag is on one of these branches.",
        *_marks(project.checks, "releases.branches: "),
    ]
    if project.branches:
        return [*lines, "releases:", f"  branches: {flow(project.branches)}"]
    return [*lines, "# releases: {branches: [main]}"]


def _images(project: DraftedProject) -> list[str]:
    lines = [
        "images:",
        "  # Clusters pull the image of service NAME from here: registry/NAME:COMMIT.",
        *_marks(project.checks, "images.registry: ", "  "),
        f"  registry: {scalar(project.registry, _PLAIN_ALONE)}",
    ]
    if project.external:
        lines += [
            "  # Third-party images that the manifests use; `*` may stand for a part of one.",
            "  external:",
            *(f"    - {scalar(image, _PLAIN_ALONE)}" for image in project.external),
        ]
    return lines


def _services(project: DraftedProject) -> list[str]:
    lines = [
        "# What is built into an image: from which files and folders, and with which libraries.",
        "services:",
    ]
    for service in project.services:
        settings: dict[str, Value] = {"paths": service.paths}
        if service.uses:
            settings["uses"] = service.uses
        if service.image:
            settings["image"] = service.image
        if service.names:
            settings["names"] = service.names
        lines += _marks_of("service", service.name, project.checks)
        lines += entry(service.name, settings, "  ")
    return lines


def _libraries(project: DraftedProject) -> list[str]:
    if not project.libraries:
        return []
    lines = [
        "# What services share: a change here needs new images of all that use it.",
        "libraries:",
    ]
    for library in project.libraries:
        lines += entry(library.name, {"paths": library.paths}, "  ")
    return lines


def _environments(project: DraftedProject) -> list[str]:
    lines = [
        "# Where releases are installed: a kustomize overlay or a chart, and a namespace each."
    ]
    if project.charts:
        lines.append("# Helm charts could be installed so; docs/helm.md says how images are found:")
        lines += [f"#{line}" for chart in project.charts for line in _chart(chart)]
    if not project.environments:
        return [
            *lines,
            "# check: no overlay was taken for an environment; one would be",
            "# environments:",
            "#   prod: {kustomize: overlays/prod, namespace: shop}",
        ]
    lines.append("environments:")
    for environment in project.environments:
        lines += _marks_of("environment", environment.name, project.checks)
        lines += entry(environment.name, _settings(environment), "  ")
    return lines


def _chart(chart: DraftChart) -> Iterator[str]:
    values = {"values": chart.values} if chart.values else {}
    settings: dict[str, Value] = {
        "helm": {"chart": chart.chart, **values},
        "namespace": chart.environment,
    }
    return entry(chart.environment, settings, "  ")


def _settings(environment: DraftEnvironment) -> dict[str, Value]:
    first, *others = environment.targets
    settings: dict[str, Value] = {"kustomize": first.folder}
    if not others and first.name == DEFAULT_TARGET:
        settings["namespace"] = first.namespace
    if not environment.protected:
        settings["protected"] = False
    if environment.without:
        settings["without"] = environment.without
    if others or first.name != DEFAULT_TARGET:
        settings["targets"] = {t.name: _target(t, first) for t in environment.targets}
    return settings


def _target(target: DraftTarget, first: DraftTarget) -> dict[str, Value]:
    own: dict[str, Value] = {"namespace": target.namespace}
    if target.folder != first.folder:
        own["kustomize"] = target.folder
    return own


# --- comments -----------------------------------------------------------------------------------


def _marks_of(kind: str, name: str, checks: Iterable[Check]) -> Iterator[str]:
    for check in checks:
        if (check.kind, check.name) == (kind, name):
            yield f"  # check: {shown(check.message)}"


def _marks(checks: Iterable[Check], start: str, indent: str = "") -> Iterator[str]:
    for check in checks:
        if not check.kind and check.message.startswith(start):
            yield f"{indent}# check: {shown(check.message.removeprefix(start))}"


# --- values -------------------------------------------------------------------------------------


def entry(name: str, value: Mapping[str, Value], indent: str) -> Iterator[str]:
    """A key and its mapping, on one line where it fits."""
    line = f"{indent}{scalar(name)}: {flow(value)}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{indent}{scalar(name)}:"
    for key, inner in value.items():
        yield from _inner(key, inner, indent + "  ")


def _inner(key: str, value: Value, indent: str) -> Iterator[str]:
    line = f"{indent}{scalar(key)}: {flow(value)}"
    if len(line) <= WIDTH or isinstance(value, (str, bool)):
        yield line
    elif isinstance(value, Mapping):
        yield from entry(key, value, indent)
    else:
        yield f"{indent}{scalar(key)}:"
        yield from (f"{indent}  - {flow(item)}" for item in value)


def flow(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{scalar(k)}: {flow(v)}' for k, v in value.items())}}}"
    return f"[{', '.join(map(flow, value))}]"


def scalar(text: str, plain: re.Pattern[str] = _PLAIN) -> str:
    """Text that every reader of YAML takes for this string; quoted unless it is `plain`."""
    if plain.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return shown(json.dumps(text, ensure_ascii=False))
