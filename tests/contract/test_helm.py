"""Charts rendered by helm itself, v3 and v4: what comes out, and what is refused before it runs."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.renderers import program as renderer_program
from bundler.adapters.renderers.helm import Helm
from bundler.adapters.renderers.kustomize import Kustomize
from bundler.errors import RenderFailed, ToolMissing
from bundler.manifests import read_documents
from bundler.model.bundle import PinnedChart, RenderedBundle
from bundler.model.finding import Finding
from bundler.model.objects import MANAGED_BY, WAVE, WEIGHT, KubernetesObject
from bundler.model.project import Environment, HelmRelease, Project, Target
from bundler.publish.images import images_of
from bundler.publish.pin import pin
from bundler.publish.render import files, render
from bundler.publish.rendering import Renderers
from tests.fakes.shop import lock, pinned, project, resolve_external
from tools.build import PROGRAM, binary_path

CHARTS = Path(__file__).parents[2] / "fixtures" / "charts"
SERVICES = (
    "cart", "catalog", "checkout", "coupons", "frontend", "mailer", "orders", "reports", "search",
)  # fmt: skip
RELEASE = HelmRelease("shop", "shop", ("values/prod.yaml",))
SECRET_WORDS = "hunter2-from-the-environment"


@pytest.fixture(params=["helm", "helm4"])
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def helm(program: str) -> Helm:
    return Helm(str(binary_path(program)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the sample charts, to be changed."""
    return Path(shutil.copytree(CHARTS, tmp_path / "tree")).resolve()


def shop(release: HelmRelease = RELEASE, *, protected: bool = True) -> Project:
    target = Target("default", "shop", helm=(release,))
    made = project(Environment("prod", (target,), protected), services=SERVICES)
    names = {"reports": replace(made.services["reports"], names=frozenset({"shop-reports"}))}
    return replace(made, services={**made.services, **names})


def chart(release: HelmRelease = RELEASE, *, protected: bool = True) -> PinnedChart:
    of = shop(release, protected=protected)
    environment = of.environments["prod"]
    return PinnedChart(pin(of, environment, environment.targets[0], lock(of)), release, "1.36")


def bundle(helm: Helm, tree: Path, of: Project) -> RenderedBundle:
    return render(of, lock(of), tree, Renderers(Kustomize(), helm), resolve_external, "1.36")


def written(tree: Path, file: str, text: str) -> Path:
    place = tree / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def changed(tree: Path, file: str, before: str, after: str) -> None:
    text = (tree / file).read_text()
    assert before in text
    (tree / file).write_text(text.replace(before, after))


def documents(helm: Helm, tree: Path, release: HelmRelease = RELEASE) -> list[KubernetesObject]:
    return read_documents(helm.render(tree, chart(release)))


def refused(helm: Helm, tree: Path, release: HelmRelease = RELEASE) -> tuple[Finding, ...]:
    """The findings of a chart that does not render; none of them has a path of this machine."""
    with pytest.raises(RenderFailed) as error:
        helm.render(tree, chart(release))
    assert str(tree) not in str([error.value.message, error.value.hint, error.value.findings])
    assert error.value.findings
    return error.value.findings


