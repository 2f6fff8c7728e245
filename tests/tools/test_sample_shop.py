"""The sample shop is what it claims to be, judged by plain git, kustomize and real registries."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import validate

from tools import sample_shop
from tools.build import binary_path
from tools.registries import Distribution, ReferrersRegistry, Registry
from tools.sample_shop import SampleShop, build_shop, push_images

RELEASES = ("v1.0.0", "v1.1.0", "v1.2.0", "v1.2.1")
OVERLAYS = ("dev", "stage", "prod", "prod-us")
REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SampleShop:
    return build_shop(tmp_path_factory.mktemp("sample"), remote=True)


def git(repository: Path, *arguments: str) -> str:
    return sample_shop.git(repository, *arguments).decode().strip()


def project_at(shop: SampleShop, revision: str) -> Any:
    return yaml.safe_load(git(shop.repository, "show", f"{revision}:bundler.yaml"))


@cache
def files_at(repository: Path, revision: str) -> Mapping[str, str]:
    """path → mode, type and object id"""
    lines = git(repository, "ls-tree", "-r", revision).splitlines()
    return {path: entry for entry, _, path in (line.partition("\t") for line in lines)}


def inputs_at(shop: SampleShop, revision: str, service: str) -> Mapping[str, str]:
    """What a service is built from, by the project file that v1.0.0 has."""
    project = project_file_of_v1_0_0(shop.repository)
    entry = project["services"][service]
    files = files_at(shop.repository, revision)
    paths, wanted = list(entry["paths"]), list(entry.get("uses", []))
    while wanted:
        library = project["libraries"][wanted.pop()]
        paths += library["paths"]
        wanted += library.get("uses", [])
    own = f"services/{service}/"
    if not any(path.startswith(own) for path in files):
        return {}
    return {
        path: entry
        for path, entry in files.items()
        if any(path == root or path.startswith(f"{root}/") for root in paths)
    }


@cache
def project_file_of_v1_0_0(repository: Path) -> Any:
    return yaml.safe_load(git(repository, "show", "v1.0.0:bundler.yaml"))


def tags_of(layout: Path) -> dict[str, str]:
    index = json.loads((layout / "index.json").read_bytes())
    return {entry["annotations"][REF_NAME]: entry["digest"] for entry in index["manifests"]}


def read_blob(layout: Path, digest: str) -> bytes:
    content = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return content


# -- the script ------------------------------------------------------------------------------------


def test_ids_and_digests_are_the_same_whatever_the_machine_is_set_to(
    shop: SampleShop, tmp_path: Path
) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[init]\n\tdefaultBranch = trunk\n\tdefaultObjectFormat = sha256\n"
        "[commit]\n\tgpgSign = true\n[tag]\n\tgpgSign = true\n"
        "[core]\n\tautocrlf = true\n[user]\n\tname = Somebody\n"
    )
    environment = os.environ | {
        "HOME": str(tmp_path),
        "TZ": "Pacific/Auckland",
        "PYTHONHASHSEED": "7",
        "GIT_DIR": "/nowhere",
        "GIT_DEFAULT_HASH": "sha256",
    }
    subprocess.run(
        [sys.executable, sample_shop.__file__, "elsewhere"],
        cwd=tmp_path,
        env=environment,
        umask=0o077,
        check=True,
        capture_output=True,
    )
    other = tmp_path / "elsewhere"
    refs = ("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
    assert git(other / "shop", *refs) == git(shop.repository, *refs)
    for layout in shop.images.rglob("oci-layout"):
        name = layout.parent.relative_to(shop.images)
        assert tags_of(other / "images" / name) == tags_of(layout.parent)


def test_it_takes_less_than_three_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    build_shop(tmp_path)
    assert time.monotonic() - start < 3


def test_a_folder_that_has_a_shop_is_refused(shop: SampleShop) -> None:
    command = [sys.executable, sample_shop.__file__, str(shop.repository.parent)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists" in done.stderr


def test_it_does_not_import_bundler() -> None:
    check = "import sys, tools.sample_shop; sys.exit('bundler' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=sample_shop.ROOT, check=True)


def test_the_project_file_can_name_real_registries_and_other_folders(tmp_path: Path) -> None:
    shop = build_shop(
        tmp_path / "oci",
        lookup="oci://127.0.0.1:5000/shop",
        deploy_registry="oci://127.0.0.1:5001/deploy/shop",
    )
    project = project_at(shop, "main")
    assert project["deployRegistry"] == "oci://127.0.0.1:5001/deploy/shop"
    assert project["images"]["lookup"] == {
        "registry.example.com/shop": "oci://127.0.0.1:5000/shop",
        "docker.io/library": "oci://127.0.0.1:5000/shop/library",
    }
    shop = build_shop(tmp_path / "folders", images=tmp_path / "images")
    lookup = project_at(shop, "main")["images"]["lookup"]
    assert lookup["registry.example.com/shop"] == f"ocidir://{tmp_path.resolve()}/images"
    assert (tmp_path / "images/cart/index.json").is_file()


# -- the history -----------------------------------------------------------------------------------


def test_the_history_has_the_shape_of_a_grown_repository(shop: SampleShop) -> None:
    repository = shop.repository
    assert int(git(repository, "rev-list", "--count", "v1.2.0")) >= 40
    assert len(git(repository, "rev-list", "--merges", "v1.2.0").split()) >= 4
    assert git(repository, "log", "--format=%s", "--grep=^Revert ", "v1.1.0")
    types = {tag: git(repository, "cat-file", "-t", f"refs/tags/{tag}") for tag in shop.tags}
    lightweight = {tag for tag, kind in types.items() if kind == "commit"}
    assert types.keys() == {*RELEASES, "v2.0.0-rc.1"}
    assert lightweight == {"v1.2.0"}
    for tag, commit in shop.tags.items():
        assert git(repository, "rev-parse", f"{tag}^{{commit}}") == commit
    assert git(repository, "branch", "--contains", "v2.0.0-rc.1").split() == ["feature/loyalty"]
    assert git(repository, "status", "--porcelain") == ""
    git(repository, "fsck", "--strict")


def test_the_remote_has_everything(shop: SampleShop) -> None:
    assert shop.remote
    refs = ("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
    assert git(shop.remote, *refs) == git(shop.repository, *refs)
    assert git(shop.repository, "rev-parse", "origin/main") == git(shop.remote, "rev-parse", "main")


def test_commits_touch_what_their_messages_say(shop: SampleShop) -> None:
    folders = {"docs": "docs/", "overlays": "overlays/", "money": "libs/", "ui": "libs/"}
    for subject, commit in shop.commits.items():
        scope, colon, _ = subject.partition(": ")
        if colon and " " not in scope:
            touched = git(shop.repository, "show", "--format=", "--name-only", commit).split()
            folder = folders.get(scope, f"services/{scope}/")
            assert touched, subject
            assert all(path.startswith(folder) for path in touched), subject


def test_every_file_of_the_folders_comes_into_the_history(shop: SampleShop) -> None:
    added = git(shop.repository, "log", "--all", "--diff-filter=A", "--name-only", "--format=")
    assert sample_shop.read_shop({}).keys() <= set(added.split())


def test_merges_are_what_git_makes_of_their_parents(shop: SampleShop) -> None:
    for merge in git(shop.repository, "rev-list", "--merges", "main").split():
        tree = git(shop.repository, "merge-tree", "--write-tree", f"{merge}^1", f"{merge}^2")
        assert tree == git(shop.repository, "rev-parse", f"{merge}^{{tree}}")


def test_one_merge_joins_changes_of_one_service_on_both_sides(shop: SampleShop) -> None:
    merge = shop.commits["Merge branch 'develop'"]
    differing = git(shop.repository, "show", "--format=", "--name-only", merge).split()
    assert differing == ["services/frontend/server.mjs"]


def test_the_project_file_and_ci_agree_on_what_services_are_built_from(shop: SampleShop) -> None:
    for service in sample_shop.SERVICES:
        known_to_ci = sample_shop.inputs_of(service, sample_shop.read_shop({}))
        assert inputs_at(shop, "v1.0.0", service).keys() == known_to_ci.keys()
    services = project_at(shop, "v1.0.0")["services"].keys()
    assert services == sample_shop.SERVICES.keys()
    assert project_at(shop, "v1.1.0")["services"].keys() == services - {"coupons"}


# -- the images ------------------------------------------------------------------------------------


def test_each_push_to_main_builds_what_it_affects_but_for_two_documented_exceptions(
    shop: SampleShop,
) -> None:
    pushes = git(shop.repository, "rev-list", "--first-parent", "--reverse", "main").split()
    not_built = set()
    for former, push in zip(["", *pushes], pushes, strict=False):
        for service, built in shop.built.items():
            inputs = inputs_at(shop, push, service)
            is_affected = inputs and (not former or inputs != inputs_at(shop, former, service))
            if not is_affected:
                assert push not in built
            elif push not in built:
                not_built.add((push, service))
    assert not_built == {
        (shop.commits['Revert "catalog: cheapest first"'], "catalog"),
        (shop.commits["Merge branch 'develop'"], "mailer"),
    }


@pytest.mark.parametrize("tag", RELEASES)
def test_the_expected_image_is_the_first_in_the_order_of_resolution(
    shop: SampleShop, tag: str
) -> None:
    repository = shop.repository
    assert shop.expected[tag].keys() == project_at(shop, tag)["services"].keys()
    for service, image in shop.expected[tag].items():
        inputs = inputs_at(shop, tag, service)
        introduced = tag
        for commit in git(repository, "rev-list", "--first-parent", tag).split():
            if inputs_at(shop, commit, service) != inputs:
                break
            introduced = commit
        order = [
            (introduced, "first-parent"),
            (git(repository, "rev-list", "-1", tag, "--", *inputs), "history"),
            *((it, "identical-tree") for it in git(repository, "rev-list", tag).split()),
        ]
        assert (image.commit, image.resolved_via) == next(
            (commit, via)
            for commit, via in order
            if commit in shop.built[service] and inputs_at(shop, commit, service) == inputs
        )
        assert image.digest == tags_of(shop.images / service)[image.commit]


def test_at_v1_1_0_two_services_are_found_under_another_commit(shop: SampleShop) -> None:
    expected = shop.expected["v1.1.0"]
    via = {service: image.resolved_via for service, image in expected.items()}
    assert {service: how for service, how in via.items() if how != "first-parent"} == {
        "catalog": "identical-tree",
        "mailer": "history",
    }
    assert expected["catalog"] == sample_shop.ExpectedImage(
        shop.commits["Go 1.23"], shop.expected["v1.0.0"]["catalog"].digest, "identical-tree"
    )
    assert expected["mailer"].commit == shop.commits["mailer: greet customers by name"]


def test_a_change_of_a_library_gives_its_users_its_commit(shop: SampleShop) -> None:
    expected = shop.expected["v1.1.0"]
    for service in ("cart", "checkout", "orders", "reports"):
        assert expected[service].commit == shop.commits["money: round half to even"]
    assert expected["frontend"].commit == shop.commits["ui: prices line up"]


@pytest.mark.parametrize(
    ("former", "tag", "changed", "gone"),
    [
        ("v1.0.0", "v1.1.0", "cart checkout frontend mailer orders reports", "coupons"),
        ("v1.1.0", "v1.2.0", "checkout", ""),
        ("v1.2.0", "v1.2.1", "", ""),
    ],
)
def test_releases_differ_in(
    shop: SampleShop, former: str, tag: str, changed: str, gone: str
) -> None:
    before, after = shop.expected[former], shop.expected[tag]
    differing = {service for service in after if after[service].digest != before[service].digest}
    assert (differing, before.keys() - after.keys()) == (set(changed.split()), set(gone.split()))


def test_layouts_are_complete_and_images_say_where_they_come_from(shop: SampleShop) -> None:
    main = git(shop.repository, "rev-list", "--first-parent", "main").split()
    for service, commits in shop.built.items():
        layout = shop.images / service
        assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        assert {k: v for k, v in tags_of(layout).items() if k != "latest"} == commits
        for commit, digest in commits.items():
            manifest = json.loads(read_blob(layout, digest))
            for descriptor in (manifest["config"], *manifest["layers"]):
                assert len(read_blob(layout, descriptor["digest"])) == descriptor["size"]
            config = json.loads(read_blob(layout, manifest["config"]["digest"]))
            assert config["config"]["Labels"] == {
                "org.opencontainers.image.revision": commit,
                "org.opencontainers.image.source": project_at(shop, "main")["source"],
                REF_NAME: "main" if commit in main else "develop",
            }
            seconds = int(git(shop.repository, "show", "-s", "--format=%ct", commit))
            assert datetime.fromisoformat(config["created"]) == datetime.fromtimestamp(seconds, UTC)
            with tarfile.open(fileobj=io.BytesIO(read_blob(layout, descriptor["digest"]))) as tar:
                files = {name.removeprefix("app/") for name in tar.getnames()}
            assert files == inputs_at(shop, commit, service).keys()


def test_latest_is_what_develop_built_last(shop: SampleShop) -> None:
    latest = {
        service: tags["latest"]
        for service in shop.built
        if "latest" in (tags := tags_of(shop.images / service))
    }
    assert latest.keys() == {"frontend", "mailer", "orders", "search"}
    head = git(shop.repository, "rev-parse", "develop")
    assert latest["search"] == shop.built["search"][head]


@pytest.mark.parametrize("kind", [Distribution, ReferrersRegistry])
def test_images_can_be_pushed_to_a_real_registry(shop: SampleShop, kind: type[Registry]) -> None:
    with kind() as registry:
        push_images(shop.images, registry.host, prefix="some/shop")
        wanted = [(f"some/shop/{name}", tags) for name, tags in shop.built.items()]
        redis = shop.external["docker.io/library/redis:7.4.1"]
        for name, tags in [*wanted, ("some/shop/library/redis", {"7.4.1": redis})]:
            for tag, digest in tags.items():
                connection = HTTPConnection(registry.host)
                headers = {"Accept": sample_shop.MANIFEST_TYPE}
                connection.request("GET", f"/v2/{name}/manifests/{tag}", headers=headers)
                with closing(connection):
                    manifest = connection.getresponse().read()
                assert hashlib.sha256(manifest).hexdigest() == digest.removeprefix("sha256:")


# -- the overlays ----------------------------------------------------------------------------------


@cache
def render(repository: Path, tag: str, overlay: str) -> tuple[dict[str, Any], ...]:
    folder = repository.parent / "exports" / tag
    if not folder.exists():
        folder.mkdir(parents=True)
        archive = sample_shop.git(repository, "archive", tag)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    command = [str(binary_path("kustomize")), "build", str(folder / "overlays" / overlay)]
    return tuple(yaml.safe_load_all(subprocess.check_output(command)))


def name_of(item: dict[str, Any]) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def pod_of(item: dict[str, Any]) -> Any:
    spec = item.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec")


def containers_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    pod: dict[str, list[dict[str, Any]]] = pod_of(item) or {}
    return pod.get("initContainers", []) + pod.get("containers", [])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("tag", RELEASES)
def test_an_overlay_builds_and_has_every_service(shop: SampleShop, tag: str, overlay: str) -> None:
    project = project_at(shop, tag)
    wanted = project["services"].keys() - set(
        project["environments"].get(overlay, {}).get("without", [])
    )
    names = {
        name: service
        for service, entry in project["services"].items()
        for name in (service, f"registry.example.com/shop/{service}", *entry.get("names", []))
    }
    found = set()
    for item in render(shop.repository, tag, overlay):
        for container in containers_of(item):
            image = container["image"]
            if image not in shop.external:
                found.add(names[image.removesuffix(":latest")])
    assert found == wanted


def test_overlays_have_every_kind_that_pins_have_to_reach(shop: SampleShop) -> None:
    items = render(shop.repository, "v1.0.0", "stage")
    assert {item["kind"] for item in items} == {
        "ConfigMap",
        "CronJob",
        "Deployment",
        "Job",
        "Namespace",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }
    images = {container["image"] for item in items for container in containers_of(item)}
    assert {"catalog", "shop-reports", "docker.io/library/redis:7.4.1"} < images
    assert sum(bool((pod_of(item) or {}).get("initContainers")) for item in items) == 2


def test_from_v1_0_0_to_v1_1_0_objects_go(shop: SampleShop) -> None:
    former = {name_of(item) for item in render(shop.repository, "v1.0.0", "stage")}
    gone = former - {name_of(item) for item in render(shop.repository, "v1.1.0", "stage")}
    texts = gone - {"Deployment/coupons", "Service/coupons"}
    assert len(gone) == 3
    assert texts.pop().startswith("ConfigMap/frontend-texts-")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_from_v1_1_0_on_overlays_do_not_change(shop: SampleShop, overlay: str) -> None:
    first = render(shop.repository, "v1.1.0", overlay)
    assert first != render(shop.repository, "v1.0.0", overlay)
    for tag in ("v1.2.0", "v1.2.1"):
        assert render(shop.repository, tag, overlay) == first


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted_and_say_what_they_need(shop: SampleShop, overlay: str) -> None:
    for item in render(shop.repository, "v1.0.0", overlay):
        if pod := pod_of(item):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers_of(item):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        if item["kind"] in {"Deployment", "StatefulSet"}:
            assert all("readinessProbe" in container for container in pod_of(item)["containers"])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kubernetes", ["1.29", "1.36"])
def test_objects_are_valid_for_kubernetes(shop: SampleShop, kubernetes: str, overlay: str) -> None:
    for item in render(shop.repository, "v1.0.0", overlay):
        validate(item, kubernetes, strict=True)
