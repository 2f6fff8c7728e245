"""Secrets in clear: in Secrets, and in what everybody may read. Never the value in a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bundler.model.finding import Finding, json_pointer
from bundler.model.objects import HASH_SUFFIX, KubernetesObject, ObjectRef, mapping
from bundler.model.sops import encrypted_type, is_encrypted
from bundler.publish.rules.scope import Scope
from bundler.publish.rules.secret_values import Found, in_text, of_key
from bundler.publish.rules.workloads import Container, Workload, items


def plain_secret(scope: Scope) -> Iterator[Finding]:
    """Secrets with values that SOPS has not encrypted, unless they are allowed by name."""
    for ref, obj in scope.of_kind("", "Secret"):
        fields = [(field, mapping(obj.get(field))) for field in ("data", "stringData")]
        clear = [
            json_pointer(field, key)
            for field, values in fields
            for key, value in values.items()
            if value not in (None, "") and not (is_encrypted(obj) and encrypted_type(value))
        ]
        if clear and not _is_allowed(scope, ref):
            keys = ", ".join(pointer.rpartition("/")[2] for pointer in clear)
            environment = scope.target.environment.name
            yield scope.finding(
                "plain-secret",
                obj,
                clear[0] if len(clear) == 1 else clear[0].rpartition("/")[0],
                f"holds values in clear ({keys}), and whoever may pull the bundle may read them",
                "encrypt it (SOPS, SealedSecret, ExternalSecret), or add "
                f"{HASH_SUFFIX.sub('', ref.name)} to environments.{environment}.allow.secrets",
            )


def _is_allowed(scope: Scope, ref: ObjectRef) -> bool:
    names = {ref.name, HASH_SUFFIX.sub("", ref.name)}
    spellings = {f"{ref.kind}/{name}" for name in names}
    is_secret = (ref.group, ref.kind) == ("", "Secret")
    allowed = scope.target.environment.allowed.secrets
    return bool(allowed & (spellings | names if is_secret else spellings))


def secret_in_clear(scope: Scope) -> Iterator[Finding]:
    """Secret-looking values in ConfigMaps, variables and arguments; placeholders of such too."""
    for ref, obj in scope.of_kind("", "ConfigMap"):
        if not mapping(obj.get("sops")) and not _is_allowed(scope, ref):
            for key, value in mapping(obj.get("data")).items():
                yield from _told(scope, obj, json_pointer("data", key), key, _found(key, value))
    for workload in scope.workloads:
        if not mapping(workload.obj.get("sops")) and not _is_allowed(scope, workload.ref):
            for container in workload.containers:
                yield from _in_container(scope, workload, container)


def _found(key: str, value: object) -> Iterator[Found]:
    if not isinstance(value, str):
        return
    found = of_key(key, value) if "\n" not in value.strip() else None
    if found is not None:
        yield found
    else:
        yield from in_text(value)


def _in_container(scope: Scope, workload: Workload, container: Container) -> Iterator[Finding]:
    value = container.value
    for index, variable in enumerate(map(mapping, items(value.get("env")))):
        key = str(variable.get("name"))
        found = _found(key, variable.get("value"))
        pointer = f"{container.pointer}/env/{index}/value"
        yield from _told(scope, workload.obj, pointer, f"variable {key}", found, value)
    for field in ("command", "args"):
        words = items(value.get(field))
        for index, word in enumerate(words):
            pointer = f"{container.pointer}/{field}/{index}"
            found = _in_word(words[index - 1] if index else None, word)
            yield from _told(scope, workload.obj, pointer, f"an argument ({field})", found, value)


def _in_word(before: object, word: object) -> Iterator[Found]:
    """An argument alone, or the value of the option before it: `--password`, `…`."""
    if not isinstance(word, str):
        return
    option = before if isinstance(before, str) and before.startswith("-") else ""
    is_value = option and "=" not in option and not word.startswith("-")
    found = of_key(option.lstrip("-"), word) if is_value else None
    if found is not None:
        yield found
    else:
        yield from in_text(word)


def _told(
    scope: Scope,
    obj: KubernetesObject,
    pointer: str,
    where: str,
    found: Iterator[Found],
    container: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Each kind of secret once for each place."""
    told: set[tuple[str, bool]] = set()
    for each in found:
        if (each.what, each.is_placeholder) in told:
            continue
        told.add((each.what, each.is_placeholder))
        line = f", line {each.line}" if each.line else ""
        if each.is_placeholder:
            rule, message = "placeholder-secret", f"{each.what} that was never filled in"
            hint = "take it from a Secret"
        else:
            rule, message = "secret-in-clear", f"{each.what} in clear"
            ref = ObjectRef.of(obj)
            hint = (
                "take it from a Secret, and replace it: whoever has this commit has it; if it is "
                f"none, add {ref.kind}/{HASH_SUFFIX.sub('', ref.name)} to "
                f"environments.{scope.target.environment.name}.allow.secrets"
            )
        yield scope.finding(rule, obj, pointer, f"{where}{line} holds {message}", hint, container)
