"""The story of one service, in words and as a value (docs/resolution.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bundler.cli import output, results
from bundler.cli.output import short
from bundler.model.history import Candidate
from bundler.model.lock import ResolvedVia
from bundler.publish.explain import Explanation
from bundler.publish.search import Attempt

_SHOWN = 20
_WHY: dict[ResolvedVia, str] = {
    "first-parent": "the commit on the first-parent line that brought these inputs",
    "history": "the commit that git log shows for these inputs",
    "identical-tree": "another commit with identical inputs",
    "tag-commit": "the tag's own commit, which has the same inputs",
    "submodule": "the commit that the tag records for the submodule",
    "repository": "the commit that its own repository gives",
    "latest-label": "a commit with these inputs, named by the label of the image `latest`",
}


def lines(told: Explanation) -> Iterator[str]:
    yield f"{told.service.name} at {told.revision.tag} ({told.revision.commit})"
    yield ""
    yield from _inputs(told)
    yield ""
    yield from _candidates(told)
    yield ""
    yield f"Asked {told.place}:"
    yield from _attempts(told.attempts)
    yield ""
    yield from _end(told)


def _inputs(told: Explanation) -> Iterator[str]:
    service = told.service
    if service.submodule:
        yield f"It is the submodule {service.submodule}: the commit that the tag records decides."
        return
    if service.repository:
        ref = service.repository.ref or f"the tag {told.revision.tag}"
        yield f"Its source is {service.repository.url}, at {ref}."
        return
    yield "It is built from:"
    own = set(service.paths)
    for each in told.inputs:
        former = f", formerly {', '.join(each.former)}" if each.former else ""
        yield f"  {each.path}{former}{'' if each.path in own else '  (a library)'}"
    if told.libraries:
        yield f"Libraries that it uses: {', '.join(told.libraries)}."
    if service.ignore:
        yield f"Files that do not count: {' '.join(service.ignore)}"
    if told.tree_digest:
        yield f"At the tag, these inputs have the digest {told.tree_digest}."


def _candidates(told: Explanation) -> Iterator[str]:
    count = len(told.candidates)
    if count == 0:
        yield "No commit is known."
        return
    if told.service.paths:
        plural = "s have" if count > 1 else " has"
        yield f"{count} commit{plural} exactly these inputs, in the order of asking:"
    else:
        yield "Its commit:"
    for candidate in told.candidates[:_SHOWN]:
        yield f"  {short(candidate.commit)}  {_commit(told, candidate)}"
    if count > _SHOWN:
        yield f"  … and {count - _SHOWN} more"


def _commit(told: Explanation, candidate: Candidate) -> str:
    summary = told.summaries.get(candidate.commit)
    if summary is None:
        return _WHY[candidate.via]
    value = results.summary_value(summary)
    return f"{value['date'][:10]}  {summary.subject} ({summary.author}): {_WHY[candidate.via]}"


def _attempts(attempts: Sequence[Attempt]) -> Iterator[str]:
    if not attempts:
        yield "  nothing could be asked"
    for attempt in attempts[:_SHOWN]:
        yield f"  {attempt.outcome:<11}  {attempt.reference}"
    if len(attempts) > _SHOWN:
        yield f"  … and {len(attempts) - _SHOWN} more; -o json has all of them"
        yield from (
            f"  {attempt.outcome:<11}  {attempt.reference}"
            for attempt in attempts[_SHOWN:]
            if attempt.outcome == "found"
        )


def _end(told: Explanation) -> Iterator[str]:
    image = told.image
    if image is None:
        yield f"No image is taken: {told.error.message if told.error else 'unknown'}."
        for finding in told.error.findings if told.error else ():
            yield f"  {finding.message}"
            if finding.hint:
                yield f"    {finding.hint}"
        if told.error and told.error.hint:
            yield f"What to do: {told.error.hint}."
        return
    yield f"Taken: {image.image}:{image.tag}@{image.digest}"
    yield f"  of commit {image.commit},"
    yield f"  {_WHY[image.resolved_via]}."
    for finding in told.warnings:
        yield f"  warning: {finding.message}"


def value(told: Explanation) -> dict[str, Any]:
    return {
        "release": {"tag": told.revision.tag.name, "commit": told.revision.commit},
        "service": told.service.name,
        "inputs": [
            {"path": each.path, "ignore": list(each.ignore), "former": list(each.former)}
            for each in told.inputs
        ],
        "libraries": list(told.libraries),
        "treeDigest": told.tree_digest,
        "askedIn": str(told.place),
        "candidates": [
            {"commit": candidate.commit, "via": candidate.via}
            | (results.summary_value(summary) if summary else {})
            for candidate in told.candidates
            for summary in [told.summaries.get(candidate.commit)]
        ],
        "tried": [
            {"reference": attempt.reference, "outcome": attempt.outcome}
            for attempt in told.attempts
        ],
        "image": results.image_value(told.image) if told.image else None,
        "warnings": [finding.as_dict() for finding in told.warnings],
        "error": output.error_value(told.error) if told.error else None,
    }
