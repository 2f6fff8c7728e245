"""Helm's hooks → waves of the apply, as no helm release stands behind what a chart rendered.

What runs before an install or upgrade comes before the workloads, what runs after it comes after
them, and a chart's tests are left out. What helm runs when it deletes or rolls back would never
run here, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import WAVE, WAVES, WEIGHT, ObjectRef, is_weight, wave_of

HOOK = "helm.sh/hook"
HOOK_WEIGHT = "helm.sh/hook-weight"
_BEFORE = {"pre-install", "pre-upgrade"}
_AFTER = {"post-install", "post-upgrade"}
_NEVER = {"pre-delete", "post-delete", "pre-rollback", "post-rollback"}
_TESTS = {"test", "test-success", "test-failure"}
_FIRST = "crd-install"
_ORDERED = ("jobs", "workloads")
"""The waves, by kind alone, of what runs; everything else comes before it in any case."""


def hooked(
    place: str, documents: Iterable[Any], file: str | None = None
) -> tuple[list[Any], list[Finding]]:
    """A chart's documents with the waves of its hooks, and the hooks that cannot be.

    `place` is the target's, `file` the chart. What is no object is passed on as it is.
    """
    kept: list[Any] = []
    findings: list[Finding] = []
    for document in documents:
        hooks = _hooks(document)
        if not hooks:
            kept.append(document)
            continue
        findings += _problems(document, hooks, place, file)
        if hooks & (_BEFORE | _AFTER | {_FIRST}):
            kept.append(_in_wave(document, hooks))
    return kept, findings


def _annotations(document: Any) -> Mapping[str, Any]:
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return annotations if isinstance(annotations, Mapping) else {}


def _hooks(document: Any) -> set[str]:
    text = _annotations(document).get(HOOK)
    return {part.strip().lower() for part in str(text or "").split(",")} - {""}


def _in_wave(document: Mapping[str, Any], hooks: set[str]) -> Mapping[str, Any]:
    """The object, with the wave that its kind alone does not put it into, and its weight."""
    by_kind = wave_of(ObjectRef.of(document))
    wave = by_kind
    if _FIRST in hooks:
        wave = WAVES[0]
    elif by_kind in _ORDERED:
        wave = "jobs" if hooks & _BEFORE else "afterwards"
    weight = str(_annotations(document).get(HOOK_WEIGHT, "0"))
    said = {WAVE: wave} if wave != by_kind else {}
    if wave in ("jobs", "afterwards") and is_weight(weight) and int(weight):
        said[WEIGHT] = str(int(weight))
    if not said:
        return document
    annotations = {**_annotations(document), **said}
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


def _problems(
    document: Mapping[str, Any], hooks: set[str], place: str, file: str | None
) -> Iterable[Finding]:
    def finding(message: str, hint: str, *, warns: bool = False) -> Finding:
        return Finding(
            "helm-hook-order" if warns else "helm-hook",
            message,
            "warning" if warns else "error",
            file=file,
            pointer=json_pointer("metadata", "annotations", HOOK),
            object=str(ObjectRef.of(document)),
            environment=place,
            hint=hint,
        )

    does_run = hooks & (_BEFORE | _AFTER | {_FIRST})
    never = sorted(hooks & _NEVER)
    unknown = sorted(hooks - _NEVER - _TESTS - _BEFORE - _AFTER - {_FIRST})
    if never and not does_run:
        message = f"a {' and '.join(never)} hook would never run: no helm release is deleted here"
        yield finding(message, "switch it off in the chart's values, or do its work elsewhere")
    if unknown:
        message = f"{', '.join(unknown)} is no hook of helm: it would never run"
        yield finding(message, "helm knows pre-install, post-upgrade and the like")
    is_waited_for = wave_of(ObjectRef.of(document)) in _ORDERED
    if hooks & _BEFORE and hooks & _AFTER and is_waited_for:
        message = "runs before the workloads, once: helm would run it before one of install and "
        message += "upgrade and after the other"
        yield finding(message, "give it one order for both in the chart", warns=True)