def the_one(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


# --- what is rendered ---------------------------------------------------------------------------


@pytest.mark.requirement("B-61", "B-108")
def test_both_versions_give_the_golden_files_byte_for_byte(helm: Helm, tree: Path) -> None:
    made = bundle(helm, tree, shop(replace(RELEASE, api_versions=("monitoring.coreos.com/v1",))))
    assert [f for f in made.findings if f.severity == "error"] == []
    golden = CHARTS / "golden"
    expected = {
        str(file.relative_to(golden)): file.read_text() for file in sorted(golden.rglob("*.yaml"))
    }
    assert {name: content.decode() for name, content in files(made).items()} == expected


@pytest.mark.requirement("B-61")
def test_every_image_of_a_service_is_the_pinned_one_however_the_chart_writes_it(
    helm: Helm, tree: Path
) -> None:
    made = bundle(helm, tree, shop())
    images = {use.image for obj in made.targets[0].objects for use in images_of(obj)}
    known = {pinned(service) for service in SERVICES}
    assert known <= images
    assert {image.partition("@")[0] for image in images - known} == {
        "docker.io/library/redis:7.4.1"
    }


@pytest.mark.requirement("B-108")
def test_the_release_says_which_renderer_was_used(program: str, helm: Helm, tree: Path) -> None:
    made = bundle(helm, tree, shop())
    assert made.renderers == {"helm": PROGRAM[program].version}


@pytest.mark.requirement("B-108")
def test_hooks_have_waves_and_tests_are_left_out(helm: Helm, tree: Path) -> None:
    made = bundle(helm, tree, shop())
    by_name = {obj["metadata"]["name"]: obj for obj in made.targets[0].objects}
    assert by_name["orders-migrate"]["metadata"]["annotations"][WEIGHT] == "-5"
    assert by_name["warm-up"]["metadata"]["annotations"][WAVE] == "afterwards"
    assert not [name for name in by_name if name.startswith("test-")]
    assert {path.rpartition("/")[2] for path in files(made)} == {
        "10-configuration.yaml", "20-jobs.yaml", "30-workloads.yaml", "40-afterwards.yaml",
    }  # fmt: skip


def test_what_helm_manages_elsewhere_is_ours(helm: Helm, tree: Path) -> None:
    for obj in bundle(helm, tree, shop()).targets[0].objects:
        assert obj["metadata"]["labels"][MANAGED_BY] == "bundler"


def test_the_templates_see_release_namespace_versions_and_values_in_their_order(
    helm: Helm, tree: Path
) -> None:
    written(tree, "shop/templates/seen.yaml", """
apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
data:
  release: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  kubernetes: {{ .Capabilities.KubeVersion.Version }}
  monitoring: "{{ .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}"
  level: {{ .Values.logLevel }}
  currency: {{ .Values.global.currency }}
""")  # fmt: skip
    release = HelmRelease(
        "shop", "blue", ("values/prod.yaml", "values/us.yaml"),
        api_versions=("monitoring.coreos.com/v1",),
    )  # fmt: skip
    found = [obj for obj in documents(helm, tree, release) if obj["metadata"]["name"] == "seen"]
    assert found[0]["data"] == {
        "release": "blue", "namespace": "shop", "kubernetes": "v1.36.0", "monitoring": "true",
        "level": "warning", "currency": "USD",
    }  # fmt: skip


def test_the_templates_see_what_every_cluster_of_the_version_serves(helm: Helm, tree: Path) -> None:
    asked = (
        "policy/v1", "policy/v1/PodDisruptionBudget", "apiregistration.k8s.io/v1", "v1/ConfigMap",
        "resource.k8s.io/v1/ResourceClaim", "monitoring.coreos.com/v1", "policy/v1/Nothing",
    )  # fmt: skip
    answers = " ".join(f'{{{{ .Capabilities.APIVersions.Has "{api}" }}}}' for api in asked)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen}\ndata: {has: %s}\n"
    written(tree, "shop/templates/seen.yaml", text % answers)

    def seen(kubernetes: str) -> list[str]:
        made = read_documents(helm.render(tree, replace(chart(), kubernetes=kubernetes)))
        found = next(obj for obj in made if obj["metadata"]["name"] == "seen")
        return [api for api, has in zip(asked, found["data"]["has"].split(), strict=True)
                if has == "true"]  # fmt: skip

    assert seen("1.36") == list(asked[:5])
    assert seen("1.30") == list(asked[:4])


def test_custom_resource_definitions_are_rendered_too(helm: Helm, tree: Path) -> None:
    written(tree, "shop/crds/crd.yaml", """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shops.example.com}
""")  # fmt: skip
    assert "CustomResourceDefinition" in {obj["kind"] for obj in documents(helm, tree)}


def test_values_in_a_folder_with_a_comma_are_one_file(helm: Helm, tree: Path) -> None:
    written(tree, 'values/a,"b".yaml', "logLevel: error\n")
    made = documents(helm, tree, replace(RELEASE, values=('values/a,"b".yaml',)))
    assert [o["data"]["LOG_LEVEL"] for o in made if o["metadata"]["name"] == "shop"] == ["error"]


def test_the_merged_values_are_those_that_the_templates_see(helm: Helm, tree: Path) -> None:
    written(tree, "shop/templates/seen.yaml", """
apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
data: {values: {{ omit .Values "global" "mail" "search" | toJson | quote }},
  mail: {{ omit .Values.mail "global" | toJson | quote }},
  search: {{ omit .Values.search "global" | toJson | quote }}}
""")  # fmt: skip
    written(
        tree,
        "values/more.yaml",
        "coupons: {image: {tag: null}, more: null}\nmail: {sender: null, on: yes, 8080: x}\n",
    )
    release = replace(RELEASE, values=("values/prod.yaml", "values/more.yaml"))
    values = dict(helm.values(tree, chart(release)))
    seen = next(o for o in documents(helm, tree, release) if o["metadata"]["name"] == "seen")
    assert json.loads(seen["data"]["mail"]) == values.pop("mail")
    assert json.loads(seen["data"]["search"]) == values.pop("search")
    values.pop("global")
    assert json.loads(seen["data"]["values"]) == values


