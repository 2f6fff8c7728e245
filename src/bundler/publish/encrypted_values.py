"""How SOPS may be used: on Secrets, on their values, as texts; and not on a generator's input."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import LAST_APPLIED, KubernetesObject, ObjectRef
from bundler.model.sops import encrypted_type, encrypted_values, is_encrypted, is_secret

_FIELDS = ("data", "stringData")
_IN_CLEAR = ("/apiVersion", "/kind", "/metadata", "/type", "/immutable")
_REGEX = "encrypt it with --encrypted-regex '^(data|stringData)$'"
_MARK = b"ENC[AES256_GCM,"


def misuses(obj: KubernetesObject) -> Iterator[Finding]:
    """Why what SOPS encrypted in an object cannot be used; of what is not encrypted, nothing."""
    if is_encrypted(obj):
        yield from _of_encrypted(obj)
    elif is_secret(obj):
        yield from _generated(obj)


def _of_encrypted(obj: KubernetesObject) -> Iterator[Finding]:
    ref = str(ObjectRef.of(obj))
    hidden = [p for p, _ in encrypted_values(obj) if p.startswith(_IN_CLEAR)]
    if hidden:
        message = "is encrypted, and must be readable: it says what the document is"
        yield Finding("sops-metadata", message, pointer=hidden[0], object=ref, hint=_REGEX)
        return
    if not is_secret(obj):
        yield Finding(
            "sops-kind",
            "is encrypted and no Secret: decrypted, everybody who may look at it could read it",
            pointer="/kind",
            object=ref,
            hint="put what is secret into a Secret, and refer to it",
        )
    for field in _FIELDS:
        values = obj.get(field)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            kind = encrypted_type(value)
            if kind not in (None, "str"):
                yield Finding(
                    "schema",
                    f"was encrypted as {kind}, and a Secret has texts only",
                    pointer=json_pointer(field, key),
                    object=ref,
                    hint="sops edit the file, and put the value in quotes",
                )
    if LAST_APPLIED in ((obj.get("metadata") or {}).get("annotations") or {}):
        yield _last_applied(ref)


def _last_applied(ref: str) -> Finding:
    return Finding(
        "sops-metadata",
        "kubectl has put a copy of the Secret here, in clear",
        pointer=json_pointer("metadata", "annotations", LAST_APPLIED),
        object=ref,
        hint="take the annotation out and replace the secret: whoever has this commit has it",
    )


def _generated(obj: KubernetesObject) -> Iterator[Finding]:
    for field in _FIELDS:
        values = obj.get(field)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if _MARK in _bytes(field, value):
                yield Finding(
                    "sops-generated",
                    "holds what SOPS encrypted: pods would get it encrypted",
                    pointer=json_pointer(field, key),
                    object=str(ObjectRef.of(obj)),
                    hint="a generator cannot decrypt: commit the Secret itself, encrypted, with "
                    "its `sops` part, as a resource",
                )


def _bytes(field: str, value: object) -> bytes:
    text = value if isinstance(value, str) else ""
    if field == "stringData":
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()))
    except (binascii.Error, ValueError):
        return text.encode()
