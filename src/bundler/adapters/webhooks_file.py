"""The runner's webhooks: a file, and $BUNDLER_WEBHOOK (docs/events.md).

Addresses and headers are secrets: no error quotes any value, neither of the file nor of a variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.errors import UsageError
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.finding import Finding, json_pointer
from bundler.model.webhook import EVENTS, Webhook
from bundler.ports import DocumentSchemas

VARIABLE = "BUNDLER_WEBHOOK"
_HINT = "see docs/events.md"


def read(
    path: Path | None, variables: Mapping[str, str], schemas: DocumentSchemas
) -> tuple[Webhook, ...]:
    """All that events go to. Raises UsageError with every finding."""
    one = variables.get(VARIABLE)
    hooks = [_address(one, f"${VARIABLE}")] if one else []
    if path is not None:
        hooks += _Entries(path, variables, schemas).hooks()
    wrong = [each for each in hooks if isinstance(each, Finding)]
    if wrong:
        raise UsageError(f"webhooks: {wrong[0]}", hint=wrong[0].hint or _HINT, findings=wrong)
    return tuple(each for each in hooks if isinstance(each, Webhook))


class _Entries:
    def __init__(self, path: Path, variables: Mapping[str, str], schemas: DocumentSchemas) -> None:
        self._path = path
        self._variables = variables
        self._schemas = schemas

    def hooks(self) -> list[Webhook | Finding]:
        document = self._document()
        found = self._schemas.check("webhooks", document)
        if found:
            return [replace(each, message=_unquoted(each.message), file=str(self._path))
                    for each in found]  # fmt: skip
        return [each for index, entry in enumerate(document) for each in self._hook(index, entry)]

    def _document(self) -> Any:
        try:
            documents = read_documents(self._path.read_bytes())
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from error
        except InvalidYaml as error:
            where = f" (line {error.line})" if error.line else ""
            raise UsageError(f"{self._path} is not valid YAML{where}", hint=_HINT) from None
        return documents[0] if len(documents) == 1 else documents

    def _hook(self, index: int, entry: Mapping[str, Any]) -> Iterator[Webhook | Finding]:
        if ("url" in entry) == ("urlFrom" in entry):
            yield self._wrong("needs url or urlFrom, one of them", index)
            return
        findings: list[Finding] = []

        def value(source: Mapping[str, str], *steps: object) -> str:
            text = self._variables.get(source["env"], "")
            if not text:
                findings.append(self._wrong(f"${source['env']} is not set", index, *steps))
            elif not text.isprintable() or not text.isascii():
                findings.append(self._wrong(f"${source['env']} is no text for a header", index))
            return text

        url = entry.get("url") or value(entry["urlFrom"], "urlFrom")
        headers = {
            name: value(source, "headersFrom", name)
            for name, source in (entry.get("headersFrom") or {}).items()
        }
        secret = value(entry["secretFrom"], "secretFrom") if "secretFrom" in entry else None
        if findings:
            yield from findings
            return
        found = _address(url, f"{self._path}{json_pointer(index)}")
        if isinstance(found, Webhook):
            events = frozenset(entry.get("events") or EVENTS)
            key = secret.encode() if secret else None
            found = replace(found, headers=headers, secret=key, events=events)
        yield found

    def _wrong(self, message: str, *steps: object) -> Finding:
        pointer = json_pointer(*steps)
        return Finding("webhook", message, file=str(self._path), pointer=pointer)


def _address(url: str, place: str) -> Webhook | Finding:
    try:
        parts = urlsplit(url)
        host, port, has_user = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError:
        return Finding("webhook", f"{place} is no URL")
    if parts.scheme not in ("https", "http") or not host or not _is_clean(url):
        return Finding("webhook", f"{place} is no URL of https or http")
    if has_user:
        return Finding("webhook", f"{place} has a user in it", hint="headersFrom sends credentials")
    return Webhook(url, f"{host}:{port}" if port else host)


def _is_clean(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url


def _unquoted(message: str) -> str:
    """What is wrong, without the value that is."""
    return message.rpartition('" ')[2]