# --- what helm itself refuses -------------------------------------------------------------------


@pytest.mark.requirement("B-70")
def test_every_violation_of_the_schema_of_values_is_a_finding(helm: Helm, tree: Path) -> None:
    written(tree, "values/bad.yaml", "logLevel: loud\ncart: {replicas: 0}\nsearch: {}\n")
    findings = refused(helm, tree, replace(RELEASE, values=("values/bad.yaml",)))
    assert [(f.rule, f.file, f.pointer) for f in findings] == [
        ("values-schema", "shop/values.schema.json", "/cart/replicas"),
        ("values-schema", "shop/values.schema.json", "/logLevel"),
    ]
    assert all("values of chart shop: " in f.message for f in findings)
    assert {f.environment for f in findings} == {"prod/default"}


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ('\n{{ fail "not like this" }}\n', "not like this", 2),
        ('a: {{ required "a is needed" .Values.none }}\n', "a is needed", 1),
        ("\n\na: {{ .Values.none.none }}\n", "nil pointer", 3),
        ("{{ nowhere }}\n", 'function "nowhere" not defined', 1),
        ('{{ include "shop.nowhere" . }}\n', "no template", 1),
        ("a: b: c\n", "YAML parse error", None),
    ],
)  # fmt: skip
def test_a_failing_template_is_told_with_its_file_and_line(
    helm: Helm, tree: Path, text: str, words: str, line: int | None
) -> None:
    written(tree, "shop/templates/failing.yaml", text)
    finding = the_one(refused(helm, tree))
    assert finding.rule == "render"
    assert words in finding.message
    assert (finding.file, finding.line) == ("shop/templates/failing.yaml", line)


def test_a_failing_template_is_told_with_what_the_pins_set(helm: Helm, tree: Path) -> None:
    text = '{{ semverCompare ">1" .Values.image.tag }}\n'
    written(tree, "other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n")
    written(tree, "other/values.yaml", "image: {repository: cart, tag: 1.2.3}\n")
    written(tree, "other/templates/x.yaml", text)
    with pytest.raises(RenderFailed) as error:
        bundle(helm, tree, shop(HelmRelease("other", "other", ("values/us.yaml",))))
    assert "semantic version" in error.value.findings[0].message.lower()
    assert error.value.hint == (
        "helm template other other --values values/us.yaml, "
        "with --set of image.repository, image.tag, at the tag shows more"
    )


def test_what_no_reader_takes_is_told_with_its_template(helm: Helm, tree: Path) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {%s}}\n"
    written(tree, "shop/templates/a.yaml", text % ("a", "x: y"))
    written(tree, "shop/templates/twice.yaml", text % ("twice", "a: x, a: y"))
    with pytest.raises(RenderFailed) as error:
        bundle(helm, tree, shop())
    finding = the_one(error.value.findings)
    assert (finding.rule, finding.file) == ("render", "shop/templates/twice.yaml")
    assert "key 'a' stands twice in line" in finding.message
    assert finding.message not in error.value.message


def test_an_ambiguous_scalar_is_told_with_its_template(helm: Helm, tree: Path) -> None:
    text = "# Source: https://example.com/x\napiVersion: v1\nkind: ConfigMap\n"
    written(tree, "shop/templates/odd.yaml", text + "metadata: {name: odd}\ndata: {mode: 0x1}\n")
    written(tree, "shop/templates/odd2.yaml", text + "metadata: {name: odd2}\ndata: {on: 0644}\n")
    findings = [f for f in bundle(helm, tree, shop()).findings if f.rule == "ambiguous-scalar"]
    assert {(f.file, f.line) for f in findings} == {("shop/templates/odd2.yaml", None)}


def test_a_failing_template_of_a_subchart_is_told_with_its_own_file(helm: Helm, tree: Path) -> None:
    written(tree, "shop/charts/mailer/templates/failing.yaml", '{{ fail "no mail" }}')
    assert the_one(refused(helm, tree)).file == "shop/charts/mailer/templates/failing.yaml"


