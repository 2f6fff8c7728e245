"""Resolving on real git histories, with images in a registry in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.git import GitRepository
from bundler.errors import CouldNotCheck, ImagesMissing, ProjectFileInvalid, Unreachable
from bundler.model.lock import ImageLock
from bundler.model.project import Library, Lookup, Migrations, Project, Service
from bundler.model.reference import Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.resolve import UNLISTED_LIMIT, resolve
from tests.fakes.registry import InMemoryRegistry
from tests.git_history import NewCommit, make_history

REGISTRY = "registry.example.com/shop"
TREE = {"cart/f": "0", "web/f": "0", "libs/money/f": "0", "libs/ui/f": "0", "docs/f": "0"}


def service(name: str, *uses: str, **settings: object) -> Service:
    return replace(Service(name, (name,), f"{REGISTRY}/{name}", uses=uses), **settings)  # type: ignore[arg-type]


SHOP = Project(
    name="shop",
    services={s.name: s for s in (service("cart", "money"), service("web", "ui"))},
    libraries={
        "money": Library("money", ("libs/money",)),
        "ui": Library("ui", ("libs/ui",), uses=("money",)),
    },
    environments={},
    deploy_registry=Repository("ocidir", "registry"),
    lookup=Lookup({}),
)


def place(name: str) -> Repository:
    return Repository("oci", f"{REGISTRY}/{name}")


def history(folder: Path, *changes: Mapping[str, str]) -> list[str]:
    """A straight history: the first tree, then one commit for each change."""
    commits = [NewCommit(TREE)]
    for change in changes:
        commits.append(NewCommit({**commits[-1].tree, **change}, [len(commits) - 1]))
    return make_history(folder, commits)


def resolved(
    folder: Path,
    commit: str,
    images: InMemoryRegistry,
    project: Project = SHOP,
    branches: Sequence[str] = (),
) -> ImageLock:
    revision = SourceRevision(ReleaseTag("v1.0.0"), commit, 0)
    return resolve(project, revision, GitRepository(folder), images, branches)


def with_service(changed: Service, project: Project = SHOP) -> Project:
    return replace(project, services={**project.services, changed.name: changed})


@pytest.fixture
def images() -> InMemoryRegistry:
    return InMemoryRegistry()


@pytest.mark.requirement("B-40", "B-41", "B-42")
def test_each_service_has_the_commit_that_last_changed_its_inputs(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/f": "1"}, {"libs/ui/f": "1"}, {"docs/f": "1"})
    cart = images.put_image(place("cart"), made[1], "cart")
    web = images.put_image(place("web"), made[2], "web")
    lock = resolved(tmp_path, made[3], images)
    found = {
        name: (image.commit, image.digest, image.resolved_via)
        for name, image in lock.services.items()
    }
    assert found == {
        "cart": (made[1], cart, "first-parent"),
        "web": (made[2], web, "first-parent"),
    }
    assert lock.libraries == {"money": made[0], "ui": made[2]}


@pytest.mark.requirement("B-42")
def test_a_library_reaches_services_through_other_libraries(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"web/f": "1"}, {"libs/money/f": "1"})
    for name in ("cart", "web"):
        images.put_image(place(name), made[2], name)
    lock = resolved(tmp_path, made[2], images)
    assert {image.commit for image in lock.services.values()} == {made[2]}


@pytest.mark.requirement("B-43")
def test_after_a_merge_the_main_side_is_tried_before_the_side_that_was_merged(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    changed = TREE | {"cart/f": "1"}
    made = make_history(
        tmp_path,
        [NewCommit(TREE), NewCommit(changed, [0]), NewCommit(TREE | {"docs/f": "1"}, [0]),
         NewCommit(changed | {"docs/f": "1"}, [2, 1])],
    )  # fmt: skip
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[1], "develop side")
    before = resolved(tmp_path, made[3], images).services["cart"]
    assert (before.commit, before.resolved_via, before.tried.count) == (made[1], "history", 1)
    assert before.tried.first == (f"{REGISTRY}/cart:{made[3]}",)
    images.put_image(place("cart"), made[3], "main side")
    after = resolved(tmp_path, made[3], images).services["cart"]
    assert (after.commit, after.resolved_via, after.tried.count) == (made[3], "first-parent", 0)


@pytest.mark.requirement("B-44")
def test_an_image_of_an_identical_tree_is_taken_and_the_lock_says_so(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/f": "1"}, {"cart/f": "0"})
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[0], "same tree")
    images.put_image(place("cart"), made[1], "near, but another tree")
    found = resolved(tmp_path, made[2], images).services["cart"]
    assert (found.commit, found.resolved_via) == (made[0], "identical-tree")


@pytest.mark.requirement("B-45", "B-46")
def test_every_missing_image_is_named_with_what_was_tried(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/f": "1"})
    with pytest.raises(ImagesMissing, match="2 of 2 services have no image") as raised:
        resolved(tmp_path, made[1], images)
    findings = {finding.service: finding.message for finding in raised.value.findings}
    assert f"{REGISTRY}/cart:{made[1]}" in findings["cart"]
    assert f"{REGISTRY}/web:{made[0]}" in findings["web"]
    assert raised.value.exit_code == 1
    assert images.requests["push"] == 0


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize(("error", "exit_code"), [(CouldNotCheck, 6), (Unreachable, 6)])
def test_what_could_not_be_checked_is_not_missing(
    tmp_path: Path, images: InMemoryRegistry, error: type[CouldNotCheck], exit_code: int
) -> None:
    made = history(tmp_path)
    images.put_image(place("web"), made[0])
    images.failures[place("cart")] = error("registry.example.com refuses (401)", hint="log in")
    with pytest.raises(error, match="1 of 2 services could not be checked") as raised:
        resolved(tmp_path, made[0], images)
    assert raised.value.exit_code == exit_code
    assert [finding.service for finding in raised.value.findings] == ["cart"]
    assert raised.value.hint == "log in"


@pytest.mark.requirement("B-49")
@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("{short}", "{commit:.7}"),
        ("sha-{short:10}", "sha-{commit:.10}"),
        ("{branch}-{commit}", "release-1-{commit}"),
    ],
)
def test_the_tags_template_can_be_set_for_each_service(
    tmp_path: Path, images: InMemoryRegistry, template: str, tag: str
) -> None:
    made = history(tmp_path)
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), tag.format(commit=made[0]))
    project = with_service(service("cart", tag=template))
    lock = resolved(tmp_path, made[0], images, project, branches=["main", "release/1"])
    assert lock.services["cart"].tag == tag.format(commit=made[0])


def test_one_listing_answers_for_all_older_candidates(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, *({"docs/f": str(number)} for number in range(1, 80)))
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[70])
    lock = resolved(tmp_path, made[-1], images)
    assert lock.services["cart"].commit == made[70]
    assert (images.requests["tags"], images.requests["resolve"]) == (1, 3)


def test_where_listing_is_refused_the_questions_are_bounded(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    class Unlisted(InMemoryRegistry):
        def tags(self, _: Repository) -> tuple[str, ...]:
            raise CouldNotCheck("no listing here")

    unlisted = Unlisted()
    made = history(tmp_path, *({"docs/f": str(number)} for number in range(1, 80)))
    unlisted.put_image(place("web"), made[0])
    with pytest.raises(ImagesMissing) as raised:
        resolved(tmp_path, made[-1], unlisted)
    assert "cannot be listed" in str(raised.value.findings[0].hint)
    assert unlisted.requests["resolve"] == 1 + 1 + UNLISTED_LIMIT


def test_images_are_asked_for_where_the_lookup_says(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    mirror = Repository("oci", "mirror.example.com/all")
    project = replace(SHOP, lookup=Lookup({REGISTRY: mirror}))
    for name in ("cart", "web"):
        images.put_image(mirror.child(name), made[0], name)
    lock = resolved(tmp_path, made[0], images, project)
    assert lock.services["cart"].image == f"{REGISTRY}/cart"


def test_paths_that_the_tag_has_not_are_all_named(tmp_path: Path, images: InMemoryRegistry) -> None:
    made = history(tmp_path)
    project = with_service(service("cart", paths=("carts", "cart")))
    project = with_service(service("web", migrations=Migrations(("web/db",))), project)
    with pytest.raises(ProjectFileInvalid) as raised:
        resolved(tmp_path, made[0], images, project)
    assert [f.message for f in raised.value.findings] == [
        "the tag's tree has no carts",
        "the tag's tree has no web/db",
    ]
    assert raised.value.exit_code == 2


def test_a_git_lfs_pointer_among_the_inputs_is_refused(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    made = history(tmp_path, {"cart/big.bin": pointer})
    with pytest.raises(ProjectFileInvalid) as raised:
        resolved(tmp_path, made[1], images)
    assert [(f.rule, f.file) for f in raised.value.findings] == [("lfs-pointer", "cart/big.bin")]


def test_migrations_are_recorded_by_the_digest_of_their_tree(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/db/1.sql": "a"}, {"cart/db/1.sql": "b"}, {"cart/db/1.sql": "a"})
    project = with_service(service("cart", migrations=Migrations(("cart/db",), "migrate", True)))
    for commit in made:
        images.put_image(place("cart"), commit)
        images.put_image(place("web"), commit)
    digests = []
    for commit in made[1:]:
        migrations = resolved(tmp_path, commit, images, project).services["cart"].migrations
        assert migrations is not None
        digests.append(migrations.tree_digest)
    assert digests[0] == digests[2] != digests[1]
