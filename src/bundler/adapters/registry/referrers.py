"""Referrers: manifests about another one, by the referrers API and by the fallback tag.

Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema". Registries that
have got the API later still have older referrers under the tag, so both are read. What other tools
wrote there need not make sense, and nothing of it is believed but digest, size and media type.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from bundler.adapters.registry.api import (
    RegistryApi,
    error_codes,
    read_answer,
    sent_digest,
    verified,
)
from bundler.adapters.registry.http import Response
from bundler.adapters.registry.manifests import ACCEPT, MANIFEST_TYPES, is_stored, put
from bundler.adapters.registry.urls import host_of, joined, origin_of
from bundler.errors import BundlerError, CouldNotCheck, VerificationFailed
from bundler.manifests import read_json
from bundler.model.artifact import INDEX, Blob, Descriptor
from bundler.model.manifest_parts import manifest_parts
from bundler.model.reference import Digest, Repository

MAX_REFERRERS = 1_000
MAX_PAGES = 1_000
_UNSUPPORTED = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_ACCEPTABLE,
)
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


def fallback_tag(subject: Digest) -> str:
    """The tag of the index of a manifest's referrers, where a registry has no API for them."""
    return f"sha256-{subject.hex}"


def subject_of(manifest: Blob) -> Digest | None:
    """What a manifest refers to; None where it does not, or makes no sense."""
    try:
        return manifest_parts(read_json(manifest.content)).subject
    except ValueError:
        return None


def listed(entries: Iterable[object], subject: Digest) -> tuple[Descriptor, ...]:
    """The manifests in entries of indexes, each once, without junk; at most 1,000."""
    found: dict[Digest, Descriptor] = {}
    for entry in entries:
        descriptor = _descriptor(entry)
        if descriptor and descriptor.digest != subject:
            found.setdefault(descriptor.digest, descriptor)
        if len(found) == MAX_REFERRERS:
            break
    return tuple(found.values())


def entry_of(manifest: Blob) -> dict[str, object]:
    """A referrer as an index of referrers has it: with its kind and annotations."""
    parts = manifest_parts(read_json(manifest.content))
    entry = replace(manifest.descriptor, annotations=parts.annotations).as_dict()
    return entry | ({"artifactType": parts.artifact_type} if parts.artifact_type else {})


