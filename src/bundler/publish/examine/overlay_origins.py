"""Where an overlay has a value from: which of the kustomizations and files that it is made of.

The parts are rendered as the whole is. What has the same value without a kustomization's own
changes has it from below, and there the question is asked again; else the kustomization sets it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, NamedTuple

from bundler.manifests import InvalidYaml, line_numbers, read_documents
from bundler.model.bundle import PinnedOverlay
from bundler.model.layers import find, same
from bundler.model.objects import HASH_SUFFIX, KubernetesObject, ObjectRef
from bundler.ports import ReadTree, Renderer
from bundler.publish.examine.kustomization_fields import touching
from bundler.publish.placement import flattened

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_DEEPEST = 30


class Written(NamedTuple):
    """A place in the tag's tree where a value stands, as far as it can be told."""

    file: str
    line: int | None
    words: str


class Overlays:
    """The overlays of one exported tree; each part is rendered once."""

    def __init__(
        self, tree: PurePath, overlay: PinnedOverlay, renderer: Renderer, read: ReadTree
    ) -> None:
        self._tree = tree
        self._overlay = replace(overlay, config_maps={})
        self._renderer = renderer
        self._read = read
        self._rendered: dict[tuple[str, int | None], Sequence[KubernetesObject]] = {}

    def object(self, ref: ObjectRef) -> KubernetesObject | None:
        """What the overlay alone makes of an object."""
        return find_object(self._documents(self._overlay.folder), ref)

    def origin(self, ref: ObjectRef, steps: Sequence[str]) -> Written | None:
        """Where the overlay has a field from; None where it has it not. Raises RenderFailed."""
        obj = self.object(ref)
        found = find(obj, steps) if obj is not None else None
        if found is None:
            return None
        return self._descend(self._overlay.folder, ref, steps, found.value, _DEEPEST)

    def _descend(
        self, folder: str, ref: ObjectRef, steps: Sequence[str], value: Any, depth: int
    ) -> Written:
        """`folder` has a kustomization that gives the object this value."""
        file, document, text = self._kustomization(folder)
        own = self._written_in(file, text, document, ref, steps, value)
        if depth == 0:
            return own
        components = document.get("components")
        components = components if isinstance(components, list) else []
        lower = lower_ref(ref, document)

        def has_value(stage: int) -> bool:
            found = self._value(self._documents(folder, stage), (lower, ref), steps)
            return found is not None and same(found, value)

        if components:
            if not has_value(len(components)):
                return own
            for number in range(len(components), 0, -1):
                if not has_value(number - 1):
                    place = posixpath.normpath(posixpath.join(folder, str(components[number - 1])))
                    return self._written_in(*self._component(place), ref, steps, value)
        for entry in _entries(document, "resources", "bases"):
            found = self._in_resource(folder, entry, lower, steps, value, depth)
            if found is not None:
                return found
        return own

    def _in_resource(
        self,
        folder: str,
        entry: str,
        ref: ObjectRef,
        steps: Sequence[str],
        value: Any,
        depth: int,
    ) -> Written | None:
        """Where a resource has the value; None where it has not the object, or another value."""
        place = posixpath.normpath(posixpath.join(folder, entry))
        _, _, is_folder = self._kustomization(place)
        if not is_folder:
            files = self._read([place])
            return _in_file(place, files.get(place, b""), ref, steps, value)
        found = self._value(self._documents(place), (ref,), steps)
        if found is None or not same(found, value):
            return None
        return self._descend(place, ref, steps, value, depth - 1)

    def _documents(self, folder: str, components: int | None = None) -> Sequence[KubernetesObject]:
        key = folder, components
        if key not in self._rendered:
            overlay = replace(self._overlay, folder=folder)
            if components is None:
                output = self._renderer.render(self._tree, overlay)
            else:
                output = self._renderer.render_part(self._tree, overlay, components)
            documents = flattened(read_documents(output))
            self._rendered[key] = [each for each in documents if isinstance(each, Mapping)]
        return self._rendered[key]

    def _value(
        self,
        documents: Sequence[KubernetesObject],
        refs: Sequence[ObjectRef],
        steps: Sequence[str],
    ) -> Any:
        for ref in refs:
            obj = find_object(documents, ref)
            if obj is not None:
                found = find(obj, steps)
                return found.value if found else None
        return None

    def _component(self, folder: str) -> tuple[str, bytes, Mapping[str, Any]]:
        file, document, text = self._kustomization(folder)
        return file, text, document

    def _written_in(
        self,
        file: str,
        text: bytes,
        document: Mapping[str, Any],
        ref: ObjectRef,
        steps: Sequence[str],
        value: Any,
    ) -> Written:
        """The place in a kustomization, or in one of its patches, that sets the value."""

        def read(path: str) -> tuple[str, bytes] | None:
            place = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
            files = self._read([place])
            return (place, files[place]) if place in files else None

        for name in (ref, lower_ref(ref, document)):
            touched = touching(document, name, steps, value, read)
            if touched is None:
                continue
            if touched.file is not None:
                return Written(touched.file, touched.line, f"{touched.what} of {file}")
            return Written(file, line_numbers(text).get(touched.pointer), touched.what)
        return Written(file, None, "something in it")

    def _kustomization(self, folder: str) -> tuple[str, Mapping[str, Any], bytes]:
        names = [posixpath.normpath(posixpath.join(folder, name)) for name in KUSTOMIZATIONS]
        files = self._read(names)
        file = next((name for name in names if name in files), names[0])
        text = files.get(file, b"")
        try:
            documents = read_documents(text)
        except InvalidYaml:
            documents = []
        document = documents[0] if documents and isinstance(documents[0], Mapping) else {}
        return file, document, text


def lower_ref(ref: ObjectRef, document: Mapping[str, Any]) -> ObjectRef:
    """What an object is called below a kustomization that adds to its name."""
    name = ref.name
    prefix, suffix = str(document.get("namePrefix") or ""), str(document.get("nameSuffix") or "")
    name = name.removeprefix(prefix)
    hashed = HASH_SUFFIX.search(name)
    plain = HASH_SUFFIX.sub("", name) if ref.kind in ("ConfigMap", "Secret") else name
    if suffix and plain.endswith(suffix):
        name = plain.removesuffix(suffix) + (hashed[0] if hashed and plain != name else "")
    return ref._replace(name=name)


def find_object(documents: Sequence[KubernetesObject], ref: ObjectRef) -> KubernetesObject | None:
    """An object by kind and name, whatever its namespace is and its generated name ends with."""
    wanted = _plain(ref)
    found = [each for each in documents if _plain(ObjectRef.of(each)) == wanted]
    own = [each for each in found if ObjectRef.of(each).namespace == ref.namespace]
    return next(iter(own or found), None)


def _plain(ref: ObjectRef) -> tuple[str, str, str]:
    is_generated = ref.kind in ("ConfigMap", "Secret")
    return ref.group, ref.kind, HASH_SUFFIX.sub("", ref.name) if is_generated else ref.name


def _in_file(
    file: str, text: bytes, ref: ObjectRef, steps: Sequence[str], value: Any
) -> Written | None:
    try:
        documents = read_documents(text)
    except InvalidYaml:
        return None
    for number, document in enumerate(documents):
        if isinstance(document, Mapping) and _plain(ObjectRef.of(document)) == _plain(ref):
            found = find(document, steps)
            if found is not None and same(found.value, value):
                line = line_numbers(text, number).get(found.pointer)
                return Written(file, line, "the object")
    return None


def _entries(document: Mapping[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        value = document.get(key)
        yield from (str(entry) for entry in (value if isinstance(value, list) else ()))
