from __future__ import annotations

from typing import Any

import pytest

from bundler.model.sops import (
    covers_encrypted_only,
    encrypted_type,
    encrypted_values,
    is_encrypted,
    is_secret,
    placed,
    recipients,
    without_sops,
)

CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
SOPS = {"mac": CIPHER, "lastmodified": "2026-01-01T00:00:00Z"}
SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "db", "annotations": {"a": "b"}},
    "stringData": {"z": CIPHER, "a": "clear", "list": [CIPHER]},
    "sops": SOPS,
}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "sops",
        {},
        {"sops": None},
        {"sops": "mac"},
        {"sops": {}},
        {"sops": {"mac": CIPHER}},
        {"sops": {"lastmodified": "2026"}},
        {"sops": {"mac": "", "lastmodified": "2026"}},
        {"sops": {"mac": 1, "lastmodified": "2026"}},
        {"spec": {"sops": SOPS}},
    ],
)
def test_only_what_has_a_mac_and_a_date_is_encrypted(document: object) -> None:
    assert not is_encrypted(document)


def test_an_encrypted_secret_is_known_by_what_sops_added() -> None:
    assert is_encrypted(SECRET)
    assert is_secret(SECRET)
    assert not is_secret({**SECRET, "apiVersion": "example.com/v1"})
    assert "sops" not in without_sops(SECRET)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (CIPHER, "str"),
        (CIPHER.replace("str", "int"), "int"),
        (CIPHER.replace("b2s=", ""), "str"),
        ("ENC[AES256_GCM,data:b2s=]", None),
        (f"{CIPHER} and more", None),
        ("ENC[password]", None),
        (7, None),
        (None, None),
    ],
)
def test_an_encrypted_value_says_what_it_was(value: object, kind: str | None) -> None:
    assert encrypted_type(value) == kind


def test_encrypted_values_come_in_the_order_that_the_mac_depends_on() -> None:
    pointers = [pointer for pointer, _ in encrypted_values(without_sops(SECRET))]
    assert pointers == ["/stringData/z", "/stringData/list/0"]


def test_the_mac_covers_clear_values_unless_it_says_otherwise() -> None:
    assert not covers_encrypted_only(SECRET)
    assert not covers_encrypted_only({"sops": {**SOPS, "mac_only_encrypted": "true"}})
    assert covers_encrypted_only({"sops": {**SOPS, "mac_only_encrypted": True}})


@pytest.mark.parametrize(
    ("added", "names"),
    [
        ({"age": [{"recipient": "age1abc", "enc": "x"}]}, ("age1abc",)),
        ({"kms": [{"arn": "arn:aws:kms:1"}], "pgp": [{"fp": "ABC"}]}, ("ABC", "arn:aws:kms:1")),
        (
            {"hc_vault": [{"vault_address": "https://v", "engine_path": "t", "key_name": "k"}]},
            ("https://v/t/k",),
        ),
        (
            {"key_groups": [{"age": [{"recipient": "age1a"}]}, {"pgp": [{"fp": "B"}]}]},
            ("age1a", "B"),
        ),
        ({"age": [{"recipient": 1}], "pgp": "x", "kms": [None]}, ()),
        ({}, ()),
    ],
)
def test_whom_it_is_encrypted_for_is_told(added: dict[str, Any], names: tuple[str, ...]) -> None:
    assert recipients({"sops": {**SOPS, **added}}) == names


def test_it_is_placed_as_what_is_not_encrypted() -> None:
    last = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    metadata = {"name": "db", "annotations": {"a": "b", **last}}
    found = placed({**SECRET, "metadata": metadata}, "shop/stage/eu", "shop-eu")
    assert found["metadata"] == {
        "name": "db",
        "namespace": "shop-eu",
        "labels": {
            "app.kubernetes.io/part-of": "shop",
            "app.kubernetes.io/managed-by": "bundler",
            "release-bundler/environment": "stage",
        },
        "annotations": {"a": "b", "release-bundler/owner": "shop/stage/eu"},
    }
    own = {**SECRET, "metadata": {"name": "db", "namespace": "other"}}
    assert placed(own, "shop/stage/eu", "shop-eu")["metadata"]["namespace"] == "other"
