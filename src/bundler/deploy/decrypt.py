"""verified bundle → the same with its encrypted Secrets among the objects, before anything else.

In clear they are in memory only. A target that keeps them encrypted gets them as committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    KeyNeeded,
    Refused,
    ToolMissing,
    VerificationFailed,
)
from bundler.model.bundle import VerifiedBundle
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.sops import SOPS, CommittedObject, EncryptedDocument, placed, recipients
from bundler.parallel import threads
from bundler.ports import Decrypter, DeployTarget

PARALLEL = 8
_GRAVEST_FIRST = (VerificationFailed, Refused, KeyNeeded, ToolMissing, CouldNotCheck)
_SHOWN = 5


class _Place(NamedTuple):
    """An encrypted document of a target."""

    target: str
    document: EncryptedDocument
    owner: str
    namespace: str

    def placed(self, document: KubernetesObject) -> KubernetesObject:
        return placed(document, self.owner, self.namespace)

    @property
    def name(self) -> str:
        return str(ObjectRef.of(self.placed(self.document.document)))


def with_secrets(
    bundle: VerifiedBundle,
    environment: str,
    targets: Mapping[str, DeployTarget],
    decrypter: Decrypter,
) -> VerifiedBundle:
    """The bundle whose encrypted Secrets are among the objects of these targets.

    Each is placed as publishing places what is not encrypted. Raises KeyNeeded, ToolMissing,
    VerificationFailed (changed after it was encrypted), CouldNotCheck or Refused, with a finding
    for each that cannot be decrypted.
    """
    places = {target: _places(bundle, environment, target) for target in targets}
    to_decrypt = [
        each for target, to in targets.items() if not to.keeps_encrypted for each in places[target]
    ]
    clear = _decrypted(environment, to_decrypt, decrypter) if to_decrypt else {}
    objects, encrypted = dict(bundle.objects), dict(bundle.encrypted)
    for target, members in places.items():
        if members:
            known = {} if targets[target].keeps_encrypted else clear
            added = [_object(each, known) for each in members]
            together = (*bundle.objects.get((environment, target), ()), *added)
            objects[environment, target] = tuple(sorted(together, key=ObjectRef.of))
            del encrypted[environment, target]
    return replace(bundle, objects=objects, encrypted=encrypted)


def encrypted_in(bundle: VerifiedBundle, environment: str, target: str) -> tuple[ObjectRef, ...]:
    """The Secrets of a target that are still encrypted, by the names that they have there."""
    return tuple(
        ObjectRef.of(each.placed(each.document.document))
        for each in _places(bundle, environment, target)
    )


def _places(bundle: VerifiedBundle, environment: str, target: str) -> list[_Place]:
    documents = bundle.encrypted.get((environment, target), ())
    if not documents:
        return []
    release = cast("Mapping[str, Any]", bundle.release.value)
    namespace = release["environments"][environment]["targets"][target]["namespace"]
    owner = f"{release['project']}/{environment}/{target}"
    return [_Place(target, each, owner, namespace) for each in documents]


def _object(place: _Place, clear: Mapping[bytes, KubernetesObject]) -> KubernetesObject:
    """Placed: what was decrypted, or for a target that keeps it what was committed."""
    content = place.document.content
    if content in clear:
        return place.placed(clear[content])
    return CommittedObject(place.placed(place.document.document), content)


def _decrypted(
    environment: str, places: Sequence[_Place], decrypter: Decrypter
) -> Mapping[bytes, KubernetesObject]:
    """Encrypted text → document in clear; the same text in several targets is decrypted once."""
    with threads(PARALLEL, waits=True) as pool:
        texts = {each.document.content: each.document for each in places}
        running = {text: pool.submit(_decrypt, each, decrypter) for text, each in texts.items()}
    answers = {text: future.result() for text, future in running.items()}
    failures = [
        (each, answer)
        for each in places
        if isinstance(answer := answers[each.document.content], BundlerError)
    ]
    if failures:
        raise _failure(environment, failures)
    return {text: each for text, each in answers.items() if not isinstance(each, BundlerError)}


def _decrypt(each: EncryptedDocument, decrypter: Decrypter) -> KubernetesObject | BundlerError:
    try:
        document = decrypter.decrypt(each.content)
    except BundlerError as error:
        return error
    is_object = isinstance(document.get("metadata"), Mapping) and SOPS not in document
    if not is_object or ObjectRef.of(document) != ObjectRef.of(each.document):
        return VerificationFailed("is another document when it is decrypted")
    return document


def _failure(environment: str, failures: Sequence[tuple[_Place, BundlerError]]) -> BundlerError:
    """One error for all, of the gravest kind, naming every document."""
    findings = [
        Finding(
            error.code,
            _told(error, place.document.document),
            file=place.document.file,
            object=place.name,
            environment=f"{environment}/{place.target}",
            hint=error.hint,
        )
        for place, error in failures
    ]
    errors = [error for _, error in failures]
    gravest = next(
        (error for kind in _GRAVEST_FIRST for error in errors if isinstance(error, kind)), errors[0]
    )
    names = _shown(dict.fromkeys(place.name for place, _ in failures))
    return type(gravest)(
        f"{environment}: {gravest.message}: {names} cannot be decrypted",
        hint=gravest.hint or "nothing was changed",
        findings=findings,
    )


def _told(error: BundlerError, document: KubernetesObject) -> str:
    if not isinstance(error, KeyNeeded):
        return error.message
    return f"{error.message}: it is encrypted for {_shown(recipients(document)) or 'nobody'}"


def _shown(names: Iterable[str]) -> str:
    names = tuple(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
