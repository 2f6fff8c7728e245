"""Bad input: a clear error with its place and a hint, the right exit code, nothing half-done."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Bundler, Result
from tools.sample_shop import SampleShop, git

TAG = "v3.0.0"
IMAGES = "registry.example.com/shop"


@pytest.fixture
def retag(shop: SampleShop) -> Callable[..., None]:
    """Commits a change on main and tags it; a text of None removes the file."""

    def change(**files: str | None) -> None:
        repository = shop.repository
        git(repository, "checkout", "--quiet", "--force", "main")
        for name, text in files.items():
            path = repository / name.replace("__", "/").replace("_yaml", ".yaml")
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        git(repository, "add", "--all")
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        git(repository, *identity, "commit", "--quiet", "-m", "change")
        git(repository, "tag", TAG)

    return change


def project_file(shop: SampleShop) -> str:
    return git(shop.repository, "show", "v1.2.1:bundler.yaml").decode()


def failed(result: Result, exit_code: int, code: str) -> Result:
    assert (result.exit_code, result.error["code"]) == (exit_code, code), result.stdout
    assert result.error["message"]
    return result


def publish(bundler: Bundler, tag: str = TAG) -> Result:
    return bundler("publish", tag, "--repo", "shop", "-o", "json")


# --- tags, branches, clones ---------------------------------------------------------------------


def test_no_such_tag_suggests_the_nearest(shop: SampleShop, bundler: Bundler) -> None:
    result = failed(publish(bundler, "v1.1.1"), 2, "source-invalid")
    assert result.error["hint"].startswith("did you mean v1.")


@pytest.mark.requirement("B-31")
def test_a_tag_off_the_allowed_branches_is_refused(shop: SampleShop, bundler: Bundler) -> None:
    result = failed(publish(bundler, "v2.0.0-rc.1"), 4, "branch-refused")
    assert "main or master" in result.error["message"]


@pytest.mark.requirement("B-31")
def test_with_a_remote_only_its_branches_decide(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", str(shop.repository), "clone")
    git(tmp_path / "clone", "branch", "master", "v2.0.0-rc.1^{commit}")
    result = bundler("publish", "v2.0.0-rc.1", "--repo", "clone", "-o", "json")
    failed(result, 4, "branch-refused")


@pytest.mark.requirement("B-36")
def test_a_shallow_clone_is_refused_with_the_way_out(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    source = f"file://{shop.repository}"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=v1.2.1", source, "shallow")
    result = bundler("publish", "v1.2.1", "--repo", "shallow", "-o", "json")
    assert "--unshallow" in failed(result, 2, "source-invalid").error["hint"]


@pytest.mark.parametrize("tag", ["--upload-pack=x", "a;b", "v1..2", "ü"])
def test_a_name_that_cannot_be_published_is_refused(
    shop: SampleShop, bundler: Bundler, tag: str
) -> None:
    result = bundler("publish", "--repo", "shop", "-o", "json", "--", tag)
    failed(result, 2, "usage")


def test_a_release_that_no_registry_could_name_is_refused(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    retag(bundler_yaml=project_file(shop) + "\nreleases: {semver: false}\n")
    for tag in ("release/1.2", "v" * 129):
        git(shop.repository, "tag", tag, TAG)
        result = failed(publish(bundler, tag), 2, "usage")
        assert "not a legal tag in a registry" in result.error["message"]


@pytest.mark.parametrize("kind", ["tree", "blob"])
def test_a_tag_on_no_commit_is_refused(shop: SampleShop, bundler: Bundler, kind: str) -> None:
    target = {"tree": "main^{tree}", "blob": "main:bundler.yaml"}[kind]
    git(shop.repository, "tag", TAG, target)
    failed(publish(bundler), 2, "source-invalid")


def test_a_folder_without_repository_says_so(bundler: Bundler, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = bundler("publish", TAG, "--repo", "empty", "-o", "json")
    failed(result, 2, "source-invalid")


def test_no_tag_at_all_says_where_it_comes_from(shop: SampleShop, bundler: Bundler) -> None:
    result = failed(bundler("publish", "--repo", "shop", "-o", "json"), 2, "usage")
    assert "CI_COMMIT_TAG" in result.error["hint"]


# --- the project file ---------------------------------------------------------------------------


def test_no_project_file_at_the_tag(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    retag(bundler_yaml=None)
    failed(publish(bundler), 2, "project-file-invalid")


def test_all_findings_in_a_project_file_are_told_and_unknown_keys_get_the_nearest(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    text = (
        project_file(shop)
        .replace("libraries:", "librarys:")
        .replace("namespace: shop}", "namespace: SHOP!}")
    )
    retag(bundler_yaml=text)
    result = failed(publish(bundler), 2, "project-file-invalid")
    assert len(result.findings) == 2
    unknown = next(f for f in result.findings if "librarys" in f["message"])
    assert "libraries" in unknown["hint"]


def test_a_cycle_of_libraries_is_named(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    text = project_file(shop).replace(
        "money: {paths: [libs/money]}", "money: {paths: [libs/money], uses: [ui]}"
    )
    retag(bundler_yaml=text)
    result = failed(publish(bundler), 2, "project-file-invalid")
    assert "money → ui → money" in result.findings[0]["message"]


def test_service_paths_that_the_tag_has_not_are_all_named(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    text = (
        project_file(shop)
        .replace("services/cart]", "services/kart]")
        .replace("services/orders]", "service/orders]")
    )
    retag(bundler_yaml=text)
    result = failed(publish(bundler), 2, "project-file-invalid")
    assert [f["service"] for f in result.findings] == ["cart", "orders"]


@pytest.mark.parametrize("text", ["- a", "a: [", "", "a: 1\na: 2", "!!python/object:os.system {}"])
def test_a_project_file_that_is_no_mapping_is_refused(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None], text: str
) -> None:
    retag(bundler_yaml=text)
    failed(publish(bundler), 2, "project-file-invalid")


# --- images -------------------------------------------------------------------------------------


@pytest.mark.requirement("B-45")
def test_missing_images_are_all_named_with_what_was_tried(
    shop: SampleShop, bundler: Bundler
) -> None:
    shutil.rmtree(shop.images / "cart")
    shutil.rmtree(shop.images / "search")
    result = failed(publish(bundler, "v1.1.0"), 1, "images-missing")
    assert [f["service"] for f in result.findings] == ["cart", "search"]
    assert shop.expected["v1.1.0"]["cart"].commit in result.findings[0]["message"]
    assert not list(shop.registry.iterdir())


@pytest.mark.requirement("B-45")
def test_an_unreachable_registry_is_no_missing_image(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = project_file(shop).replace("ocidir://../images\n", f"oci://127.0.0.1:{port}/shop\n")
        retag(bundler_yaml=text)
        result = failed(publish(bundler), 6, "unreachable")
    assert len(result.findings) == 8


# --- rendering and validating -------------------------------------------------------------------


def test_an_overlay_that_does_not_build_gives_kustomizes_words_and_the_environment(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    retag(overlays__prod__kustomization_yaml="resources: [../nowhere]\n")
    result = failed(publish(bundler), 1, "render-failed")
    told = json.dumps(result.error)
    assert "prod/eu" in told
    assert "nowhere" in told
    assert str(shop.repository.parent) not in told


@pytest.mark.requirement("B-70", "B-71")
def test_schema_violations_are_all_told_with_file_pointer_and_environment(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    base = git(shop.repository, "show", "v1.2.1:overlays/stage/kustomization.yaml").decode()
    bad = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bad"},
        "spec": {
            "replicas": "many",
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "containers": [{"name": "c", "image": f"{IMAGES}/cart", "ports": [{"port": 1}]}]
                },
            },
        },
    }
    retag(
        overlays__stage__bad_yaml=json.dumps(bad),
        overlays__stage__kustomization_yaml=base.replace("resources:", "resources:\n  - bad.yaml"),
    )
    result = failed(publish(bundler), 4, "validation-failed")
    places = {(f["environment"], f["object"], f["pointer"]) for f in result.findings}
    assert ("stage/default", "Deployment/shop/bad", "/spec/replicas") in places
    assert any("ports/0" in (f["pointer"] or "") for f in result.findings)
    errors = [f for f in result.findings if f["severity"] == "error"]
    assert all(f["file"].startswith("stage/default/") for f in errors)
    assert not list(shop.registry.iterdir())


@pytest.mark.requirement("B-63", "B-64")
def test_unused_pins_and_unpinned_images_are_errors(
    shop: SampleShop, bundler: Bundler, retag: Callable[..., None]
) -> None:
    listed = git(shop.repository, "ls-tree", "-r", "--name-only", "v1.2.1", "overlays/base")
    path = next(path for path in listed.decode().split() if "search" in path)
    text = git(shop.repository, "show", f"v1.2.1:{path}").decode()
    changed = text.replace("registry.example.com/shop/search", "registry.example.com/other/search")
    assert changed != text
    retag(**{path.replace("/", "__").replace(".yaml", "_yaml"): changed})
    result = failed(publish(bundler), 4, "validation-failed")
    assert {f["rule"] for f in result.findings} >= {"unused-pin", "unpinned-image"}


def test_without_kustomize_the_error_says_how_to_get_it(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    git_only = tmp_path / "bin"
    git_only.mkdir()
    (git_only / "git").symlink_to(shutil.which("git") or "git")
    result = bundler(
        "publish", "v1.1.0", "--repo", "shop", "-o", "json",
        PATH=str(git_only), BUNDLER_KUSTOMIZE="",
    )  # fmt: skip
    failed(result, 2, "tool-missing")
    assert "kustomize" in result.error["message"]
    assert "v5" in json.dumps(result.error)


def test_without_git_the_error_says_so(shop: SampleShop, bundler: Bundler, tmp_path: Path) -> None:
    result = bundler("publish", "v1.1.0", "--repo", "shop", "-o", "json", PATH=str(tmp_path))
    failed(result, 2, "tool-missing")
    assert result.error["message"] == "git is not installed"


def test_a_full_disk_or_missing_folder_for_temporary_files_is_named(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = (
        f'rmdir "{gone}"; "{sys.executable}" -m bundler list --deploy-registry ocidir://x -o json'
    )
    done = subprocess.run(
        ["bash", "-c", line], cwd=gone, capture_output=True, text=True, check=False
    )
    result = failed(Result(done.returncode, done.stdout, done.stderr), 1, "failed")
    assert result.error["message"] == "no such file or directory"


# --- versions -----------------------------------------------------------------------------------


@pytest.mark.requirement("B-82")
def test_a_moved_tag_is_refused_with_the_differences(shop: SampleShop, bundler: Bundler) -> None:
    assert publish(bundler, "v1.1.0").exit_code == 0
    git(shop.repository, "tag", "--force", "v1.1.0", "v1.2.0^{commit}")
    result = failed(publish(bundler, "v1.1.0"), 4, "version-exists")
    assert shop.tags["v1.2.0"] in json.dumps(result.findings)


@pytest.mark.requirement("B-103")
def test_a_version_that_was_never_published_is_not_found(
    shop: SampleShop, bundler: Bundler
) -> None:
    reference = f"ocidir://{shop.registry}/shop:v9.9.9"
    for command in (("inspect", reference), ("pull", reference, "-d", "out")):
        failed(bundler(*command, "-o", "json"), 1, "not-found")


def test_an_artifact_that_is_not_ours_is_refused(shop: SampleShop, bundler: Bundler) -> None:
    tag = next(iter(shop.built["cart"]))
    reference = f"ocidir://{shop.images}/cart:{tag}"
    failed(bundler("inspect", reference, "-o", "json"), 4, "verification-failed")


@pytest.mark.parametrize("damage", ["tampered", "truncated"])
def test_damaged_content_is_refused_and_nothing_is_written(
    shop: SampleShop, bundler: Bundler, tmp_path: Path, damage: str
) -> None:
    assert publish(bundler, "v1.1.0").exit_code == 0
    for blob in (shop.registry / "shop" / "blobs" / "sha256").iterdir():
        content = blob.read_bytes()
        if content[:2] == b"\x1f\x8b":
            blob.chmod(0o644)
            middle = len(content) // 2
            damaged = content[:middle] + b"x" + content[middle + 1 :]
            blob.write_bytes(damaged if damage == "tampered" else content[:middle])
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    failed(bundler("pull", reference, "-d", "out", "-o", "json"), 4, "verification-failed")
    assert not (tmp_path / "out").exists()


def test_pulling_into_a_folder_that_is_not_empty_is_refused(
    shop: SampleShop, bundler: Bundler, tmp_path: Path
) -> None:
    assert publish(bundler, "v1.1.0").exit_code == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    reference = f"ocidir://{shop.registry}/shop:v1.1.0"
    failed(bundler("pull", reference, "-d", "out", "-o", "json"), 2, "usage")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_unknown_option_is_a_usage_error_also_for_machines(bundler: Bundler) -> None:
    failed(bundler("publish", "-o", "json", "--no-such-option"), 2, "usage")
    text = bundler("publish", "--no-such-option")
    assert (text.exit_code, text.stdout) == (2, "")
    assert "--no-such-option" in text.stderr
