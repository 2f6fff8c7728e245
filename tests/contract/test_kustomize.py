"""Renderers: what holds for the fake and for kustomize, and what holds for kustomize alone."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.renderers.kustomize import Kustomize
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.errors import RenderFailed, ToolMissing
from bundler.manifests import read_documents
from bundler.model.bundle import PinnedOverlay, PinnedTarget
from bundler.model.objects import KubernetesObject
from bundler.model.project import Target
from bundler.ports import Renderer
from bundler.publish.images import images_of
from bundler.publish.pin import pin, with_services
from bundler.publish.render import render
from bundler.publish.rendering import Renderers
from bundler.publish.validate import validate
from tests.fakes.renderer import FolderCharts, FolderRenderer, write_overlay
from tests.fakes.shop import (
    REDIS,
    deployment,
    environment,
    lock,
    obj,
    pinned,
    pod_spec,
    project,
    resolve_external,
)

ROOT = Path(__file__).parents[2]
NEWEST = "1.36"
CONFIG = obj("v1", "ConfigMap", "c")


@pytest.fixture(params=["fake", "kustomize"])
def renderer(request: pytest.FixtureRequest, kustomize_path: Path) -> Renderer:
    return FolderRenderer() if request.param == "fake" else Kustomize(str(kustomize_path))


@pytest.fixture
def kustomize(kustomize_path: Path) -> Kustomize:
    return Kustomize(str(kustomize_path))


def overlay(folder: str = "overlays/stage") -> PinnedOverlay:
    env = environment()
    shop = project(env)
    made = pin(shop, env, env.targets[0], lock(shop))
    pinned = PinnedTarget(env, Target("default", "shop", folder), made.pins)
    return PinnedOverlay(pinned, folder)


def rendered(renderer: Renderer, tree: Path, folder: str = "overlays/stage") -> list[Any]:
    """What is rendered, with its services pinned."""
    made = overlay(folder)
    return list(with_services(made.pinned, read_documents(renderer.render(tree, made))))


def write(tree: Path, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content if isinstance(content, str) else json.dumps(content))


# --- every renderer -----------------------------------------------------------------------------


@pytest.mark.requirement("B-60")
def test_every_name_of_a_service_is_replaced_by_tag_and_digest(
    renderer: Renderer, tmp_path: Path
) -> None:
    names = ("cart", "old-cart:v3", "registry.example.com/shop/cart:1", REDIS, "cartoon", "my/cart")
    write_overlay(tmp_path, "overlays/stage", deployment("cart", *names))
    (workload,) = rendered(renderer, tmp_path)
    images = [use.image for use in images_of(workload)]
    assert images == [*[pinned("cart")] * 3, REDIS, "cartoon", "my/cart"]


def test_the_version_starts_with_v_and_numbers(renderer: Renderer) -> None:
    assert renderer.version().startswith("v")
    assert renderer.version().count(".") == 2


def test_an_overlay_that_is_not_there_names_its_environment(
    renderer: Renderer, tmp_path: Path
) -> None:
    with pytest.raises(RenderFailed, match=r"stage/default.*overlays/stage"):
        rendered(renderer, tmp_path)


# --- kustomize: what is pinned ------------------------------------------------------------------


def workloads(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    apps = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
    job = {"spec": {"template": template}}
    return [
        obj("v1", "Pod", "pod", spec=spec),
        obj("v1", "PodTemplate", "pod-template", template=template),
        obj("v1", "ReplicationController", "rc", spec={"template": template}),
        *(obj("apps/v1", kind, kind.lower(), spec={"template": template}) for kind in apps),
        obj("batch/v1", "Job", "job", **job),
        obj("batch/v1", "CronJob", "cron-job", spec={"jobTemplate": job}),
    ]


@pytest.mark.requirement("B-66")
def test_all_containers_and_image_volumes_of_all_workloads_are_pinned(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    spec = pod_spec(
        "cart:1",
        "old-cart",
        initContainers=[
            {"name": "init", "image": "cart"},
            {"name": "sidecar", "image": "cart:2", "restartPolicy": "Always"},
        ],
        ephemeralContainers=[{"name": "debug", "image": "cart"}],
        volumes=[
            {"name": "v", "image": {"reference": "registry.example.com/shop/cart:1"}},
            {"name": "e", "emptyDir": {}},
        ],
    )
    write_overlay(tmp_path, "overlays/stage", *workloads(spec))
    documents = rendered(kustomize, tmp_path)
    assert len(documents) == 9
    for document in documents:
        images = [use.image for use in images_of(document)]
        assert images == [pinned("cart")] * 6, document["kind"]


@pytest.mark.requirement("B-66")
def test_a_custom_resource_with_a_pod_template_is_pinned(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    template = {"spec": pod_spec("cart", initContainers=[{"name": "i", "image": "cart:1"}])}
    rollout = obj("argoproj.io/v1alpha1", "Rollout", "r", spec={"template": template})
    write_overlay(tmp_path, "overlays/stage", rollout)
    (document,) = rendered(kustomize, tmp_path)
    assert [use.image for use in images_of(document)] == [pinned("cart")] * 2


@pytest.mark.requirement("B-68")
@pytest.mark.parametrize(
    "entry",
    [
        {"newTag": "v9"},
        {"newName": "registry.example.com/shop/cart", "newTag": "v9"},
        {"digest": "sha256:" + "0" * 64},
        {"newName": "old-cart", "newTag": "v9", "digest": "sha256:" + "0" * 64},
    ],
)
def test_the_authors_own_image_entries_come_first(
    kustomize: Kustomize, tmp_path: Path, entry: dict[str, str]
) -> None:
    write_overlay(tmp_path, "base", deployment("cart", "cart:1"))
    images = [{"name": "cart", **entry}]
    write(tmp_path, {"o/kustomization.yaml": {"resources": ["../base"], "images": images}})
    (document,) = rendered(kustomize, tmp_path, "o")
    assert [use.image for use in images_of(document)] == [pinned("cart")]


@pytest.mark.requirement("B-67")
def test_rendering_leaves_the_tree_as_it_was(kustomize: Kustomize, tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/stage", deployment("cart", "cart"))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    with ThreadPoolExecutor(4) as pool:
        outputs = set(pool.map(lambda _: kustomize.render(tmp_path, overlay()), range(4)))
    assert len(outputs) == 1
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_the_root_of_the_repository_can_be_an_overlay(kustomize: Kustomize, tmp_path: Path) -> None:
    write_overlay(tmp_path, ".", deployment("cart", "cart"))
    (document,) = rendered(kustomize, tmp_path, ".")
    assert [use.image for use in images_of(document)] == [pinned("cart")]


# --- kustomize: what does not build -------------------------------------------------------------


def failure(kustomize: Kustomize, tree: Path, folder: str = "o") -> RenderFailed:
    with pytest.raises(RenderFailed) as caught:
        kustomize.render(tree, overlay(folder))
    assert caught.value.message.startswith("stage/default: ")
    return caught.value


def test_what_kustomize_says_is_told_with_the_repositorys_paths(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    patch = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nobody"}}
    document = {"resources": ["c.yaml"], "patches": [{"path": "p.yaml"}]}
    write(tmp_path, {"o/kustomization.yaml": document, "o/c.yaml": CONFIG, "o/p.yaml": patch})
    (finding,) = failure(kustomize, tmp_path).findings
    assert "no matches for Id Secret" in finding.message
    assert tmp_path.name not in finding.message
    assert "bundler-pins" not in finding.message
    assert (finding.file, finding.environment) == ("o", "stage/default")


def test_a_folder_without_a_kustomization_is_told(kustomize: Kustomize, tmp_path: Path) -> None:
    write(tmp_path, {"o/c.yaml": CONFIG})
    error = failure(kustomize, tmp_path)
    assert "has no kustomization.yaml" in error.message
    assert "o/kustomization.yaml" in str(error.hint)


@pytest.mark.parametrize(
    ("folder", "message", "hint"),
    [
        ("deploy/prd", "is not in the tree", "did you mean deploy/prod? Else commit"),
        ("overlays/prod", "is not in the tree", "did you mean deploy/prod? Else commit"),
        ("deploy/prod/c.yaml", "is a file", "did you mean deploy/prod? Else change env"),
        ("deploy/prod/kustomization.yaml", "is a file", "did you mean deploy/prod? Else change"),
        ("deploy", "has no kustomization.yaml", "did you mean deploy/prod? Else commit"),
        ("elsewhere", "is not in the tree", "commit elsewhere/kustomization.yaml"),
    ],
)
def test_an_overlay_that_is_not_there_is_told_with_a_near_one(
    kustomize: Kustomize, tmp_path: Path, folder: str, message: str, hint: str
) -> None:
    files = {"kustomization.yaml": {"resources": ["c.yaml"]}, "c.yaml": CONFIG}
    write(tmp_path, {f"deploy/prod/{name}": content for name, content in files.items()})
    with pytest.raises(RenderFailed) as error:
        kustomize.render(tmp_path, overlay(folder))
    assert message in error.value.message
    assert str(error.value.hint).startswith(hint)


def test_a_missing_entry_is_told_with_a_near_one(kustomize: Kustomize, tmp_path: Path) -> None:
    document = {"resources": ["../base/deploymnt.yaml"]}
    write(tmp_path, {"o/kustomization.yaml": document, "base/deployment.yaml": CONFIG})
    (finding,) = failure(kustomize, tmp_path).findings
    assert finding.hint == "did you mean ../base/deployment.yaml?"


def test_what_kustomize_says_of_old_fields_is_left_out(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    patch = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nobody"}}
    document = {"resources": ["c.yaml"], "patchesStrategicMerge": ["p.yaml"]}
    write(tmp_path, {"o/kustomization.yaml": document, "o/c.yaml": CONFIG, "o/p.yaml": patch})
    (finding,) = failure(kustomize, tmp_path).findings
    assert finding.message.startswith("kustomize: no matches for Id Secret")


def test_a_kustomization_that_is_no_yaml_is_told_with_its_line(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    write(tmp_path, {"o/kustomization.yaml": "resources: []\nimages: [\n"})
    (finding,) = failure(kustomize, tmp_path).findings
    assert (finding.rule, finding.file) == ("invalid-yaml", "o/kustomization.yaml")
    assert finding.line


REFUSED = [
    ({"resources": ["https://github.com/x/y?ref=v1"]}, "remote-base", "/resources/0"),
    ({"resources": ["github.com/x/y//deploy"]}, "remote-base", "/resources/0"),
    ({"resources": ["git@example.com:x/y"]}, "remote-base", "/resources/0"),
    ({"resources": ["git::ssh://example.com/x/y"]}, "remote-base", "/resources/0"),
    ({"bases": ["http://example.com/x.yaml"]}, "remote-base", "/bases/0"),
    ({"components": ["example.com/x/y.git//z"]}, "remote-base", "/components/0"),
    ({"crds": ["https://example.com/crd.json"]}, "remote-base", "/crds/0"),
    ({"patches": [{"path": "https://example.com/p"}]}, "remote-base", "/patches/0/path"),
    ({"openapi": {"path": "https://example.com/o"}}, "remote-base", "/openapi/path"),
    (
        {"configMapGenerator": [{"name": "x", "files": ["k=https://example.com/f"]}]},
        "remote-base",
        "/configMapGenerator/0/files/0",
    ),
    ({"resources": ["/etc"]}, "leaves-the-tree", "/resources/0"),
    ({"resources": ["../../elsewhere"]}, "leaves-the-tree", "/resources/0"),
    (
        {"secretGenerator": [{"name": "x", "files": ["../../../etc/passwd"]}]},
        "leaves-the-tree",
        "/secretGenerator/0/files/0",
    ),
    ({"resources": ["nothing.yaml"]}, "missing-file", "/resources/0"),
    (
        {"helmChartInflationGenerator": [{"chartName": "x"}]},
        "helm-in-kustomize",
        "/helmChartInflationGenerator",
    ),
]


@pytest.mark.parametrize(("document", "rule", "pointer"), REFUSED)
def test_what_comes_from_elsewhere_is_refused_before_kustomize_runs(
    tmp_path: Path, kustomize: Kustomize, document: dict[str, Any], rule: str, pointer: str
) -> None:
    write(
        tmp_path / "tree",
        {
            "o/kustomization.yaml": {"resources": ["../base"]},
            "base/kustomization.yaml": document,
        },
    )
    (finding,) = failure(kustomize, tmp_path / "tree").findings
    assert (finding.rule, finding.pointer) == (rule, pointer)
    assert finding.file == "base/kustomization.yaml"


def test_everything_that_is_refused_is_told_at_once(kustomize: Kustomize, tmp_path: Path) -> None:
    document = {"resources": ["/etc", "https://example.com/x"], "helmChartInflationGenerator": []}
    write(tmp_path, {"o/kustomization.yaml": document})
    assert len(failure(kustomize, tmp_path).findings) == 3


@pytest.mark.parametrize("key", ["generators", "transformers", "validators"])
@pytest.mark.parametrize("is_inline", [True, False])
def test_functions_that_run_programs_are_refused(
    kustomize: Kustomize, tmp_path: Path, key: str, is_inline: bool
) -> None:
    function = {"config.kubernetes.io/function": "exec: {path: ./run.sh}"}
    plugin = obj("example.com/v1", "Run", "x", metadata={"annotations": function})
    entry = json.dumps(plugin, indent=1) if is_inline else "plugin.yaml"
    document = {"resources": ["c.yaml"], key: [entry]}
    script = "#!/bin/sh\ntouch ../ran\n"
    write(tmp_path, {"o/kustomization.yaml": document, "o/c.yaml": CONFIG, "o/run.sh": script})
    write(tmp_path, {"o/plugin.yaml": plugin})
    (tmp_path / "o/run.sh").chmod(0o755)
    assert [finding.rule for finding in failure(kustomize, tmp_path).findings] == ["plugin"]
    assert not (tmp_path / "ran").exists()


def test_builtin_transformers_and_urls_in_literals_are_allowed(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    prefix = obj("builtin", "PrefixTransformer", "p", prefix="my-")
    prefix["fieldSpecs"] = [{"path": "metadata/name"}]
    generator = {"name": "x", "literals": ["URL=https://example.com/?ref=1"]}
    write(
        tmp_path,
        {
            "o/kustomization.yaml": {
                "resources": ["c.yaml"],
                "transformers": ["p.yaml"],
                "configMapGenerator": [generator],
                "commonAnnotations": {"path": "https://example.com"},
            },
            "o/c.yaml": CONFIG,
            "o/p.yaml": prefix,
        },
    )
    assert {
        document["metadata"]["name"][:4] for document in rendered(kustomize, tmp_path, "o")
    } == {
        "my-c",
        "my-x",
    }


def test_a_circle_of_overlays_is_told(kustomize: Kustomize, tmp_path: Path) -> None:
    write(tmp_path, {"o/kustomization.yaml": {"resources": ["../p"]}})
    write(tmp_path, {"p/kustomization.yaml": {"resources": ["../o"]}})
    assert "cycle" in str(failure(kustomize, tmp_path).findings[0])


# --- the program --------------------------------------------------------------------------------


def program(folder: Path, text: str) -> str:
    """A program that tells a version and then does what the text says."""
    path = folder / "kustomize"
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo v5.8.2 && exit\n{text}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/stage", CONFIG)
    pid = tmp_path / "pid"
    endless = program(tmp_path, f"sleep 600 & echo $! > {pid}; wait")
    started = time.monotonic()
    with pytest.raises(RenderFailed) as caught:
        Kustomize(endless, seconds=1.0).render(tmp_path, overlay())
    assert time.monotonic() - started < 30
    assert "not done after 1 s" in str(caught.value.findings[0])
    child = int(pid.read_text())
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process is there and is more than a zombie that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_writes_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundler.adapters.renderers.program.MAX_OUTPUT", 1_000_000)
    write_overlay(tmp_path, "overlays/stage", CONFIG)
    with pytest.raises(RenderFailed) as caught:
        Kustomize(program(tmp_path, "exec yes")).render(tmp_path, overlay())
    assert "wrote more than 1000000 bytes" in str(caught.value.findings[0])


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_render(tmp_path: Path) -> None:
    write_overlay(tmp_path, "overlays/stage", CONFIG)
    path = program(tmp_path, "echo kind: A; sleep 600 & exit 0")
    assert Kustomize(path).render(tmp_path, overlay()) == b"kind: A\n"


def test_the_program_sees_no_credentials_and_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    monkeypatch.setenv("KUSTOMIZE_PLUGIN_HOME", "/plugins")
    write_overlay(tmp_path, "overlays/stage", CONFIG)
    output = Kustomize(program(tmp_path, "env")).render(tmp_path, overlay()).decode()
    assert "hunter2" not in output
    assert "KUSTOMIZE_PLUGIN_HOME" not in output
    home = next(line for line in output.splitlines() if line.startswith("HOME="))
    assert home != f"HOME={Path.home()}"


def test_a_missing_kustomize_is_told_with_version_and_how_to_get_it() -> None:
    with pytest.raises(ToolMissing) as caught:
        Kustomize("/nowhere/kustomize").version()
    assert "not installed" in caught.value.message
    assert "v5.0.0" in str(caught.value.hint)
    assert "https://" in str(caught.value.hint)


def test_a_kustomize_that_is_too_old_is_told(tmp_path: Path) -> None:
    path = Path(program(tmp_path, ""))
    path.write_text(path.read_text().replace("v5.8.2", "v4.5.7"))
    with pytest.raises(ToolMissing, match="older than"):
        Kustomize(str(path)).version()


def test_kubectl_is_used_where_there_is_no_kustomize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '#!/bin/sh\n[ "$1" = kustomize ] && echo "kind: A" && exit\n'
    text += "echo 'Client Version: v1.36.1'\necho 'Kustomize Version: v5.7.1'\n"
    (tmp_path / "kubectl").write_text(text)
    (tmp_path / "kubectl").chmod(0o755)
    shell = shutil.which("sh")
    assert shell
    (tmp_path / "sh").symlink_to(shell)
    monkeypatch.setenv("PATH", str(tmp_path))
    write_overlay(tmp_path, "overlays/stage", CONFIG)
    kubectl = Kustomize()
    assert kubectl.version() == "v5.7.1"
    assert kubectl.render(tmp_path, overlay()) == b"kind: A\n"


# --- the sample shop ----------------------------------------------------------------------------


@pytest.mark.requirement("B-60", "B-66", "B-72", "B-74")
def test_the_sample_shop_renders_and_validates(kustomize: Kustomize, tmp_path: Path) -> None:
    from bundler.adapters.project import file as project_file
    from bundler.adapters.schemas.document_schemas import DocumentSchemas

    shutil.copytree(ROOT / "overlays", tmp_path / "overlays")
    text = (ROOT / "fixtures/shop/bundler.yaml").read_bytes()
    schemas = KubernetesSchemas()
    shop = project_file.parse(text, tmp_path, DocumentSchemas(), schemas)
    bundle = render(
        shop, lock(shop), tmp_path, Renderers(kustomize, FolderCharts()), resolve_external, NEWEST
    )
    validated = validate(bundle, schemas)
    assert {warning.rule for warning in validated.warnings} == {"downtime", "mutable-tag"}
    for target in bundle.targets:
        for each in target.objects:
            assert_pinned(each, target.environment.protected)


def assert_pinned(each: KubernetesObject, protected: bool) -> None:
    for use in images_of(each):
        assert "@sha256:" in use.image or (not protected and "redis" in use.image)


# --- what layers say to generated ConfigMaps ----------------------------------------------------

WITH_SETTINGS = deployment("cart", "cart")
WITH_SETTINGS["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [
    {"configMapRef": {"name": "settings"}}
]
GENERATOR = {"name": "settings", "literals": ["A=1", "B=1"]}
AWKWARD = {"A": "2", "C": "'q'", "D": '"q"', "E": "", "F": "x=y", "G": "one\ntwo\n", "H": " $(A) "}


def with_settings(
    kustomize: Kustomize, tree: Path, content: Mapping[str, str], name: str = "settings"
) -> list[Any]:
    made = replace(overlay("over"), config_maps={name: content})
    return read_documents(kustomize.render(tree, made))


def settings_of(documents: list[Any]) -> tuple[Any, Any]:
    """The generated ConfigMap, and the name that the Deployment has for it."""
    [config_map] = [each for each in documents if each["kind"] == "ConfigMap"]
    [workload] = [each for each in documents if each["kind"] == "Deployment"]
    [container] = workload["spec"]["template"]["spec"]["containers"]
    return config_map, container["envFrom"][0]["configMapRef"]["name"]


@pytest.mark.requirement("C-20", "C-23")
@pytest.mark.parametrize(
    ("over", "name"),
    [
        ({"resources": ["../base"]}, "settings"),
        ({"resources": ["../base"], "namespace": "prod"}, "settings"),
        ({"resources": ["../base"], "namePrefix": "p-", "nameSuffix": "-s"}, "p-settings-s"),
        ({"resources": ["../base"], "namePrefix": "p-", "namespace": "prod"}, "p-settings"),
        ({"components": ["../part"], "resources": ["../base"], "namePrefix": "p-"}, "p-c-settings"),
        (
            {"resources": ["../base"], "configMapGenerator": [{**GENERATOR, "behavior": "merge"}]},
            "settings",
        ),
    ],
)
def test_a_generated_config_map_gets_what_layers_say_before_its_hash(
    kustomize: Kustomize, tmp_path: Path, over: Any, name: str
) -> None:
    write_overlay(tmp_path, "base", WITH_SETTINGS)
    base = {"resources": ["0.yaml"], "configMapGenerator": [GENERATOR], "namespace": "base"}
    part = {"kind": "Component", "apiVersion": "kustomize.config.k8s.io/v1alpha1"}
    write(
        tmp_path,
        {
            "base/kustomization.yaml": base,
            "part/kustomization.yaml": {**part, "namePrefix": "c-"},
            "over/kustomization.yaml": over,
        },
    )
    before, _ = settings_of(with_settings(kustomize, tmp_path, {}, name))
    after, used = settings_of(with_settings(kustomize, tmp_path, AWKWARD, name))
    assert after["data"] == {"A": "2", "B": "1", **AWKWARD}
    assert used == after["metadata"]["name"] != before["metadata"]["name"]
    assert used.startswith(f"{name}-")


def test_a_config_map_that_nothing_generates_is_left_to_later(
    kustomize: Kustomize, tmp_path: Path
) -> None:
    write_overlay(tmp_path, "over", obj("v1", "ConfigMap", "settings", data={"A": "1"}))
    [document] = with_settings(kustomize, tmp_path, {"A": "2"})
    assert document["data"] == {"A": "1"}
