"""The story of one service: complete where its image is found, and where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.git.repository import GitRepository
from bundler.cli import explaining
from bundler.errors import AccessRefused, UsageError
from bundler.model.artifact import REVISION
from bundler.model.project import Library, Lookup, OtherRepository, Project, Service
from bundler.model.reference import Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.explain import Explanation, explain
from bundler.publish.resolve import Asking
from tests.fakes.registry import InMemoryRegistry
from tests.fakes.repositories import InMemoryRepositories
from tests.git_history import NewCommit, make_history

CART = Service("cart", ("cart",), "registry.example.com/shop/cart", uses=("money",))
PLACE = Repository("oci", CART.image)
SHOP = Project(
    name="shop",
    services={"cart": CART},
    libraries={"money": Library("money", ("libs/money",))},
    environments={},
    deploy_registry=Repository("ocidir", "registry"),
    lookup=Lookup({}),
    disabled={"later": replace(CART, name="later")},
)
TREE = {"cart/f": "0", "libs/money/f": "0", "docs": "0"}


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    changed = TREE | {"cart/f": "1"}
    return make_history(
        tmp_path,
        [
            NewCommit(TREE),
            NewCommit(changed, [0]),
            NewCommit(changed | {"docs": "1"}, [1]),
            NewCommit(changed | {"docs": "2"}, [2]),
        ],
    )


def told(
    folder: Path, commit: str, images: InMemoryRegistry, service: str = "cart", of: Project = SHOP
) -> Explanation:
    revision = SourceRevision(ReleaseTag("v1.0.0"), commit, 0)
    asking = Asking(images, InMemoryRepositories())
    return explain(of, revision, service, GitRepository(folder), asking)


def text(story: Explanation) -> str:
    return "\n".join(explaining.lines(story))


@pytest.mark.requirement("B-44")
def test_the_story_of_an_image_that_was_found(tmp_path: Path, made: list[str]) -> None:
    images = InMemoryRegistry()
    digest = images.put_image(PLACE, made[2], labels={REVISION: made[2]})
    story = told(tmp_path, made[3], images)
    assert [(a.reference.split(":")[1], a.outcome) for a in story.attempts] == [
        (made[1], "missing"),
        (made[3], "not listed"),
        (made[2], "found"),
    ]
    assert [candidate.commit for candidate in story.candidates] == [made[1], made[3], made[2]]
    words = text(story)
    assert f"Taken: {CART.image}:{made[2]}@{digest}" in words
    assert "commit 1 (Ada): the commit on the first-parent line that brought these inputs" in words
    assert "libs/money  (a library)" in words
    value = explaining.value(story)
    assert value["image"]["resolvedVia"] == "identical-tree"
    assert value["error"] is None


@pytest.mark.requirement("B-45")
def test_the_story_of_an_image_that_is_missing_ends_with_what_to_do(
    tmp_path: Path, made: list[str]
) -> None:
    story = told(tmp_path, made[3], InMemoryRegistry())
    words = text(story)
    assert len(story.attempts) == 3
    assert "No image is taken: 1 of 1 services have no image." in words
    assert "What to do: build the missing images" in words
    assert explaining.value(story)["error"]["code"] == "images-missing"


def test_a_registry_that_refuses_is_told_in_the_story(tmp_path: Path, made: list[str]) -> None:
    images = InMemoryRegistry()
    images.failures[PLACE] = AccessRefused("it lets nobody in", hint="docker login it")
    words = text(told(tmp_path, made[3], images))
    assert "it lets nobody in" in words
    assert "What to do: docker login it." in words


def test_a_source_elsewhere_has_its_own_words(tmp_path: Path, made: list[str]) -> None:
    other = replace(
        CART, paths=(), uses=(), repository=OtherRepository("https://git.example.com/cart")
    )
    story = told(tmp_path, made[3], InMemoryRegistry(), of=replace(SHOP, services={"cart": other}))
    words = text(story)
    assert "Its source is https://git.example.com/cart, at the tag v1.0.0." in words
    assert "No commit is known." in words


@pytest.mark.parametrize(
    ("name", "message"),
    [("crat", "no service 'crat'"), ("later", "service later is disabled")],
)
def test_a_service_that_is_no_part_of_the_release_has_no_story(
    tmp_path: Path, made: list[str], name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        told(tmp_path, made[3], InMemoryRegistry(), name)
