"""What is concluded from a survey, and that its text is always a valid project file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.adapters.dockerfile import copied
from bundler.adapters.project import file as project_file
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas
from bundler.draft.flow import Draft, Wishes, draft
from bundler.draft.parts import legal_name, unique_names
from bundler.manifests import read_documents
from bundler.model.project import Project
from bundler.model.survey import (
    Dockerfile,
    FoundObject,
    ImageChange,
    Kustomization,
    Survey,
    dockerfile_name,
    is_aside,
)

SCHEMAS, OBJECT_SCHEMAS = DocumentSchemas(), KubernetesSchemas()


def survey(
    *files: str,
    dockerfiles: Mapping[str, tuple[str, ...]] | None = None,
    kustomizations: tuple[Kustomization, ...] = (),
    **more: Any,
) -> Survey:
    found = dockerfiles or {"cart/Dockerfile": ()}
    return Survey(
        **{"folder_name": "shop", "branches": frozenset({"main"})} | more,
        files=frozenset((*files, *found)),
        dockerfiles=tuple(Dockerfile(path, sources) for path, sources in found.items()),
        kustomizations=kustomizations,
    )


def overlay(folder: str, *images: str, **more: Any) -> Kustomization:
    pods = tuple(FoundObject("", "Pod", f"p{n}", (image,)) for n, image in enumerate(images))
    return Kustomization(folder, **{"objects": pods} | more)


def document(drafted: Draft) -> Any:
    """The draft as a reader sees it, after it was accepted as a project file."""
    assert parsed(drafted)
    return read_documents(drafted.text)[0]


def parsed(drafted: Draft) -> Project:
    return project_file.parse(drafted.text.encode(), Path("/"), SCHEMAS, OBJECT_SCHEMAS)


def services(found: Survey, **wishes: str) -> Any:
    return document(draft(found, Wishes(**wishes)))["services"]


def environments(*kustomizations: Kustomization) -> Any:
    return document(draft(survey(kustomizations=kustomizations), Wishes()))["environments"]


# --- Dockerfiles --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sources"),
    [
        ("COPY a b ./", ("a", "b")),
        ('COPY ["a b", "c", "/x"]', ("a b", "c")),
        ("COPY --chown=1:1 --link a /x", ("a",)),
        ("COPY --from=build /out /out", ()),
        ("COPY --chown=1 --from=build /out /out", ()),
        ("ADD https://example.com/x.tar /x", ()),
        ("add a \\\n  # why\n\n  b \\\n  /x", ("a", "b")),
        ("# escape=`\nCOPY a `\n  b c:\\", ("a", "b")),
        ("ARG DIR=libs\nCOPY ${DIR}/a $OTHER/b ${THIRD:-c} /x", ("$OTHER/b", "c", "libs/a")),
        ("COPY <<EOF /x\nCOPY no /x\nEOF\nCOPY yes /x", ("yes",)),
        ("RUN echo $((1<<BITS))\nCOPY yes /x", ("yes",)),
        ("RUN --mount=type=bind,source=libs,target=/libs make", ("libs",)),
        ("RUN --mount=type=bind,from=build,source=/o,target=/o make", ()),
        ("RUN --mount=type=cache,target=/root make", ()),
        ("COPY [broken", ()),
        ("COPY", ()),
        ("ONBUILD COPY a /x", ("a",)),
        ("COPY a /x \\", ("a",)),
    ],
)
def test_what_is_copied_from_the_build_context_is_read(line: str, sources: tuple[str, ...]) -> None:
    assert copied(f"FROM scratch\n{line}\n" if not line.startswith("#") else line) == sources


@given(st.text())
def test_any_text_is_read_as_a_dockerfile(text: str) -> None:
    copied(text)
    copied(f"COPY {text}")


def test_names_of_dockerfiles_are_told_from_others() -> None:
    yes = ["Dockerfile", "a/Containerfile", "a/Dockerfile.worker", "a/worker.Dockerfile"]
    no = ["Dockerfile.dockerignore", "a/Dockerfile.j2", "a/Dockerfile~", "dockerfiles", "a/x.md"]
    assert [path for path in (*yes, *no) if dockerfile_name(path)] == yes
    assert is_aside("tests/a/Dockerfile")
    assert is_aside("a/.devcontainer/Dockerfile")
    assert not is_aside("testing.Dockerfile")


# --- services -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "inputs"),
    [
        ("cart/Dockerfile", "cart", ["cart"]),
        ("src/cart/Containerfile", "cart", ["src/cart"]),
        ("src/cart/docker/Dockerfile", "cart", ["src/cart"]),
        ("cart/src/Dockerfile", "cart", ["cart"]),
        ("src/Basket.API/Dockerfile", "basket-api", ["src/Basket.API"]),
        ("Dockerfile", "shop", ["."]),
        ("docker/Dockerfile", "shop", ["."]),
        ("cart/Dockerfile.worker", "cart-worker", ["cart"]),
        ("cart/cart.Dockerfile", "cart", ["cart"]),
        ("cart/Dockerfile.prod", "cart", ["cart"]),
        ("dockerfiles/cart.Dockerfile", "cart", ["dockerfiles"]),
        ("null/Dockerfile", "null", ["null"]),
        ("1e3/Dockerfile", "1e3", ["1e3"]),
        ("Ünï/Dockerfile", "n", ["Ünï"]),
        ("日本/Dockerfile", "service", ["日本"]),
    ],
)
def test_a_service_has_its_folders_name(path: str, name: str, inputs: list[str]) -> None:
    assert services(survey(dockerfiles={path: ()})) == {name: {"paths": inputs}}


def test_several_dockerfiles_of_a_folder_are_services_and_variants_are_not() -> None:
    paths = ("cart/Dockerfile", "cart/Dockerfile.debug", "cart/Dockerfile.worker")
    drafted = draft(survey(dockerfiles=dict.fromkeys(paths, ())), Wishes())
    assert [service.name for service in drafted.services] == ["cart", "cart-worker"]
    assert any("Dockerfile.debug is taken for a variant" in note for note in drafted.notes)


def test_names_that_collide_get_their_folders() -> None:
    paths = ("shop/api/Dockerfile", "bank/api/Dockerfile", "web/Dockerfile")
    drafted = draft(survey(dockerfiles=dict.fromkeys(paths, ())), Wishes())
    assert [service.name for service in drafted.services] == ["bank-api", "shop-api", "web"]
    assert any(note.startswith("services bank-api, shop-api: ") for note in drafted.notes)


def test_folders_that_several_services_copy_are_libraries_and_files_are_paths() -> None:
    found = survey(
        *("cart/main.go", "orders/main.go", "go.mod", "protos/a.proto", "libs/ui/x", "tool/x"),
        dockerfiles={
            "cart/Dockerfile": ("go.mod", "./cart/", "protos", "libs/ui"),
            "orders/Dockerfile": ("/protos", "orders/*.go", "go.*", "tool"),
        },
    )
    value = document(draft(found, Wishes()))
    assert value["services"] == {
        "cart": {"paths": ["cart", "go.mod"], "uses": ["protos", "ui"]},
        "orders": {"paths": ["orders", "go.mod", "tool"], "uses": ["protos"]},
    }
    assert value["libraries"] == {"protos": {"paths": ["protos"]}, "ui": {"paths": ["libs/ui"]}}


def test_the_build_context_may_be_any_folder_above() -> None:
    found = survey(
        *("apps/cart/x", "apps/shared/y", "docker/entry.sh"),
        dockerfiles={
            "apps/cart/Dockerfile": ("cart", "shared/y"),
            "docker/Dockerfile": ("entry.sh",),
        },
    )
    assert services(found) == {
        "cart": {"paths": ["apps/cart", "apps/shared/y"]},
        "shop": {"paths": ["docker"]},
    }


def test_a_dockerfile_among_others_is_built_from_what_it_copies() -> None:
    found = survey(
        "src/cart/x",
        dockerfiles={
            "dockerfiles/Dockerfile.cart": ("src/cart",),
            "dockerfiles/Dockerfile.all": (".",),
        },
    )
    drafted = draft(found, Wishes())
    assert document(drafted)["services"] == {
        "all": {"paths": ["."]},
        "cart": {"paths": ["dockerfiles/Dockerfile.cart", "src/cart"]},
    }
    assert any(note.startswith("service all: it is built from the whole") for note in drafted.notes)


def test_what_is_copied_but_not_in_git_is_told_where_it_matters() -> None:
    found = survey("cart/x", dockerfiles={"cart/Dockerfile": ("target/app.jar", "x", "../y", "$Z")})
    drafted = draft(found, Wishes())
    assert any("copies target/app.jar, ../y, $Z, which git" in note for note in drafted.notes)
    assert "  # check: cart/Dockerfile copies target/app.jar" in drafted.text


# --- images -------------------------------------------------------------------------------------


def drafted_images(*images: str, **wishes: str) -> tuple[Any, Draft]:
    dockerfiles = dict.fromkeys(("cart/Dockerfile", "orders/Dockerfile", "reports/Dockerfile"), ())
    found = survey(dockerfiles=dockerfiles, kustomizations=(overlay("overlays/prod", *images),))
    drafted = draft(found, Wishes(**wishes))
    return document(drafted), drafted


def test_the_registry_is_what_stands_before_the_services_names() -> None:
    value, drafted = drafted_images(
        "r.example.com/a/cart:v1", "r.example.com/a/orders", "reports", "redis:7.4.1"
    )
    assert value["images"] == {"registry": "r.example.com/a", "external": ["redis:7.4.1"]}
    assert not any("images.registry" in note for note in drafted.notes)


@pytest.mark.parametrize(
    "images", [("cart", "orders"), ("a.example.com/cart", "b.example.com/orders")]
)
def test_without_one_registry_there_is_a_placeholder(images: tuple[str, ...]) -> None:
    value, drafted = drafted_images(*images)
    assert value["images"]["registry"] == "registry.example.com/shop"
    assert "images.registry: registry.example.com/shop is a placeholder" in drafted.notes
    full = [image for image in images if "/" in image]
    assert [x["image"] for x in value["services"].values() if "image" in x] == full


def test_other_names_of_a_services_image_are_told() -> None:
    value, drafted = drafted_images(
        *("r.example.com/a/cart", "r.example.com/a/orders-service", "shop-reports")
    )
    assert value["services"]["orders"]["image"] == "r.example.com/a/orders-service"
    assert value["services"]["reports"]["names"] == ["shop-reports"]
    assert "service reports: whether the image shop-reports is its own" in drafted.notes


def test_the_registry_that_was_asked_for_wins_and_manifests_keep_their_names() -> None:
    value, _ = drafted_images("r.example.com/a/cart", images="localhost:5000/b")
    assert value["images"] == {"registry": "localhost:5000/b"}
    assert value["services"]["cart"]["names"] == ["r.example.com/a/cart"]


def test_third_party_images_are_listed_and_doubts_told() -> None:
    value, drafted = drafted_images(
        *("r.example.com/a/cart", "nginx", "x/y:latest", "z:1", "r.example.com/a/tool:1", "${IMG}")
    )
    assert value["images"]["external"] == ["nginx", "x/y:latest", "z:1"]
    notes = "\n".join(drafted.notes)
    assert "without a fixed tag change under a release: nginx, x/y:latest" in notes
    assert (
        "which services these images of yours are, as no Dockerfile is: r.example.com/a/tool:1"
        in notes
    )
    assert "what these image strings mean: ${IMG}" in notes


def test_image_changes_of_an_overlay_count() -> None:
    base = overlay("base", "cart", "redis")
    change = (ImageChange("cart", "r.example.com/a/cart", "v1"), ImageChange("redis", tag="7.4.1"))
    prod = overlay("overlays/prod", resources=("base",), images=change)
    value = document(draft(survey(kustomizations=(base, prod)), Wishes()))
    assert value["images"] == {"registry": "r.example.com/a", "external": ["redis:7.4.1"]}


# --- environments -------------------------------------------------------------------------------


def test_overlays_that_nothing_refers_to_are_environments() -> None:
    found = environments(
        overlay("k8s/base", "cart", namespace="shop"),
        overlay("k8s/parts/debug", is_component=True),
        overlay("k8s/overlays/dev", resources=("k8s/base",), components=("k8s/parts/debug",)),
        overlay("k8s/overlays/Prod", resources=("k8s/base",), namespace="live"),
    )
    assert found == {
        "prod": {"kustomize": "k8s/overlays/Prod", "namespace": "live"},
        "dev": {"kustomize": "k8s/overlays/dev", "namespace": "shop", "protected": False},
    }


def test_folders_of_clusters_are_targets_of_one_environment() -> None:
    found = environments(
        overlay("overlays/prod/eu", "cart", namespace="shop-eu"),
        overlay("overlays/prod/us", "cart", namespace="shop-us"),
    )
    assert found == {
        "prod": {
            "kustomize": "overlays/prod/eu",
            "targets": {
                "eu": {"namespace": "shop-eu"},
                "us": {"namespace": "shop-us", "kustomize": "overlays/prod/us"},
            },
        }
    }


def test_an_overlay_on_top_of_another_is_a_target_beside_it() -> None:
    found = environments(
        overlay("overlays/base", "cart"),
        overlay("overlays/prod", resources=("overlays/base",), namespace="a"),
        overlay("overlays/prod-us", resources=("overlays/prod",), namespace="b"),
    )
    targets = {
        "default": {"namespace": "a"},
        "us": {"namespace": "b", "kustomize": "overlays/prod-us"},
    }
    assert found == {"prod": {"kustomize": "overlays/prod", "targets": targets}}


def test_overlays_of_each_service_get_names_of_their_own() -> None:
    overlays = (overlay("cart/overlays/prod", "cart"), overlay("web/overlays/prod", "web"))
    dockerfiles = {"cart/Dockerfile": (), "web/Dockerfile": ()}
    drafted = draft(survey(dockerfiles=dockerfiles, kustomizations=overlays), Wishes())
    found = document(drafted)["environments"]
    assert found["cart-prod"]["without"] == ["web"]
    assert found["web-prod"]["without"] == ["cart"]
    assert any("an environment is one overlay" in note for note in drafted.notes)


def test_what_is_not_called_like_an_environment_is_left_to_the_reader() -> None:
    dashboards, prod = overlay("dashboards"), overlay("overlays/prod", "cart")
    drafted = draft(survey(kustomizations=(dashboards, prod)), Wishes())
    assert list(document(drafted)["environments"]) == ["prod"]
    assert "not taken for environments: dashboards" in drafted.notes


def test_overlays_that_run_nothing_of_what_is_built_are_not_taken_where_others_do() -> None:
    tools, prod = overlay("tools/overlays/prod", "redis"), overlay("overlays/prod", "a/cart:1")
    remote = overlay("overlays/stage", refused=("https://example.com/x",))
    assert sorted(environments(tools, prod, remote)) == ["prod", "stage"]
    many = tuple(overlay(f"x{number}/overlays/prod", "redis") for number in range(20))
    assert list(environments(*many, prod)) == ["prod"]
    drafted = draft(survey(kustomizations=many), Wishes())
    assert "environments" not in document(drafted)
    assert any(note.endswith("and 12 more") for note in drafted.notes)


def test_what_an_environment_has_not_is_listed() -> None:
    removed = frozenset({("Pod", "p1")})
    found = survey(
        dockerfiles={"cart/Dockerfile": (), "web/Dockerfile": (), "job/Dockerfile": ()},
        kustomizations=(
            overlay("base", "cart", "web"),
            overlay("overlays/dev", resources=("base",), removed=removed),
            overlay("overlays/prod", resources=("base",)),
        ),
    )
    drafted = draft(found, Wishes())
    value = document(drafted)["environments"]
    assert (value["dev"]["without"], value["prod"]["without"]) == (["job", "web"], ["job"])
    assert "service job: no manifest that was read runs it: if it is not deployed, remove it" in (
        drafted.notes
    )


def test_what_would_be_refused_later_is_told_now() -> None:
    role = FoundObject("rbac.authorization.k8s.io", "ClusterRole", "x")
    found = overlay("overlays/prod", objects=(role,), refused=("https://example.com/x",))
    notes = "\n".join(draft(survey(kustomizations=(found,)), Wishes()).notes)
    assert "https://example.com/x will be refused" in notes
    assert "whether allow.clusterScoped should name ClusterRole" in notes


def test_kustomizations_in_a_circle_end() -> None:
    assert environments(
        overlay("overlays/a-dev", resources=("overlays/b",)),
        overlay("overlays/b", resources=("overlays/c",)),
        overlay("overlays/c", resources=("overlays/b",)),
    )


# --- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "branches"),
    [
        ({"branches": frozenset({"main", "master", "x"}), "branch": "x"}, ["main", "master"]),
        ({"branches": frozenset({"trunk", "x"}), "branch": "trunk"}, ["trunk"]),
        ({"branches": frozenset({"x"}), "branch": None}, None),
    ],
)
def test_releases_come_from_main_or_from_the_branch_at_hand(
    found: dict[str, Any], branches: list[str] | None
) -> None:
    drafted = draft(survey(**found), Wishes())
    assert document(drafted).get("releases", {}).get("branches") == branches
    assert any("releases.branches" in note for note in drafted.notes) == (
        branches != ["main", "master"]
    )


def test_what_was_asked_for_is_written_and_what_is_open_is_marked() -> None:
    wishes = Wishes("bank", "r.example.com/b", "ocidir://out", "https://git.example.com/b")
    value = document(draft(survey(), wishes))
    assert (value["name"], value["source"]) == ("bank", "https://git.example.com/b")
    assert value["deployRegistry"] == "ocidir://out"
    drafted = draft(
        survey(charts=("chart",), submodules=("sub",), left_out=("tests/Dockerfile",)), Wishes()
    )
    assert "# source: " in drafted.text
    assert "# check: oci://registry.example.com/deploy/shop is a placeholder" in drafted.text
    assert "# Helm charts" in drafted.text
    notes = "\n".join(drafted.notes)
    for told in (
        "environments are proposed only: chart",
        "submodules",
        "tests/Dockerfile",
        "no overlay",
    ):
        assert told in notes


def test_long_entries_are_broken_into_lines() -> None:
    files = [f"{'x' * 30}{number}" for number in range(6)]
    drafted = draft(survey(*files, dockerfiles={"cart/Dockerfile": tuple(files)}), Wishes())
    assert document(drafted)["services"]["cart"]["paths"] == ["cart", *files]
    assert all(len(line) <= 100 for line in drafted.text.splitlines())


NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80).filter(
    lambda name: name not in (".", "..")
)
FOLDERS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
IMAGES = st.one_of(
    st.text(), FOLDERS, st.sampled_from(["a.example.com/x/cart:1", "cart", "b/cart"])
)


@settings(max_examples=200, deadline=None)
@given(
    dockerfiles=st.dictionaries(
        st.tuples(FOLDERS, st.sampled_from(["", ".dev", ".worker", ".Ä"])),
        st.lists(st.one_of(FOLDERS, st.text()), max_size=4),
        max_size=5,
    ),
    overlays=st.dictionaries(FOLDERS, st.tuples(st.none() | NAMES, st.lists(IMAGES)), max_size=5),
    folder=NAMES,
    branch=st.none() | NAMES,
)
def test_any_repository_gives_a_valid_file_and_the_same_one_again(
    dockerfiles: dict[tuple[str, str], list[str]],
    overlays: dict[str, tuple[str | None, list[str]]],
    folder: str,
    branch: str | None,
) -> None:
    found = {f"{place}/Dockerfile{end}": tuple(x) for (place, end), x in dockerfiles.items()}
    placed = tuple(
        overlay(place, *images, namespace=namespace)
        for place, (namespace, images) in overlays.items()
    )
    looked = survey(
        *(source for sources in found.values() for source in sources if "/" in source),
        dockerfiles={"cart/Dockerfile": (), **found},
        kustomizations=placed,
        folder_name=folder,
        branch=branch,
        branches=frozenset(),
    )
    drafted = draft(looked, Wishes())
    project = parsed(drafted)
    assert set(project.services) == {service.name for service in drafted.services}
    assert {x.name: x.paths for x in drafted.services} == {
        name: service.paths for name, service in project.services.items()
    }
    assert draft(looked, Wishes()) == drafted
    assert all("\n" not in note for note in drafted.notes)


@given(st.dictionaries(FOLDERS, st.sampled_from(["a", "b", "x" * 63]), max_size=30))
def test_names_become_unique_and_stay_legal(wanted: dict[str, str]) -> None:
    names = unique_names(wanted)
    assert len(set(names.values())) == len(wanted)
    assert all(name == legal_name(name, "") for name in names.values())
