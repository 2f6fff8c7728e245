"""Versions are set once: what makes a tag visible, and who of several is told that he lost."""

from __future__ import annotations

import time

from bundler.adapters.registry_api import RegistryApi
from bundler.adapters.registry_http import TRANSIENT, Response
from bundler.adapters.registry_manifests import is_stored, misses_parts, put, resolved
from bundler.adapters.registry_patience import Broken
from bundler.errors import BundlerError, CouldNotCheck, VersionExists
from bundler.model.artifact import Blob
from bundler.model.reference import Repository

LONGEST_SETTLING = 5.0
_SLOWNESS = 4
"""Others may be slower than we, by so much."""


def publish(api: RegistryApi, repository: Repository, manifest: Blob, tag: str) -> None:
    """Make a manifest visible under a tag that nobody has, or that has it already.

    The API has no "only if absent". So the registry is asked before, and again after a while (the
    settling delay, not needed where the tag was there before): of all who published other content
    meanwhile, only the one at the tag succeeds. Where the registry keeps tags immutable, it is
    always exactly one. Elsewhere a window remains: whoever has seen no tag, and stalls for longer
    than the settling delay before the registry takes what he sends, replaces a version that was
    reported as published. Nobody does so by trying again: the registry is asked before each
    attempt. Nothing is lost then: both contents stay there by their digests.

    A tag that is made of the digest is set at once: nobody has other content for it.

    Raises VersionExists, Unreachable, CouldNotCheck, VerificationFailed.
    """
    patience = api.http.patience
    if manifest.descriptor.digest.hex in tag:
        answer = _attempt(api, repository, manifest, tag)
        if isinstance(answer, Response) and is_stored(answer):
            return
    refusal: BundlerError | None = None
    for attempt in range(patience.attempts):
        asked_at = time.monotonic()
        present = resolved(api, repository, tag)
        if present is None:
            answer = _attempt(api, repository, manifest, tag)
            refusal = _refusal(api, answer)
            if not _is_certain(answer):
                _settle(patience.settling, time.monotonic() - asked_at)
            present = resolved(api, repository, tag)
        if present is not None or not _may_pass(answer, attempt):
            break
        time.sleep(patience.pause(attempt, None))
    if present is None:
        raise refusal or CouldNotCheck(f"{repository}:{tag} was taken, but cannot be found")
    if present != manifest.descriptor.digest:
        raise VersionExists(f"{repository}:{tag} is published with other content ({present})")


def _attempt(
    api: RegistryApi, repository: Repository, manifest: Blob, tag: str
) -> Response | Broken:
    """Not repeated unseen: meanwhile another may have the tag."""
    try:
        return put(api, repository, manifest, tag, repeatable=False)
    except Broken as error:
        return error


def _refusal(api: RegistryApi, answer: Response | Broken) -> BundlerError | None:
    if isinstance(answer, Broken):
        return answer
    return None if is_stored(answer) else api.refusal(answer)


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