def test_a_failing_template_of_an_archive_is_told_with_the_archive(helm: Helm, tree: Path) -> None:
    written(tree, "values/bad.yaml", "search: {searchImage: null}\n")
    finding = the_one(refused(helm, tree, replace(RELEASE, values=("values/bad.yaml",))))
    assert "searchImage is missing" in finding.message
    assert finding.file == "shop/charts/search-0.1.3.tgz"


def test_a_chart_for_other_versions_of_kubernetes_is_refused(helm: Helm, tree: Path) -> None:
    changed(tree, "shop/Chart.yaml", ">=1.29.0-0", ">=1.99.0-0")
    assert "kubeVersion: >=1.99.0-0" in the_one(refused(helm, tree)).message


# --- what is refused before helm runs -----------------------------------------------------------


@pytest.fixture
def never(tmp_path: Path) -> Helm:
    """A helm that fails whatever is refused too late."""
    return Helm(
        str(program_file(tmp_path, 'case "$1" in version) echo v3.22.0;; *) exit 99;; esac'))
    )


def program_file(folder: Path, script: str) -> Path:
    file = folder / "helm"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.mark.requirement("B-61")
def test_a_missing_dependency_is_told_and_never_downloaded(never: Helm, tree: Path) -> None:
    (tree / "shop/charts/search-0.1.3.tgz").unlink()
    shutil.rmtree(tree / "shop/charts/mailer")
    findings = refused(never, tree)
    assert [f.message for f in findings] == ["has no chart mailer", "has no chart search"]
    assert {f.hint for f in findings} == {
        (
            "run `helm dependency build shop` and commit its charts/ folder: "
            "git add --force, where .gitignore has it"
        )
    }


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("^0.1.0", "^0.2.0", "has search 0.1.3, not ^0.2.0"),
        ("version: 0.1.3", "version: 0.1.2", "has search 0.1.3, Chart.lock has 0.1.2"),
    ],
)
def test_a_dependency_in_another_version_is_told(
    never: Helm, tree: Path, before: str, after: str, message: str
) -> None:
    file = "shop/Chart.lock" if before.startswith("version") else "shop/Chart.yaml"
    changed(tree, file, before, after)
    assert the_one(refused(never, tree)).message == message


def test_a_link_out_of_the_tree_is_refused_wherever_it_is(never: Helm, tree: Path) -> None:
    (tree / "shop/templates/passwd.yaml").symlink_to("/etc/passwd")
    (tree / "shop/charts/mailer/files").symlink_to(tree.parent)
    findings = refused(never, tree)
    assert {(f.rule, f.file) for f in findings} == {
        ("leaves-the-tree", "shop/templates/passwd.yaml"),
        ("leaves-the-tree", "shop/charts/mailer/files"),
    }


def test_all_that_is_refused_is_told_at_once(never: Helm, tree: Path) -> None:
    changed(tree, "shop/Chart.yaml", "^0.1.0", "^0.2.0")
    changed(tree, "shop/values.schema.json", "#/definitions/service", "https://example.com/s.json")
    written(tree, "values/bad.yaml", "a: [\n")
    release = HelmRelease("shop", "shop", ("values/bad.yaml", "values/none.yaml", "../out.yaml"))
    assert {finding.rule for finding in refused(never, tree, release)} == {
        "chart-dependency", "remote-schema", "invalid-yaml", "missing-file", "leaves-the-tree",
    }  # fmt: skip


def test_a_library_is_no_chart_to_install(never: Helm, tree: Path) -> None:
    changed(tree, "shop/Chart.yaml", "type: application", "type: library")
    assert "is a library" in the_one(refused(never, tree)).message


def test_a_folder_without_a_chart_is_told(never: Helm, tree: Path) -> None:
    finding = the_one(refused(never, tree, HelmRelease("values", "values")))
    assert (finding.rule, finding.file) == ("chart", "values/Chart.yaml")
    finding = the_one(refused(never, tree, HelmRelease("nowhere", "nowhere")))
    assert (finding.rule, finding.file) == ("chart", "nowhere")


# --- what is not always the same ----------------------------------------------------------------


def test_the_sample_chart_is_always_the_same(helm: Helm, tree: Path) -> None:
    assert helm.check(tree, chart()) == []


