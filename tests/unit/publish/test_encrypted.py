"""What an encrypted document has in a bundle: the committed bytes, or a reason why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from bundler.manifests import read_documents, write_documents
from bundler.model.bundle import RenderedBundle, RenderedTarget
from bundler.model.finding import Finding
from bundler.model.objects import ObjectRef
from bundler.model.project import Target
from bundler.model.sops import placed
from bundler.publish.encrypted import as_committed
from bundler.publish.render import files
from tests.fakes.shop import environment, lock, project

CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"
OTHER = CIPHER.replace("b2s=", "bm8=")
MAC = CIPHER.replace("b2s=", "bWFj")
PATH = "overlays/stage/db.yaml"
REF = ObjectRef("", "Secret", "shop", "db")
FILE = "stage/default/10-configuration.sops/shop.db.yaml"

Object = dict[str, Any]


def secret(name: str = "db", **changed: Any) -> Object:
    sops = {"mac": MAC, "lastmodified": "2026-01-01T00:00:00Z", **changed.pop("sops", {})}
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": name, **changed.pop("metadata", {})},
        "stringData": {"user": CIPHER, "also": OTHER},
        "sops": sops,
        **changed,
    }


def text(*documents: Object, comment: str = "# ours\n") -> bytes:
    return comment.encode() + write_documents(documents)


def bundle(*objects: Object, namespace: str = "shop") -> RenderedBundle:
    env = environment()
    target = Target("default", namespace, "overlays/stage")
    ours = tuple(placed(each, "shop/stage/default", namespace) for each in objects)
    return RenderedBundle(lock(project(env)), (RenderedTarget(env, target, ours),), {})


def sealed(
    rendered: RenderedBundle, committed: Mapping[str, bytes]
) -> tuple[RenderedTarget, list[Finding]]:
    def find(texts: Collection[str]) -> Mapping[str, bytes]:
        return {
            path: content
            for path, content in committed.items()
            if any(each.encode() in content for each in texts)
        }

    done = as_committed(rendered, find)
    return done.targets[0], list(done.findings)


def rules(*objects: Object, committed: Mapping[str, bytes]) -> list[str]:
    return [finding.rule for finding in sealed(bundle(*objects), committed)[1]]


@pytest.mark.requirement("C-24")
def test_the_committed_bytes_travel_in_a_file_of_their_own() -> None:
    content = text(secret(metadata={"annotations": None, "creationTimestamp": None}))
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    mention = b"mac: " + MAC.encode()
    done = as_committed(bundle(secret(), other), lambda _: {PATH: content, "a.md": mention})
    assert not done.findings
    assert done.targets[0].encrypted == {REF: content}
    assert files(done)[FILE] == content
    assert files(done).keys() == {FILE, "stage/default/10-configuration.yaml"}


def test_nobody_is_asked_where_nothing_is_encrypted() -> None:
    def find(_: Collection[str]) -> Mapping[str, bytes]:
        raise AssertionError

    rendered = bundle({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    assert as_committed(rendered, find) == rendered


@pytest.mark.parametrize(
    ("rendered", "pointer"),
    [
        (secret(metadata={"labels": {"team": "a"}}), "/metadata/labels/team"),
        (secret(metadata={"annotations": {"x": "y"}}), "/metadata/annotations/x"),
        (secret(metadata={"namespace": "elsewhere"}), "/metadata/namespace"),
        (secret(type="Opaque"), "/type"),
        (secret(stringData={"user": CIPHER}), "/stringData/also"),
        (secret(stringData={"user": OTHER, "also": OTHER}), "/stringData/user"),
        (secret("stage-db"), "/metadata/name"),
    ],
)
def test_what_rendering_changes_is_told_with_its_place(rendered: Object, pointer: str) -> None:
    target, [finding] = sealed(bundle(rendered), {PATH: text(secret())})
    assert (finding.rule, finding.file, finding.pointer) == ("sops-changed", PATH, pointer)
    assert pointer in finding.message
    assert finding.object == str(ObjectRef.of(target.objects[0]))


def test_a_namespace_that_was_committed_stays() -> None:
    own = secret(metadata={"namespace": "shop"})
    assert rules(own, committed={PATH: text(own)}) == []
    other = secret(metadata={"namespace": "former"})
    assert rules(own, committed={PATH: text(other)}) == ["sops-changed"]


def test_of_several_copies_the_one_that_is_rendered_counts() -> None:
    changed = secret(metadata={"labels": {"team": "a"}})
    committed = {"a.yaml": text(changed), "b.yaml": text(secret())}
    target, findings = sealed(bundle(secret()), committed)
    assert (target.encrypted[REF], findings) == (committed["b.yaml"], [])


@pytest.mark.parametrize(
    "committed",
    [
        {},
        {PATH: text(secret(), secret("mail"))},
        {"chart/templates/db.yaml": text(secret()) + b"{{ end }}"},
        {"notes.txt": b"mac: " + MAC.encode()},
    ],
    ids=["none", "two in one file", "a template", "a mention"],
)
def test_a_document_needs_a_file_of_its_own(committed: Mapping[str, bytes]) -> None:
    assert rules(secret(), committed=committed) == ["sops-source"]


def test_clear_values_may_change_where_the_mac_does_not_cover_them() -> None:
    alone = {"mac_only_encrypted": True}
    committed = secret(sops=alone)
    rendered = secret(sops=alone, metadata={"labels": {"team": "a\x85"}})
    rendered["stringData"] = dict(reversed(rendered["stringData"].items()))
    target, findings = sealed(bundle(rendered), {PATH: text(committed)})
    assert not findings
    [travels] = read_documents(target.encrypted[REF])
    assert list(travels["stringData"]) == list(read_documents(text(committed))[0]["stringData"])
    assert travels["metadata"]["labels"]["team"] == "a\x85"
    assert travels["sops"] == committed["sops"]


def test_encrypted_values_may_not_change_there_either() -> None:
    alone = {"mac_only_encrypted": True}
    for values in ({"user": CIPHER}, {"also": CIPHER, "user": OTHER}, {"user": "x", "also": OTHER}):
        rendered = secret(sops=alone, stringData=values)
        assert rules(rendered, committed={PATH: text(secret(sops=alone))}) == ["sops-changed"]


@pytest.mark.parametrize(
    ("obj", "rule"),
    [
        (secret(kind="ConfigMap"), "sops-kind"),
        (secret(metadata={"labels": {"a": CIPHER}}), "sops-metadata"),
        (secret(type=CIPHER), "sops-metadata"),
        (secret(stringData={"port": CIPHER.replace("str", "int")}), "schema"),
    ],
)
def test_what_could_not_be_used_is_refused(obj: Object, rule: str) -> None:
    assert rules(obj, committed={PATH: text(obj)}) == [rule]


def test_a_copy_that_kubectl_left_is_refused_though_it_is_not_rendered() -> None:
    last = {"kubectl.kubernetes.io/last-applied-configuration": '{"stringData":{"user":"x"}}'}
    committed = secret(metadata={"annotations": last})
    assert rules(secret(), committed={PATH: text(committed)}) == ["sops-metadata"]


def test_a_generator_s_secret_of_encrypted_text_is_refused() -> None:
    generated = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "g"}}
    inner = {"data": {"a.yaml": "RU5DW0FFUzI1Nl9HQ00s"}}
    assert rules(generated | inner, committed={}) == ["sops-generated"]
    assert rules(generated | {"stringData": {"a": f"x: {CIPHER}"}}, committed={}) == [
        "sops-generated"
    ]
    assert rules(generated | {"data": {"a": "c2VjcmV0", "b": "?"}}, committed={}) == []


def test_a_name_that_no_file_can_have_has_its_digest() -> None:
    names = ("a" * 253, "a" * 252 + "b", "A")
    each = [
        secret(name, sops={"mac": MAC.replace("bWFj", f"M{n}==")}) for n, name in enumerate(names)
    ]
    committed = {f"{n}.yaml": text(obj) for n, obj in enumerate(each)}
    target, findings = sealed(bundle(*each), committed)
    rendered = RenderedBundle(lock(project(environment())), (target,), {})
    assert not findings
    assert len(files(rendered)) == 3
    assert all(len(path.rpartition("/")[2]) <= 90 for path in files(rendered))
