"""Which entry or patch of a kustomization touches a field of an object, where that can be told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bundler.manifests import InvalidYaml, line_numbers, read_documents
from bundler.model.finding import json_pointer
from bundler.model.layers import find, same
from bundler.model.objects import HASH_SUFFIX, ObjectRef, image_name

ReadFile = Callable[[str], tuple[str, bytes] | None]
"""A path as the kustomization has it → the path in the tree, and the content."""
_WORKLOADS = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


class Touched(NamedTuple):
    what: str
    """Such as `patches[0]`."""
    pointer: str
    """Into the kustomization."""
    file: str | None = None
    """The file of a patch."""
    line: int | None = None


def touching(
    document: Mapping[str, Any], ref: ObjectRef, steps: Sequence[str], value: Any, read: ReadFile
) -> Touched | None:
    """The last of what touches the field: later entries are put on earlier ones."""
    found = [
        *_generators(document, ref, steps, value),
        *_patches(document, ref, steps, value, read),
        *_fields(document, ref, steps, value),
    ]
    return found[-1] if found else None


def _generators(
    document: Mapping[str, Any], ref: ObjectRef, steps: Sequence[str], value: Any
) -> Iterator[Touched]:
    field = {"ConfigMap": "configMapGenerator", "Secret": "secretGenerator"}.get(ref.kind, "")
    name = HASH_SUFFIX.sub("", ref.name)
    for index, entry in _entries(document, field):
        if entry.get("name") != name or len(steps) != 2:
            continue
        pointer = f"/{field}/{index}"
        literals = entry.get("literals")
        for number, literal in enumerate(literals if isinstance(literals, list) else ()):
            key, _, text = str(literal).partition("=")
            if key == steps[1] and text.strip("'\"") == str(value).strip("'\""):
                yield Touched(f"{field}[{name}].literals", f"{pointer}/literals/{number}")
                break
        else:
            for source in ("files", "envs", "env"):
                if entry.get(source) and not literals:
                    yield Touched(f"{field}[{name}].{source}", f"{pointer}/{source}")


def _fields(
    document: Mapping[str, Any], ref: ObjectRef, steps: Sequence[str], value: Any
) -> Iterator[Touched]:
    path = tuple(steps)
    for index, entry in _entries(document, "replicas"):
        is_meant = entry.get("name") == ref.name and ref.kind in _WORKLOADS
        if path == ("spec", "replicas") and is_meant and entry.get("count") == value:
            yield Touched(f"replicas[{ref.name}]", f"/replicas/{index}/count")
    for index, entry in _entries(document, "images"):
        names = (entry.get("newName"), entry.get("name"))
        if path[-1:] == ("image",) and image_name(str(value)) in names:
            yield Touched(f"images[{entry.get('name')}]", f"/images/{index}")
    if path == ("metadata", "namespace") and document.get("namespace") == value:
        yield Touched("namespace", "/namespace")
    for field, step in (("commonLabels", "labels"), ("commonAnnotations", "annotations")):
        pairs = document.get(field)
        is_meant = len(path) >= 2 and path[-2] in (step, "matchLabels", "selector")
        if is_meant and isinstance(pairs, Mapping) and path[-1] in pairs:
            yield Touched(field, json_pointer(field, path[-1]))
    for index, entry in _entries(document, "labels"):
        pairs = entry.get("pairs")
        if len(path) >= 2 and isinstance(pairs, Mapping) and path[-1] in pairs:
            yield Touched("labels", f"/labels/{index}/pairs{json_pointer(path[-1])}")


# --- patches ------------------------------------------------------------------------------------


class _Patch(NamedTuple):
    what: str
    pointer: str
    target: Mapping[str, Any] | None
    file: str | None
    text: bytes


def _patches(
    document: Mapping[str, Any], ref: ObjectRef, steps: Sequence[str], value: Any, read: ReadFile
) -> Iterator[Touched]:
    for patch in _all_patches(document, read):
        try:
            documents = read_documents(patch.text)
        except InvalidYaml:
            continue
        for number, content in enumerate(documents):
            pointer = None
            if isinstance(content, list) and _is_target(patch.target or {}, ref):
                pointer = _by_operation(content, steps, value)
            elif isinstance(content, Mapping) and _is_for(patch, content, ref):
                found = find(content, steps)
                is_it = found is not None and same(found.value, value)
                pointer = found.pointer if found is not None and is_it else None
            if pointer is not None:
                lines = line_numbers(patch.text, number) if patch.file else {}
                yield Touched(patch.what, patch.pointer, patch.file, lines.get(pointer))


def _all_patches(document: Mapping[str, Any], read: ReadFile) -> Iterator[_Patch]:
    merges = document.get("patchesStrategicMerge")
    for index, text in enumerate(merges if isinstance(merges, list) else ()):
        place = f"patchesStrategicMerge[{index}]", f"/patchesStrategicMerge/{index}"
        found = None if "\n" in str(text) else read(str(text))
        file, content = found or (None, str(text).encode())
        yield _Patch(*place, None, file, content)
    for field in ("patchesJson6902", "patches"):
        for index, entry in _entries(document, field):
            place = f"{field}[{index}]", f"/{field}/{index}"
            target = entry.get("target")
            target = target if isinstance(target, Mapping) else None
            if isinstance(entry.get("patch"), str):
                yield _Patch(*place, target, None, entry["patch"].encode())
            elif isinstance(entry.get("path"), str) and (found := read(entry["path"])):
                yield _Patch(*place, target, *found)


def _is_for(patch: _Patch, content: Mapping[str, Any], ref: ObjectRef) -> bool:
    if patch.target:
        return _is_target(patch.target, ref)
    named = ObjectRef.of(content)
    return (named.group, named.kind, named.name) == (ref.group, ref.kind, ref.name)


def _is_target(target: Mapping[str, Any], ref: ObjectRef) -> bool:
    """As far as names go; labels are not looked at."""
    wanted = {"group": ref.group, "kind": ref.kind, "name": ref.name}
    try:
        return all(
            re.fullmatch(str(target[key]), text) for key, text in wanted.items() if key in target
        )
    except re.error:
        return False


def _by_operation(operations: Sequence[Any], steps: Sequence[str], value: Any) -> str | None:
    """JSON pointer of the operation that puts the value there, into the patch."""
    touched = None
    for index, operation in enumerate(operations):
        if not isinstance(operation, Mapping) or operation.get("op") not in ("add", "replace"):
            continue
        path = tuple(str(operation.get("path", "")).split("/")[1:])
        path = tuple(step.replace("~1", "/").replace("~0", "~") for step in path)
        # An item is named by its number here, and by its name in what was asked for.
        pairs = zip(path, steps, strict=False)
        is_on_the_way = len(path) <= len(steps) and all(
            one == other or one.isdecimal() or one == "-" for one, other in pairs
        )
        inner = find(operation.get("value"), steps[len(path) :]) if is_on_the_way else None
        if inner is not None and same(inner.value, value):
            touched = f"/{index}/value{inner.pointer}"
    return touched


def _entries(document: Mapping[str, Any], field: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    value = document.get(field)
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, Mapping):
            yield index, entry
