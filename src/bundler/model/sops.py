"""Documents that SOPS encrypted: which they are, what is in clear in them, who can decrypt them.

SOPS replaces values by `ENC[…]` and adds a mapping `sops` with a MAC. The MAC covers the values in
clear too, and their order, unless `mac_only_encrypted` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.finding import json_pointer
from bundler.model.objects import LAST_APPLIED, KubernetesObject, ObjectRef, owned

SOPS = "sops"
"""The key of what SOPS adds; and what a release document requires of readers of such documents."""
_CIPHER = re.compile(r"ENC\[AES256_GCM,data:[^,\]]*,iv:[^,\]]+,tag:[^,\]]+,type:(\w+)\]")
_RECIPIENTS = {
    "age": ("recipient",),
    "pgp": ("fp",),
    "kms": ("arn",),
    "gcp_kms": ("resource_id",),
    "azure_kv": ("vault_url", "name"),
    "hc_vault": ("vault_address", "engine_path", "key_name"),
}
"""Kind of key → the fields that name one."""


@dataclass(frozen=True)
class EncryptedDocument:
    """A Secret that SOPS encrypted, as a bundle has it."""

    file: str
    """Its path in the bundle; nothing else stands there."""
    content: bytes
    document: KubernetesObject
    """What the content says, still encrypted."""


class CommittedObject(dict[str, Any]):
    """An object that stands in a text of its own, which is written as it is. Never changed."""

    def __init__(self, obj: KubernetesObject, content: bytes) -> None:
        super().__init__(obj)
        self.content = content


def is_encrypted(document: object) -> bool:
    """Whether SOPS encrypted this document; its MAC and date say so."""
    added = document.get(SOPS) if isinstance(document, Mapping) else None
    return isinstance(added, Mapping) and all(
        isinstance(added.get(key), str) and added[key] for key in ("mac", "lastmodified")
    )


def is_secret(obj: KubernetesObject) -> bool:
    return obj.get("kind") == "Secret" and ObjectRef.of(obj).group == ""


def mac_of(document: KubernetesObject) -> str:
    return str(document[SOPS]["mac"])


def covers_encrypted_only(document: KubernetesObject) -> bool:
    """Whether values in clear may change without making the MAC wrong."""
    return document[SOPS].get("mac_only_encrypted") is True


def without_sops(document: KubernetesObject) -> KubernetesObject:
    return {key: value for key, value in document.items() if key != SOPS}


def encrypted_type(value: object) -> str | None:
    """`str`, `int`, …: what a value was before it was encrypted; None for one in clear."""
    match = _CIPHER.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def encrypted_values(value: object, pointer: str = "") -> Iterator[tuple[str, str]]:
    """JSON pointer and text of every encrypted value, in order."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from encrypted_values(inner, pointer + json_pointer(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from encrypted_values(inner, f"{pointer}/{index}")
    elif isinstance(value, str) and encrypted_type(value):
        yield pointer, value


def recipients(document: KubernetesObject) -> tuple[str, ...]:
    """Names of the keys that a document is encrypted for; any of them, or one of each group."""
    added = document[SOPS]
    groups = added.get("key_groups")
    return tuple(
        dict.fromkeys(
            name
            for group in (groups if isinstance(groups, list) and groups else [added])
            if isinstance(group, Mapping)
            for name in _names(group)
        )
    )


def _names(group: Mapping[str, Any]) -> Iterator[str]:
    for kind, fields in _RECIPIENTS.items():
        keys = group.get(kind)
        for key in keys if isinstance(keys, list) else ():
            if isinstance(key, Mapping) and all(isinstance(key.get(f), str) for f in fields):
                yield "/".join(key[field].strip("/") for field in fields)


def placed(document: KubernetesObject, owner: str, namespace: str) -> KubernetesObject:
    """As publishing places what is not encrypted: with a namespace, our labels and its owner.

    `owner` is `project/environment/target`.
    """
    metadata = document["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != LAST_APPLIED
    }
    where = metadata.get("namespace") or namespace
    kept = {**metadata, "namespace": where, "annotations": annotations}
    return owned({**document, "metadata": kept}, *owner.split("/"))