@pytest.mark.parametrize(("protected", "severity"), [(True, "error"), (False, "warning")])
def test_a_random_value_is_an_error_where_it_is_protected(
    helm: Helm, tree: Path, protected: bool, severity: str
) -> None:
    written(tree, "shop/templates/random.yaml", "{{/* now */}}\na: {{ randAlphaNum 8 }}\n")
    (finding,) = helm.check(tree, chart(protected=protected))
    assert (finding.rule, finding.file, finding.line, finding.severity) == (
        "nondeterministic-template", "shop/templates/random.yaml", 2, severity,
    )  # fmt: skip


@pytest.mark.requirement("B-61")
def test_what_such_a_template_would_ask_a_cluster_or_a_network_is_empty(
    helm: Helm, tree: Path
) -> None:
    written(tree, "shop/templates/asking.yaml", """
apiVersion: v1
kind: ConfigMap
metadata: {name: asking}
data:
  account: "{{ lookup "v1" "ServiceAccount" "default" "default" | toJson }}"
  address: "{{ getHostByName "localhost" }}"
""")  # fmt: skip
    asking = next(o for o in documents(helm, tree) if o["metadata"]["name"] == "asking")
    assert asking["data"] == {"account": "{}", "address": ""}
    findings = helm.check(tree, chart())
    assert [f.message.partition(" ")[0] for f in findings] == ["lookup", "getHostByName"]


# --- the program --------------------------------------------------------------------------------


def test_a_helm_that_is_missing_too_old_or_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="nowhere is not installed") as error:
        Helm("nowhere").version()
    assert "https://helm.sh/docs/intro/install/" in str(error.value.hint)
    for version in ("v2.17.0+gabc", "v3.7.2", "v5.0.0"):
        with pytest.raises(ToolMissing, match=r"is neither v3\.8 or newer nor v4"):
            Helm(str(program_file(tmp_path, f"echo {version}"))).version()
    with pytest.raises(ToolMissing, match="does not tell its version"):
        Helm(str(program_file(tmp_path, "echo hello"))).version()


def test_no_helm_is_told_when_the_chart_is_rendered(tree: Path) -> None:
    with pytest.raises(ToolMissing):
        Helm("nowhere").render(tree, chart())


def test_the_program_sees_no_environment_home_or_plugins(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET_WORDS)
    monkeypatch.setenv("HELM_KUBETOKEN", SECRET_WORDS)
    seen = tmp_path / "seen"
    script = f'case "$1" in version) echo v3.22.0;; *) env > {seen}; echo "$@" >> {seen};; esac'
    Helm(str(program_file(tmp_path, script))).render(tree, chart())
    text = seen.read_text()
    assert SECRET_WORDS not in text
    assert str(Path.home()) not in text.replace(os.environ["PATH"], "")
    assert "HELM_NO_PLUGINS=1" in text
    assert f"KUBECONFIG={os.devnull}" in text


def test_a_template_without_end_is_killed_with_all_that_it_started(
    program: str, tree: Path
) -> None:
    loop = "{{ range until 100000 }}{{ range until 100000 }}{{ sha256sum . }}{{ end }}{{ end }}"
    written(tree, "shop/templates/loop.yaml", loop.replace("sha256sum .", 'sha256sum "x"'))
    slow = Helm(str(binary_path(program)), seconds=2)
    slow.version()
    began = time.monotonic()
    assert "not done after 2 s" in the_one(refused(slow, tree)).message
    assert time.monotonic() - began < 20


def test_output_without_end_is_stopped(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderer_program, "MAX_OUTPUT", 100_000)
    script = 'case "$1" in version) echo v3.22.0;; *) yes a;; esac'
    endless = Helm(str(program_file(tmp_path, script)))
    assert "more than 100000 bytes" in the_one(refused(endless, tree)).message


def test_a_subchart_that_is_switched_off_is_not_rendered(helm: Helm, tree: Path) -> None:
    written(tree, "shop/charts/mailer/templates/random.yaml", "a: {{ now }}\n")
    written(tree, "values/off.yaml", "mail: {enabled: false}\ntags: {finding: false}\n")
    off = replace(RELEASE, values=("values/off.yaml",))
    assert [f.file for f in helm.check(tree, chart())] == [
        "shop/charts/mailer/templates/random.yaml"
    ]
    assert helm.check(tree, chart(off)) == []
    assert not {"mailer", "search"} & {o["metadata"]["name"] for o in documents(helm, tree, off)}


def test_a_chart_with_many_targets_is_read_once(helm: Helm, tree: Path) -> None:
    assert helm.values(tree, chart())["logLevel"] == "warning"
    (tree / "shop/Chart.yaml").unlink()
    assert helm.values(tree, chart())["logLevel"] == "warning"
