"""A registry's tag lists: `oras.provider.Registry` on our own HTTP.

What `oras` gives: the API's URLs and the tag list. What is overridden, and why: `do_request` (no
timeouts, any exception retried for two minutes, redirects followed blindly, a token sent to
whatever URL an answer names) and the pages of the tag list (followed to any host, and for ever).
What it would do with manifests and blobs is not used: it re-serialises the ones, does not check
the others, and has what it sends and receives whole in memory. Imported when it is needed: it
brings what takes a quarter of a second to load.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import oras.provider
import requests
from oras.container import Container
from requests.structures import CaseInsensitiveDict

from bundler.adapters.registry.api import RegistryApi, read_answer
from bundler.adapters.registry.http import Response
from bundler.adapters.registry.urls import joined, origin_of
from bundler.errors import CouldNotCheck

MAX_TAG_PAGES = 10_000
MAX_TAG_PAGE_BYTES = 64 * 1024 * 1024


class RegistryClient(oras.provider.Registry):
    """Thread-safe."""

    def __init__(self, api: RegistryApi) -> None:
        super().__init__(api.api_host, insecure=api.insecure)
        self.api = api

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: dict[str, Any] | bytes | None = None,
        headers: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,  # noqa: ARG002  an answer is always read, up to a limit
    ) -> requests.Response:
        """What `oras` itself sends. Raises Unreachable, CouldNotCheck, VerificationFailed."""
        if isinstance(data, dict) or json is not None:
            raise TypeError("a registry is sent bytes, so that their digest is known")
        return _for_oras(self.api.ask(url, method, data, headers))

    # --- tags ---

    def tags(self, name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.get_tags(self._container(name))))

    def _do_paginated_request(
        self,
        url: str,
        callable: Callable[[requests.Response], bool],  # noqa: A002  the overridden name
    ) -> None:
        api = self.api
        seen: set[str] = set()
        while url not in seen and len(seen) < MAX_TAG_PAGES:
            seen.add(url)
            response = api.ask(url, limit=MAX_TAG_PAGE_BYTES)
            if api.is_missing(response):
                return
            api.expect(response, HTTPStatus.OK)
            if not _is_tag_list(response):
                raise CouldNotCheck(
                    f"{api.host} answers with something that is no tag list",
                    hint="is it a registry?",
                )
            page = _for_oras(response)
            want_more = callable(page)
            link = page.links.get("next", {}).get("url")
            if not want_more or not link:
                return
            url = joined(url, link)
            if origin_of(url) != origin_of(api.origin):
                raise CouldNotCheck(f"{api.host} continues its tag list on another host")
        raise CouldNotCheck(f"{api.host} has a tag list without an end")

    def _container(self, name: str) -> Container:
        """A repository; not parsed by `oras`, which takes a folder with a dot for a host."""
        container = Container(name, registry=self.api.api_host)
        container.namespace, _, container.repository = self.api.repository_name(name).rpartition(
            "/"
        )
        container.registry = self.api.api_host
        return container


def _for_oras(answer: Response) -> requests.Response:
    """An answer in the form that `oras` knows."""
    response = requests.Response()
    response.status_code = answer.status
    response.headers = CaseInsensitiveDict(answer.headers)
    response.url = answer.request.url
    response.raw = io.BytesIO(answer.content)
    return response


def _is_tag_list(response: Response) -> bool:
    """Whether it is one, if an empty one (`null` of Docker's); any web server answers an object."""
    answer = read_answer(response)
    if not isinstance(answer, dict) or "tags" not in answer:
        return False
    tags = answer["tags"] if answer["tags"] is not None else []
    return isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
