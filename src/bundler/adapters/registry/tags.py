"""Versions are set once: what makes a tag visible, and who of several is told that he lost."""

from __future__ import annotations

import time
from http import HTTPStatus

from bundler.adapters.registry.api import RegistryApi
from bundler.adapters.registry.http import TRANSIENT, Response
from bundler.adapters.registry.manifests import is_stored, misses_parts, put, resolved
from bundler.adapters.registry.patience import Broken
from bundler.adapters.registry.version_conflicts import other_content
from bundler.errors import BundlerError, CouldNotCheck, VersionExists
from bundler.model.artifact import Blob
from bundler.model.reference import Digest, Repository

LONGEST_SETTLING = 5.0
_SLOWNESS = 4
"""Others may be slower than we, by so much."""
_IMMUTABLE_HINT = (
    "where its tags are immutable, let this one change for a moment and run it again; "
    "or publish under a new tag"
)


def publish(
    api: RegistryApi,
    repository: Repository,
    manifest: Blob,
    tag: str,
    replaces: Digest | None = None,
) -> None:
    """Make a manifest visible under a tag that has it already, or nothing, or only `replaces`.

    The API has no "only if absent", nor "only if it is this". So the registry is asked before, and
    again after a while (the settling delay, not needed where something else was there before): of
    all who published other content meanwhile, only the one at the tag succeeds. Where the registry
    keeps tags immutable, it is always exactly one. Elsewhere a window remains: whoever has seen no
    tag, and stalls for longer than the settling delay before the registry takes what he sends,
    replaces a version that was reported as published. Nobody does so by trying again: the registry
    is asked before each attempt. Nothing is lost then: both contents stay there by their digests.

    A tag that is made of the digest is set at once: nobody has other content for it.

    Raises VersionExists, Refused, Unreachable, CouldNotCheck, VerificationFailed.
    """
    digest = manifest.descriptor.digest
    patience = api.http.patience
    if digest.hex in tag:
        answer = _attempt(api, repository, manifest, tag)
        if isinstance(answer, Response) and is_stored(answer):
            return
    place = f"{repository}:{tag}"
    for attempt in range(patience.attempts):
        asked_at = time.monotonic()
        present = resolved(api, repository, tag)
        if present == digest:
            return
        if present != replaces:
            raise other_content(place, present, replaces)
        answer = _attempt(api, repository, manifest, tag)
        if not _is_certain(answer):
            _settle(patience.settling, time.monotonic() - asked_at)
        present = resolved(api, repository, tag)
        if present != replaces or not _may_pass(answer, attempt):
            break
        time.sleep(patience.pause(attempt, None))
    if present == digest:
        return
    if present != replaces:
        raise other_content(place, present, replaces)
    raise _not_set(api, place, answer, replaces)


def _attempt(
    api: RegistryApi, repository: Repository, manifest: Blob, tag: str
) -> Response | Broken:
    """Not repeated unseen: meanwhile another may have the tag."""
    try:
        return put(api, repository, manifest, tag, repeatable=False)
    except Broken as error:
        return error


def _not_set(
    api: RegistryApi, place: str, answer: Response | Broken, replaces: Digest | None
) -> BundlerError:
    """Why a tag is as it was before, where nobody else has changed it."""
    if isinstance(answer, Broken):
        return answer
    if is_stored(answer):
        shown = f"still has {replaces}" if replaces else "cannot be found"
        return CouldNotCheck(f"{place} was taken, but {shown}")
    refusal = api.refusal(answer)
    # What 401 says has to do with who asks, and a manifest is refused for what it is.
    is_of_the_tag = answer.status != HTTPStatus.UNAUTHORIZED and not misses_parts(answer, 0)
    if replaces is None or not is_of_the_tag or answer.status in TRANSIENT:
        return refusal
    return VersionExists(f"{place} stays {replaces}: {refusal.message}", hint=_IMMUTABLE_HINT)


def _may_pass(answer: Response | Broken, attempt: int) -> bool:
    if isinstance(answer, Broken) or answer.status in TRANSIENT:
        return True
    return misses_parts(answer, attempt)


def _is_certain(answer: Response | Broken) -> bool:
    """Whether the registry has refused: what is there now is there to stay."""
    if isinstance(answer, Broken) or answer.status in TRANSIENT:
        return False
    return not is_stored(answer)


def _settle(seconds: float, elapsed: float) -> None:
    time.sleep(max(seconds, min(elapsed * _SLOWNESS, LONGEST_SETTLING)))
