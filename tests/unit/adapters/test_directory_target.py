"""A folder as target: files that Flux and Argo CD read, state beside them, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.adapters.directory_target import DirectoryTarget, find_states
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.errors import BundlerError, OwnershipRefused, PermissionRefused, Refused
from bundler.manifests import read_documents, write_documents
from bundler.model.objects import OWNER, ObjectRef
from bundler.model.sops import CommittedObject, placed
from tests.fakes.releases import (
    Object,
    apply_to,
    config_map,
    definition,
    deployment,
    job,
    made,
    namespace,
    release,
    secret,
)

V1 = release("v1.0.0", [namespace(), config_map("settings", colour="red"), deployment("cart")])
V2 = release("v1.1.0", [namespace(), config_map("settings", colour="blue"), job("migrate")])


CIPHER = "ENC[AES256_GCM,data:b2s=,iv:YQ==,tag:YQ==,type:str]"


def target(folder: Path, name: str = "default") -> DirectoryTarget:
    return DirectoryTarget(folder, project="shop", environment="stage", target=name)


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.yaml"))
    }


def test_each_object_has_a_file_of_its_own(tmp_path: Path) -> None:
    result = apply_to(target(tmp_path), V1)
    assert (result.status, result.outcome) == ("succeeded", "written")
    assert list(files(tmp_path)) == [
        "_cluster/namespace/shop.yaml",
        "shop/configmap/settings.yaml",
        "shop/deployment.apps/cart.yaml",
    ]
    wanted = V1.objects["stage", "default"]
    written = [doc for text in files(tmp_path).values() for doc in read_documents(text)]
    assert sorted(written, key=ObjectRef.of) == list(wanted)


def test_what_is_no_longer_wanted_goes_with_its_folder(tmp_path: Path) -> None:
    apply_to(target(tmp_path), V1)
    result = apply_to(target(tmp_path), V2)
    assert result.changes.counts()["deleted"] == 1
    assert not (tmp_path / "shop" / "deployment.apps").exists()
    assert "shop/job.batch/migrate.yaml" in files(tmp_path)


def test_files_that_are_the_same_are_not_written_again(tmp_path: Path) -> None:
    apply_to(target(tmp_path), V1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.yaml")}
    assert apply_to(target(tmp_path), V1).status == "unchanged"
    again = release("v1.0.1", list(V1.objects["stage", "default"]))  # type: ignore[arg-type]
    assert apply_to(target(tmp_path), again).changes.counts()["configured"] == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.yaml")} == before


def test_a_job_s_file_is_replaced_as_any_other(tmp_path: Path) -> None:
    apply_to(target(tmp_path), V2)
    other = release("v1.2.0", [job("migrate", image="shop/migrate:2")])
    assert apply_to(target(tmp_path), other).error is None
    assert "shop/migrate:2" in files(tmp_path)["shop/job.batch/migrate.yaml"]


def test_a_secret_in_the_clear_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    result = apply_to(target(tmp_path), release("v1", [config_map("a"), secret("t", v="c2VjcmV0")]))
    assert isinstance(result.error, Refused)
    assert "Secret/shop/t" in result.error.message
    assert "c2VjcmV0" not in result.error.message
    assert not files(tmp_path)


def test_what_only_looks_encrypted_is_refused(tmp_path: Path) -> None:
    looks = release("v1", [secret("token", value="ENC[AES256_GCM,data:x]")])
    assert isinstance(apply_to(target(tmp_path), looks).error, Refused)


def test_an_encrypted_secret_is_written_as_it_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "shop/secret/token.yaml"
    assert apply_to(target(tmp_path), release("v1", [committed("# 1\n")])).error is None
    assert path.read_bytes() == committed("# 1\n").content
    for text, count in (("# 1\n", 0), ("# 2\n", 1)):
        result = apply_to(target(tmp_path), release("v2", [committed(text)]))
        assert result.changes.counts()["configured"] == count
        assert path.read_bytes() == committed(text).content
    without = release("v3", [config_map("rest")])
    assert apply_to(target(tmp_path), without).changes.counts()["deleted"] == 1
    assert not path.exists()


def test_an_encrypted_secret_of_another_target_is_refused(tmp_path: Path) -> None:
    apply_to(target(tmp_path), release("v1", [committed("# 1\n")]))
    other = DirectoryTarget(tmp_path, project="bank", environment="stage", target="default")
    with pytest.raises(OwnershipRefused, match="shop/stage/default"):
        other.apply(committed("# 2\n", owner="bank/stage/default"))


def test_an_encrypted_secret_that_nobody_recorded_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "shop/secret/token.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(committed("# 1\n").content)
    result = apply_to(target(tmp_path), release("v1", [committed("# 2\n")]))
    assert isinstance(result.error, OwnershipRefused)
    assert path.read_bytes() == committed("# 1\n").content


def committed(comment: str, owner: str = "shop/stage/default") -> CommittedObject:
    """A Secret that SOPS encrypted, in a text that starts with a comment."""
    sops = {"mac": CIPHER, "lastmodified": "2026-01-01T00:00:00Z"}
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token"},
        "stringData": {"value": CIPHER},
        "sops": sops,
    }
    content = comment.encode() + write_documents([document])
    return CommittedObject(placed(document, owner, "shop"), content)


def test_a_file_that_somebody_else_wrote_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "configmap" / "settings.yaml"
    path.parent.mkdir(parents=True)
    by_hand = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\n"
    path.write_text(by_hand)
    assert isinstance(apply_to(target(tmp_path), V1).error, OwnershipRefused)
    assert path.read_text() == by_hand


def test_another_target_s_file_is_refused_with_its_owner(tmp_path: Path) -> None:
    theirs = config_map("settings")
    theirs["metadata"]["annotations"] = {OWNER: "bank/stage/default"}
    target(tmp_path).apply(theirs)
    result = apply_to(target(tmp_path), V1)
    assert isinstance(result.error, OwnershipRefused)
    assert "bank/stage/default" in result.error.message


@pytest.mark.parametrize("text", ["<<<<<<< ours\n", "a: [\n", "", "kind: Other\nmetadata: {}\n"])
def test_a_file_that_is_not_the_object_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    apply_to(target(tmp_path), V1)
    path = tmp_path / "shop" / "configmap" / "settings.yaml"
    path.write_text(text)
    error = apply_to(target(tmp_path), V2).error
    assert isinstance(error, Refused)
    assert str(path) in error.message


TRICKY = [
    "..", "../../etc/passwd", "/etc/passwd", ".hidden", "a/b", "system:reader", "A", "a%41", "a\0b",
]  # fmt: skip


def test_no_name_leads_out_of_the_folder_and_no_two_names_share_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    role = "rbac.authorization.k8s.io/v1"
    for name in [*TRICKY, "a"]:
        for place in (name, "shop"):
            target(folder).apply(made(role, "Role", name, namespace=place))
    count = len(files(folder))
    assert count == 2 * (len(TRICKY) + 1)
    assert len({name.lower() for name in files(folder)}) == count
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    folder.mkdir()
    (folder / "shop").symlink_to(outside)
    assert isinstance(apply_to(target(folder), V1).error, Refused)
    assert not list(outside.iterdir())


def test_a_name_that_is_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        target(tmp_path).apply(config_map("A" * 100))


def test_the_state_is_json_that_its_schemas_describe(tmp_path: Path) -> None:
    apply_to(target(tmp_path), V1)
    stem = "bundler.shop.stage.default"
    state = tmp_path / ".bundler"
    assert sorted(path.name for path in state.iterdir()) == [
        f"{stem}.json", f"{stem}.v1.json", "lock",
    ]  # fmt: skip
    schemas = DocumentSchemas()
    inventory = json.loads((state / f"{stem}.json").read_text())
    revision = json.loads((state / f"{stem}.v1.json").read_text())
    assert schemas.check("inventory", inventory) == ()
    assert schemas.check("revision", revision) == ()


def test_every_target_of_a_folder_is_found(tmp_path: Path) -> None:
    apply_to(target(tmp_path), V1)
    apply_to(target(tmp_path), V2)
    ((project, environment, name, state),) = find_states(tmp_path)
    assert (project, environment, name) == ("shop", "stage", "default")
    assert [revision.tag for revision in state.revisions] == ["v1.0.0", "v1.1.0"]
    assert find_states(tmp_path / "nothing") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"number": 1}'])
def test_damaged_state_is_told_and_nothing_is_touched(tmp_path: Path, text: str) -> None:
    apply_to(target(tmp_path), V1)
    (tmp_path / ".bundler" / "bundler.shop.stage.default.v1.json").write_text(text)
    before = files(tmp_path)
    assert isinstance(apply_to(target(tmp_path), V2).error, Refused)
    assert files(tmp_path) == before


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".bundler").mkdir()
    left = tmp_path / ".bundler" / "tmp-1-1"
    left.write_text("half")
    apply_to(target(tmp_path), V1)
    assert not left.exists()


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    error = apply_to(target(file), V1).error
    assert isinstance(error, BundlerError)
    assert str(file) in error.message


def test_a_folder_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert isinstance(apply_to(target(tmp_path / "new"), V1).error, PermissionRefused)


def test_custom_resources_need_no_definition_here(tmp_path: Path) -> None:
    colour: Object = made("x.io/v1", "Color", "red")
    result = apply_to(target(tmp_path), release("v1", [colour, definition("Color", "x.io")]))
    assert result.changes.counts()["created"] == 2
