"""The files of a project's layers: which target has which, what they hold, what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bundler.adapters.project import values
from bundler.adapters.project.targets import line_of
from bundler.manifests import InvalidYaml, line_numbers, read_documents
from bundler.model.finding import Finding
from bundler.model.layers import LEVELS, Layer, Level, in_order
from bundler.model.project import Project
from bundler.ports import DocumentSchemas, ReadTree

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_YAML = (".yaml", ".yml")


class Layered(NamedTuple):
    project: Project
    findings: tuple[Finding, ...]
    """Errors; what is only worth a warning is the project's."""


def check(document: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with the templates, and the types and clusters that they need."""
    templates = document.get("layers", {})
    for level, template in templates.items():
        used = _PLACEHOLDER.findall(template)
        pointer = f"/layers/{level}"
        if level == "base" and used:
            yield _finding(pointer, "the base is one file for all: it has no {…}")
        elif level != "base" and level not in used:
            yield _finding(pointer, f"has no {{{level}}}", "as in " + _example(level))
        elif used and "/" not in template.partition("{")[0]:
            yield _finding(pointer, "must lie in a folder", "as in " + _example(level))
    named = {name for template in templates.values() for name in _PLACEHOLDER.findall(template)}
    if "type" in named:
        for place in values.places_of_targets(document):
            if not place.type:
                hint = "give the environment or target one"
                message = f"has no type, as {_naming(templates, 'type')} needs"
                yield _finding(place.pointer, message, hint)
    yield from _meaningless(document, {"type", "cluster"} - named)


def _meaningless(document: Mapping[str, Any], keys: set[str]) -> Iterator[Finding]:
    """A key that no layer asks for would change nothing."""
    for name, environment in document.get("environments", {}).items():
        pointer = f"/environments/{name}"
        targets = (environment.get("targets") or {}).items()
        settings = {pointer: environment} | {f"{pointer}/targets/{t}": own for t, own in targets}
        for place, given in settings.items():
            for key in sorted(keys & (given or {}).keys()):
                message = f"has a meaning only where layers name {{{key}}}"
                yield _finding(f"{place}/{key}", message)


def _example(level: str) -> str:
    return f"config/{level}/{{{level}}}.yaml"


def _naming(templates: Mapping[str, str], name: str) -> str:
    return next(f"layers.{level}" for level, text in templates.items() if f"{{{name}}}" in text)


def _finding(pointer: str, message: str, hint: str | None = None) -> Finding:
    return Finding("project-file", message, pointer=pointer, hint=hint)


# --- files --------------------------------------------------------------------------------------


def with_layers(
    project: Project, document: Mapping[str, Any], read: ReadTree, schemas: DocumentSchemas
) -> Layered:
    """The project whose targets have the layers that the tree has for them."""
    templates: Mapping[Level, str] = document.get("layers", {})
    if not templates:
        return Layered(project, ())
    templates = {level: values.path(template) for level, template in templates.items()}
    contents = read(sorted({_folder(template) for template in templates.values()}))
    files = _Files(contents, schemas)
    wanted = _wanted(document, templates)
    for place, paths in wanted.items():
        files.check(place, paths, templates)

    def pointer(environment: str, target: str) -> str:
        return values.pointer_of(environment, target, document["environments"][environment])

    environments = {
        name: replace(
            environment,
            targets=tuple(
                replace(target, layers=files.layers(wanted[pointer(name, target.name)]))
                for target in environment.targets
            ),
        )
        for name, environment in project.environments.items()
    }
    used = {path for paths in wanted.values() for path in paths.values()}
    warnings = tuple(_unused(contents, templates, used))
    layered = replace(project, environments=environments, warnings=(*project.warnings, *warnings))
    return Layered(layered, tuple(files.findings))


def _folder(template: str) -> str:
    """What has to be read: the file, or the folder that all files of a level are in."""
    fixed, placeholder, _ = template.partition("{")
    return fixed.rpartition("/")[0] if placeholder else fixed


def _wanted(
    document: Mapping[str, Any], templates: Mapping[Level, str]
) -> dict[str, dict[Level, str]]:
    """Pointer of each target, disabled ones too → level → the file that it would have."""
    found: dict[str, dict[Level, str]] = {}
    for place in values.places_of_targets(document, disabled=True):
        names = {
            "environment": place.environment,
            "type": place.type,
            "cluster": place.cluster or place.target,
            "namespace": place.namespace,
        }
        found[place.pointer] = {
            level: template.format_map(names) for level, template in templates.items()
        }
    return found


class _Files:
    """Layers by file: each is read once, and told of once."""

    def __init__(self, contents: Mapping[str, bytes], schemas: DocumentSchemas) -> None:
        self._contents = contents
        self._schemas = schemas
        self._layers: dict[tuple[Level, str], Layer] = {}
        self._missing: set[tuple[str, str]] = set()
        self.findings: list[Finding] = []

    def layers(self, paths: Mapping[Level, str]) -> tuple[Layer, ...]:
        return in_order(
            self._layer(level, path) for level, path in paths.items() if path in self._contents
        )

    def check(
        self, pointer: str, paths: Mapping[Level, str], templates: Mapping[Level, str]
    ) -> None:
        """The base and a type that is named must have their files; the others need not."""
        for level in ("base", "type"):
            path = paths.get(level)
            if path is None or path in self._contents:
                continue
            place = pointer if level == "type" else "/layers/base"
            if (place, path) not in self._missing:
                self._missing.add((place, path))
                hint = _nearest(path, templates[level], self._contents)
                self.findings.append(_finding(place, f"{level} layer: there is no {path}", hint))

    def _layer(self, level: Level, path: str) -> Layer:
        if (level, path) not in self._layers:
            self._layers[level, path] = self._read(level, path)
        return self._layers[level, path]

    def _read(self, level: Level, path: str) -> Layer:
        content = self._contents[path]
        try:
            documents = read_documents(content)
        except InvalidYaml as error:
            self.findings.append(Finding("invalid-yaml", str(error), file=path, line=error.line))
            return Layer(level, path)
        given = documents[0] if documents else {}
        lines = line_numbers(content)
        found = list(self._schemas.check("layer", given))
        if len(documents) > 1:
            found.append(Finding("schema", "holds more than one document", pointer=""))
        self.findings += [
            replace(each, file=path, line=line_of(each.pointer or "", lines)) for each in found
        ]
        if found:
            return Layer(level, path)
        maps = {name: content or {} for name, content in (given.get("configMaps") or {}).items()}
        objects = tuple(given.get("objects") or ())
        return Layer(level, path, given.get("values") or {}, objects, maps, lines)


def _nearest(path: str, template: str, contents: Mapping[str, bytes]) -> str | None:
    known = [each for each in contents if _is_of(each, template)]
    close = get_close_matches(path, known, n=1, cutoff=0.7)
    if close:
        return f"did you mean {close[0]}?"
    return f"there is {', '.join(sorted(known))}" if known else f"commit {path}"


def _is_of(path: str, template: str) -> bool:
    """Whether a path could be of a level's: in the same place, and YAML where the level is."""
    parts, wanted = PurePosixPath(path).parts, PurePosixPath(template).parts
    if len(parts) != len(wanted) or "{" not in template:
        return False
    for part, pattern in zip(parts[:-1], wanted[:-1], strict=True):
        if "{" not in pattern and part != pattern:
            return False
    if "{" not in wanted[-1]:
        return parts[-1] == wanted[-1]
    return parts[-1].endswith(_YAML)


def _unused(
    contents: Mapping[str, bytes], templates: Mapping[Level, str], used: set[str]
) -> Iterator[Finding]:
    """A name that no target has is most likely misspelt."""
    for path in sorted(contents.keys() - used):
        for level in LEVELS:
            if level in templates and _is_of(path, templates[level]):
                hint = f"layers.{level} is {templates[level]}: is its name misspelt?"
                yield Finding(
                    "unused-layer", "no target has this layer", "warning", file=path, hint=hint
                )
                break
