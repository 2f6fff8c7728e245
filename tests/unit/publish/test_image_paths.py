"""Images that stand elsewhere than in containers, where the project says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.model.bundle import RenderedTarget
from bundler.model.finding import Finding
from bundler.model.objects import ImageUse, images_written_in
from bundler.model.project import ImagePath
from bundler.publish.image_paths import check
from bundler.publish.images import images_of, with_images
from bundler.publish.pin import pin, with_services
from tests.fakes.shop import deployment, environment, lock, obj, pinned, project

PROMETHEUS = obj("monitoring.coreos.com/v1", "Prometheus", "p", spec={"image": "cart:v1"})
IN_SPEC = ImagePath("Prometheus", ("spec", "image"), "monitoring.coreos.com")


def operator(**container: Any) -> dict[str, Any]:
    made = deployment("operator", "operator:v1")
    made["spec"]["template"]["spec"]["containers"][0] |= container
    return made


CONTAINER = ("spec", "template", "spec", "containers[]")
WITH_ENV = operator(env=[{"name": "A", "value": "x"}, {"name": "SIDECAR", "value": "cart:v1"}])
WITH_ARGS = operator(args=["--level=debug", "--sidecar=cart:v1"])
CONFIG = obj("v1", "ConfigMap", "sidecars", data={"a/b": "cart:v1", "other": "x"})


@pytest.mark.requirement("B-66")
@pytest.mark.parametrize(
    ("thing", "path", "pointer"),
    [
        (PROMETHEUS, IN_SPEC, "/spec/image"),
        (
            WITH_ENV,
            ImagePath("Deployment", (*CONTAINER, "env[SIDECAR]", "value")),
            "/spec/template/spec/containers/0/env/1/value",
        ),
        (
            WITH_ARGS,
            ImagePath("Deployment", (*CONTAINER, "args[--sidecar=]"), "apps", "operator"),
            "/spec/template/spec/containers/0/args/1",
        ),
        (CONFIG, ImagePath("ConfigMap", ("data", "a/b"), "", "sidecars"), "/data/a~1b"),
    ],
)
def test_a_declared_image_is_found_and_pinned(
    thing: dict[str, Any], path: ImagePath, pointer: str
) -> None:
    (use,) = [use for use in images_of(thing, [path]) if use.pointer == pointer]
    assert use.image == "cart:v1"
    env = replace(environment(), image_paths=(path,))
    shop = project(env)
    (made,) = with_services(pin(shop, env, env.targets[0], lock(shop)), [thing])
    (found,) = [use for use in images_of(made, [path]) if use.pointer == pointer]
    assert found.image == pinned("cart")
    assert ImageUse(pointer, pinned("cart"), use.prefix) in list(images_written_in(made))


@pytest.mark.parametrize(
    "path",
    [
        replace(IN_SPEC, kind="Alertmanager"),
        replace(IN_SPEC, group="example.com"),
        replace(IN_SPEC, name="other"),
        replace(IN_SPEC, path=("spec", "images[]")),
        replace(IN_SPEC, path=("spec",)),
    ],
)
def test_what_is_not_declared_is_left_alone(path: ImagePath) -> None:
    assert list(images_of(PROMETHEUS, [path])) == []
    assert with_images(PROMETHEUS, {"cart:v1": "x"}, [path]) == PROMETHEUS


def findings(*objects: dict[str, Any], paths: tuple[ImagePath, ...]) -> list[Finding]:
    env = replace(environment(), image_paths=paths)
    return list(check([RenderedTarget(env, env.targets[0], objects)]))


def test_a_declared_path_that_leads_nowhere_is_an_error() -> None:
    other = replace(IN_SPEC, path=("spec", "imagee"))
    (finding,) = findings(PROMETHEUS, paths=(IN_SPEC, other))
    assert (finding.rule, finding.severity) == ("unused-image-path", "error")
    assert "spec/imagee" in finding.message


def test_an_image_in_a_config_map_that_is_named_by_its_content_is_an_error() -> None:
    path = ImagePath("ConfigMap", ("data", "image"), None, "sidecars")
    generated = obj("v1", "ConfigMap", "sidecars-7g2bkm5tf4", data={"image": "cart:v1"})
    plain = obj("v1", "ConfigMap", "sidecars", data={"image": "cart:v1"})
    assert findings(plain, paths=(path,)) == []
    (finding,) = findings(generated, paths=(path,))
    assert (finding.rule, finding.pointer) == ("image-in-generated-name", "/data/image")


def test_only_what_has_a_digest_is_an_image_without_a_declaration() -> None:
    texts = {"plain": "cart:v1", "digest": "sha256:" + "0" * 64, "words": f"see {pinned('cart')}"}
    assert list(images_written_in(obj("v1", "ConfigMap", "c", data=texts))) == []
