"""Encrypted Secrets become objects before anything is planned, or nothing happens at all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.directory_target import DirectoryTarget
from bundler.deploy.decrypt import with_secrets
from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    KeyNeeded,
    Refused,
    ToolMissing,
    VerificationFailed,
)
from bundler.manifests import read_documents, write_documents
from bundler.model.bundle import VerifiedBundle
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.sops import CommittedObject, EncryptedDocument
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import Object, apply, config_map, release

CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
PLACE = ("stage", "default")
DB = ObjectRef("", "Secret", "shop", "db")


def encrypted(name: str, **metadata: str) -> EncryptedDocument:
    sops = {"mac": CIPHER, "lastmodified": "2026", "age": [{"recipient": f"age1{name}"}]}
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **metadata},
        "stringData": {"user": CIPHER},
        "sops": sops,
    }
    file = f"stage/default/10-configuration.sops/shop.{name}.yaml"
    return EncryptedDocument(file, write_documents([document]), document)


def bundle(*documents: EncryptedDocument) -> VerifiedBundle:
    return replace(release("v1.0.0", [config_map("c")]), encrypted={PLACE: documents})


class Decrypting:
    """Implements `bundler.ports.Decrypter` without a key; some names cannot be decrypted."""

    def __init__(self, failing: Mapping[str, BundlerError] | None = None) -> None:
        self.asked: list[str] = []
        self._failing = failing or {}
        self._lock = threading.Lock()

    def decrypt(self, content: bytes) -> KubernetesObject:
        [document] = read_documents(content)
        name = document["metadata"]["name"]
        with self._lock:
            self.asked.append(name)
        if name in self._failing:
            raise self._failing[name]
        clear: Object = {key: value for key, value in document.items() if key != "sops"}
        return {**clear, "stringData": {"user": "in clear"}}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.mark.requirement("C-24")
def test_a_secret_is_applied_in_clear_with_namespace_labels_and_owner(
    cluster: FakeCluster,
) -> None:
    decrypting = Decrypting()
    result = apply(
        cluster, with_secrets(bundle(encrypted("db")), "stage", {"default": cluster}, decrypting)
    )
    assert result.error is None
    live = cluster.objects[DB]
    assert live["stringData"] == {"user": "in clear"}
    assert live["metadata"]["labels"]["app.kubernetes.io/part-of"] == "shop"
    assert live["metadata"]["annotations"]["release-bundler/owner"] == "shop/stage/default"
    assert DB in cluster.inventory.objects
    assert decrypting.asked == ["db"]


def test_what_is_still_encrypted_is_neither_applied_nor_forgotten(cluster: FakeCluster) -> None:
    apply(
        cluster, with_secrets(bundle(encrypted("db")), "stage", {"default": cluster}, Decrypting())
    )
    with pytest.raises(Refused, match="still encrypted"):
        apply(cluster, bundle(encrypted("db")))
    assert DB in cluster.objects


def test_a_target_that_keeps_it_gets_the_committed_bytes_beside_one_that_does_not(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    folder = DirectoryTarget(tmp_path, project="shop", environment="stage", target="folder")
    one = release("v1", [config_map("c")])
    both = replace(
        one,
        objects={PLACE: one.objects[PLACE], ("stage", "folder"): ()},
        encrypted=dict.fromkeys([PLACE, ("stage", "folder")], (encrypted("db"),)),
    )
    value = {"default": {"namespace": "shop"}, "folder": {"namespace": "there"}}
    document = {"project": "shop", "environments": {"stage": {"targets": value}}}
    both = replace(both, release=replace(both.release, value=document))
    decrypting = Decrypting()
    found = with_secrets(both, "stage", {"default": cluster, "folder": folder}, decrypting)
    [committed] = found.objects["stage", "folder"]
    assert isinstance(committed, CommittedObject)
    assert committed.content == encrypted("db").content
    assert committed["metadata"]["namespace"] == "there"
    assert decrypting.asked == ["db"]
    assert "in clear" in str(found.objects[PLACE])
    assert not found.encrypted


def test_no_program_is_needed_where_nothing_is_encrypted_or_decrypted(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    folder = DirectoryTarget(tmp_path, project="shop", environment="stage", target="default")
    missing = Decrypting({"db": ToolMissing("sops is not installed")})
    with_secrets(bundle(), "stage", {"default": cluster}, missing)
    with_secrets(bundle(encrypted("db")), "stage", {"default": folder}, missing)
    assert not missing.asked


@pytest.mark.requirement("C-51")
def test_all_that_cannot_be_decrypted_is_named_at_once() -> None:
    failing: dict[str, BundlerError] = {
        "db": KeyNeeded("key needed", hint="a key"),
        "mail": KeyNeeded("key needed", hint="a key"),
    }
    with pytest.raises(KeyNeeded) as caught:
        with_secrets(
            bundle(*(encrypted(name) for name in ("db", "mail", "web"))),
            "stage",
            {"default": FakeCluster()},
            Decrypting(failing),
        )
    assert "key needed: Secret/shop/db, Secret/shop/mail cannot" in caught.value.message
    assert caught.value.exit_code == 2
    assert [(each.rule, each.object, each.environment) for each in caught.value.findings] == [
        ("key-needed", "Secret/shop/db", "stage/default"),
        ("key-needed", "Secret/shop/mail", "stage/default"),
    ]
    assert "age1mail" in caught.value.findings[1].message


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(VerificationFailed("changed"), 4), (CouldNotCheck("late"), 2), (Refused("no"), 4)],
)
def test_the_gravest_error_decides(error: BundlerError, exit_code: int) -> None:
    failing = {"db": KeyNeeded("key needed"), "mail": error}
    documents = bundle(encrypted("db"), encrypted("mail"))
    with pytest.raises(BundlerError) as caught:
        with_secrets(documents, "stage", {"default": FakeCluster()}, Decrypting(failing))
    assert caught.value.exit_code == exit_code
    assert len(caught.value.findings) == 2


def test_a_document_that_becomes_another_one_is_refused() -> None:
    class Other(Decrypting):
        def decrypt(self, content: bytes) -> KubernetesObject:
            return {**super().decrypt(content), "metadata": {"name": "admin"}}

    with pytest.raises(VerificationFailed, match="another document"):
        with_secrets(bundle(encrypted("db")), "stage", {"default": FakeCluster()}, Other())
