"""Encrypted documents travel as they were committed: their MAC knows nothing of transformers.

What was rendered says which documents a target has; the bytes come from the tag's tree, found by
the MAC. What a transformer would have changed cannot be kept, so it is refused, unless the MAC
covers encrypted values only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bundler.manifests import InvalidYaml, read_documents
from bundler.model.bundle import RenderedBundle, RenderedTarget
from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import (
    COMMIT,
    ENVIRONMENT,
    LAST_APPLIED,
    MANAGED_BY,
    OWNER,
    PART_OF,
    KubernetesObject,
    ObjectRef,
)
from bundler.model.sops import (
    SOPS,
    covers_encrypted_only,
    encrypted_values,
    is_encrypted,
    mac_of,
    without_sops,
)
from bundler.publish import restarts
from bundler.publish.encrypted_values import misuses
from bundler.publish.placement import file_of

FindCommitted = Callable[[Collection[str]], Mapping[str, bytes]]
"""Texts → the files of the tag's tree that hold one of them, by path."""

_OURS = {
    "labels": frozenset({PART_OF, MANAGED_BY, ENVIRONMENT, COMMIT}),
    "annotations": frozenset({OWNER, LAST_APPLIED}),
}
_NOT_IN_YAML = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SHOWN = 5


@dataclass(frozen=True)
class _Committed:
    path: str
    content: bytes
    documents: Sequence[Any]


def as_committed(rendered: RenderedBundle, find: FindCommitted) -> RenderedBundle:
    """The bundle with the committed bytes of its encrypted documents, and what is wrong with them.

    Workloads that use one get an annotation on their pods, so that new values restart them.
    """
    encrypted = [obj for each in rendered.targets for obj in each.objects if is_encrypted(obj)]
    committed = _by_mac(find(sorted({mac_of(obj) for obj in encrypted}))) if encrypted else {}
    targets: list[RenderedTarget] = []
    findings: list[Finding] = list(rendered.findings)
    for target in rendered.targets:
        texts: dict[ObjectRef, bytes] = {}
        for obj in target.objects:
            found = [
                replace(each, file=file_of(target.place, obj), environment=target.place)
                for each in misuses(obj)
            ]
            if is_encrypted(obj) and not found:
                content, found = _carried(target, obj, committed.get(mac_of(obj), ()))
                texts[ObjectRef.of(obj)] = content
            findings += found
        objects = restarts.with_digests(target.objects)
        targets.append(replace(target, objects=objects, encrypted=texts))
    return replace(rendered, targets=tuple(targets), findings=tuple(findings))


def _by_mac(files: Mapping[str, bytes]) -> Mapping[str, Sequence[_Committed]]:
    """The files with an encrypted document, by its MAC, in the order of their paths."""
    found: dict[str, list[_Committed]] = {}
    for path in sorted(files):
        try:
            documents = read_documents(files[path])
        except InvalidYaml:
            continue  # a template of a chart: it is no file of a document
        each = _Committed(path, files[path], documents)
        for mac in dict.fromkeys(mac_of(one) for one in documents if is_encrypted(one)):
            found.setdefault(mac, []).append(each)
    return found


def _carried(
    target: RenderedTarget, obj: KubernetesObject, candidates: Sequence[_Committed]
) -> tuple[bytes, list[Finding]]:
    """What the bundle has of an encrypted document, and why it cannot be had."""

    finding = partial(Finding, object=str(ObjectRef.of(obj)), environment=target.place)
    alone = [each for each in candidates if len(each.documents) == 1]
    if not alone:
        where = candidates[0].path if candidates else None
        problem = "has more documents than this one" if where else "is not in the tag's tree"
        return b"", [
            finding(
                "sops-source",
                f"the file of this encrypted document {problem}",
                file=where,
                hint="commit it, encrypted, in a YAML or JSON file of its own: that is a resource",
            )
        ]
    changes = [_changes(target, each.documents[0], obj) for each in alone]
    best = min(range(len(alone)), key=lambda index: len(changes[index]))
    file, changed = alone[best], changes[best]
    if not changed:
        # What placing takes away from what was rendered would travel with what was committed.
        found = misuses(file.documents[0])
        return file.content, [
            replace(each, file=file.path, environment=target.place) for each in found
        ]
    merged = _with_clear_values(file.documents[0], obj)
    if covers_encrypted_only(file.documents[0]) and _ciphers(merged) == _ciphers(file.documents[0]):
        return _as_text(merged), []
    shown = ", ".join(changed[:_SHOWN]) + (" …" if len(changed) > _SHOWN else "")
    return b"", [
        finding(
            "sops-changed",
            f"rendering changes {shown}, and SOPS' MAC covers values in clear too",
            file=file.path,
            pointer=changed[0],
            hint="say it before it is encrypted, keep transformers from it, or use "
            "mac_only_encrypted: true",
        )
    ]


# --- what differs -------------------------------------------------------------------------------


def _changes(
    target: RenderedTarget, committed: KubernetesObject, rendered: KubernetesObject
) -> list[str]:
    """JSON pointers of all that rendering changed, but for what is added again when applying."""
    return sorted(_different(_plain(committed, None), _plain(rendered, _added(target, committed))))


def _added(target: RenderedTarget, committed: KubernetesObject) -> str | None:
    """The namespace that a document gets when it is applied."""
    metadata = committed.get("metadata")
    has_own = isinstance(metadata, Mapping) and metadata.get("namespace")
    return None if has_own else target.target.namespace


def _plain(document: KubernetesObject, namespace: str | None) -> Any:
    """The document without SOPS' part and what is ours; what is null is not there."""
    plain = _without_nulls(without_sops(document))
    metadata = plain.get("metadata")
    if not isinstance(metadata, dict):
        return plain
    marks = {field: _others(metadata.get(field), keys) for field, keys in _OURS.items()}
    metadata = {**metadata, **marks}
    if namespace is not None and metadata.get("namespace") == namespace:
        del metadata["namespace"]
    return {**plain, "metadata": metadata}


def _others(marks: Any, ours: Collection[str]) -> Any:
    if not isinstance(marks, dict):
        return marks or {}
    return {key: value for key, value in marks.items() if key not in ours}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _different(one: Any, other: Any, pointer: str = "") -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            here = pointer + json_pointer(key)
            if key not in one or key not in other:
                yield here
            else:
                yield from _different(one[key], other[key], here)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _different(*pair, f"{pointer}/{index}")
    elif type(one) is not type(other) or one != other:
        yield pointer


# --- where only encrypted values are covered ----------------------------------------------------


def _with_clear_values(committed: Any, rendered: Any) -> Any:
    """What was rendered, in the order that was committed: the MAC depends on it."""
    if not (isinstance(committed, Mapping) and isinstance(rendered, Mapping)):
        return rendered
    kept = {
        key: value if key == SOPS else _with_clear_values(value, rendered[key])
        for key, value in committed.items()
        if key in rendered
    }
    return kept | {key: value for key, value in rendered.items() if key not in committed}


def _ciphers(document: KubernetesObject) -> list[tuple[str, str]]:
    return list(encrypted_values(without_sops(document)))


def _as_text(document: Any) -> bytes:
    """In its own order, as JSON, which is YAML if what YAML does not print is escaped."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    text = _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return f"{text}\n".encode()