class Referrers:
    """Referrers in one registry; thread-safe."""

    def __init__(self, api: RegistryApi) -> None:
        self._api = api
        self._with_api: set[str] = set()
        self._without_api: set[str] = set()
        """Repositories, not hosts: one host may serve several kinds."""
        self._changing = threading.Lock()
        """Fallback tags are changed by one thread at a time: the API cannot compare and set."""

    def of(self, repository: Repository, subject: Digest) -> tuple[Descriptor, ...]:
        """What `bundler.ports.ContentReader.referrers` says."""
        entries = self._by_api(repository, subject) or []
        if len(entries) < MAX_REFERRERS:
            index = self._fallback(repository, subject)
            entries += _entries(index) if isinstance(index, dict) else []
        return listed(entries, subject)

    def keep(self, repository: Repository, manifest: Blob, subject: Digest) -> None:
        """List a manifest that was stored under the fallback tag, where there is no API.

        Whether there is one is asked: some registries say `OCI-Subject`, and list nothing.
        Raises CouldNotCheck, also where others change the list without an end.
        """
        name = repository.name
        if name in self._with_api or self._by_api(repository, subject) is not None:
            return
        with self._changing:
            self._keep_by_tag(repository, manifest, subject)

    # --- the API ---

    def _by_api(self, repository: Repository, subject: Digest) -> list[object] | None:
        """None where there is no API."""
        api, name = self._api, repository.name
        if name in self._without_api:
            return None
        url = api.referrers_url(name, subject)
        entries: list[object] = []
        seen: set[str] = set()
        while url not in seen and len(seen) < MAX_PAGES and len(entries) < MAX_REFERRERS:
            seen.add(url)
            # Whether a filter was applied does not matter: none is asked for.
            response = api.ask(url, headers={"Accept": INDEX})
            page = _page(response)
            if page is None:
                if len(seen) > 1 or response.status not in (*_UNSUPPORTED, HTTPStatus.OK):
                    raise api.refusal(response)
                if not error_codes(response):  # else only the repository may be unknown
                    self._without_api.add(name)
                return None
            self._with_api.add(name)
            entries += page
            following = _NEXT.search(response.headers.get("Link", ""))
            if following is None:
                break
            url = joined(url, following[1])
            if origin_of(url) != origin_of(api.origin):
                raise CouldNotCheck(f"{api.host} continues its referrers on another host")
        return entries

    # --- the tag ---

    def _fallback(self, repository: Repository, subject: Digest) -> object:
        """The document under the fallback tag; None where there is none.

        Junk is an empty list; what comes damaged, twice, is not. Raises VerificationFailed.
        """
        try:
            return self._fallback_once(repository, subject)
        except VerificationFailed:
            return self._fallback_once(repository, subject)

    def _fallback_once(self, repository: Repository, subject: Digest) -> object:
        api, tag = self._api, fallback_tag(subject)
        response = api.ask(api.manifest_url(repository.name, tag), headers={"Accept": ACCEPT})
        if api.is_missing(response):
            return None
        api.expect(response, HTTPStatus.OK)
        if digest := sent_digest(response):
            verified(f"{repository}:{tag}", digest, response.content)
        return read_answer(response) or {}

    def _keep_by_tag(self, repository: Repository, manifest: Blob, subject: Digest) -> None:
        api, tag = self._api, fallback_tag(subject)
        patience = api.http.patience
        refusal: BundlerError | None = None
        for attempt in range(patience.attempts + 1):
            index = self._fallback(repository, subject)
            if _lists(index, manifest.descriptor.digest):
                return
            if attempt == patience.attempts:
                break
            if attempt:  # another writer was faster, and has read what was before us
                time.sleep(patience.pause(attempt, None))
            response = put(
                api, repository, _with_entry(index, manifest, f"{repository}:{tag}"), tag
            )
            refusal = None if is_stored(response) else api.refusal(response)
        raise refusal or CouldNotCheck(
            f"{repository}:{tag} is changed by others again and again", hint="try again later"
        )


def _page(response: Response) -> list[object] | None:
    """The entries of an answer of the API; None where it is no such answer."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if response.status != HTTPStatus.OK or media_type != INDEX:
        return None
    document = read_answer(response)
    if not isinstance(document, dict):
        host = host_of(response.request.url)
        raise CouldNotCheck(f"{host} answers with a list of referrers that is damaged")
    return _entries(document)


def _entries(index: Mapping[str, Any]) -> list[object]:
    entries = index.get("manifests")
    return list(entries) if isinstance(entries, list) else []


def _descriptor(entry: object) -> Descriptor | None:
    if not isinstance(entry, dict) or entry.get("mediaType") not in MANIFEST_TYPES:
        return None
    size, annotations = entry.get("size"), entry.get("annotations")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        return None
    try:
        digest = Digest.parse(entry["digest"])
    except (ValueError, KeyError, TypeError):
        return None
    return Descriptor(entry["mediaType"], digest, size, dict(_texts(annotations)))


def _texts(annotations: object) -> Iterator[tuple[str, str]]:
    if isinstance(annotations, dict):
        yield from ((key, value) for key, value in annotations.items() if isinstance(value, str))


def _lists(index: object, digest: Digest) -> bool:
    entries = _entries(index) if isinstance(index, dict) else []
    return any(isinstance(entry, dict) and entry.get("digest") == str(digest) for entry in entries)


def _with_entry(index: object, manifest: Blob, place: str) -> Blob:
    """The index with one more entry; what others wrote stays as it is."""
    if index is None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise CouldNotCheck(f"{place} is no list of referrers", hint="delete this tag")
    changed = {**index, "mediaType": INDEX, "manifests": [*_entries(index), entry_of(manifest)]}
    return Blob.of(INDEX, json.dumps(changed).encode())
