"""Services whose source is in a submodule or in another repository, beside those that are here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.git.repository import GitRepository
from bundler.errors import (
    AccessRefused,
    ImagesMissing,
    ProjectFileInvalid,
    SourceInvalid,
    Unreachable,
)
from bundler.model.commits import CommitSummary
from bundler.model.lock import ImageLock
from bundler.model.project import Lookup, OtherRepository, Project, RevisionLabel, Service
from bundler.model.reference import Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.resolve import Asking, resolve
from tests.fakes.registry import InMemoryRegistry
from tests.fakes.repositories import InMemoryRepositories
from tests.git_history import NewCommit, git, make_history

REGISTRY = "registry.example.com/shop"
URL = "https://git.example.com/shop/pay"
A, B = "a" * 40, "b" * 40


def service(name: str, **settings: object) -> Service:
    return replace(Service(name, (), f"{REGISTRY}/{name}"), **settings)  # type: ignore[arg-type]


def project(*services: Service) -> Project:
    return Project(
        name="shop",
        services={each.name: each for each in services},
        libraries={},
        environments={},
        deploy_registry=Repository("ocidir", "registry"),
        lookup=Lookup({}),
        revision_label=RevisionLabel("ignore", "ignore"),
    )


def place(name: str) -> Repository:
    return Repository("oci", f"{REGISTRY}/{name}")


@pytest.fixture
def images() -> InMemoryRegistry:
    return InMemoryRegistry()


@pytest.fixture
def repositories() -> InMemoryRepositories:
    return InMemoryRepositories()


@pytest.fixture
def tagged(tmp_path: Path) -> str:
    """A repository with a folder, and a submodule that is not initialised."""
    made = make_history(tmp_path, [NewCommit({"web/f": "0"})])
    git(tmp_path, "read-tree", made[0])
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{A},services/cart")
    commit = git(tmp_path, "commit-tree", git(tmp_path, "write-tree"), "-p", made[0], "-m", "bump")
    git(tmp_path, "update-ref", "refs/heads/main", commit)
    return commit


def resolved(
    folder: Path,
    commit: str,
    wanted: Project,
    images: InMemoryRegistry,
    repositories: InMemoryRepositories,
) -> ImageLock:
    revision = SourceRevision(ReleaseTag("v1.0.0"), commit, 0)
    return resolve(wanted, revision, GitRepository(folder), Asking(images, repositories))


@pytest.mark.requirement("B-47")
def test_a_submodules_commit_is_the_one_that_the_tag_records(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    digest = images.put_image(place("cart"), A)
    wanted = project(service("cart", submodule="services/cart"))
    lock = resolved(tmp_path, tagged, wanted, images, repositories)
    found = lock.services["cart"]
    assert (found.commit, found.digest, found.resolved_via) == (A, digest, "submodule")
    assert lock.summaries == {}  # it is not initialised here: nobody knows who made that commit


def test_a_folder_is_no_submodule_and_a_submodule_is_no_folder(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    wanted = project(service("cart", paths=("services/cart",)), service("web", submodule="web"))
    with pytest.raises(ProjectFileInvalid) as raised:
        resolved(tmp_path, tagged, wanted, images, repositories)
    told = {f.pointer: (f.rule, f.hint) for f in raised.value.findings}
    assert told == {
        "/services/cart/paths": ("is-submodule", "declare it as `submodule: services/cart`"),
        "/services/web/submodule": ("no-submodule", "declare it under paths"),
    }


@pytest.mark.requirement("B-48")
@pytest.mark.parametrize(
    ("ref", "known"),
    [
        (None, {"refs/tags/v1.0.0": B}),
        ("release-7", {"refs/tags/release-7": B}),
        ("refs/tags/x", {"refs/tags/x": B, "refs/heads/x": A}),
        ("same", {"refs/tags/same": B, "refs/heads/same": B}),
        (B, {}),
    ],
)
def test_another_repository_gives_the_commit_of_its_tag_ref_or_commit_id(
    tmp_path: Path,
    tagged: str,
    images: InMemoryRegistry,
    repositories: InMemoryRepositories,
    ref: str | None,
    known: dict[str, str],
) -> None:
    repositories.refs[URL] = known
    repositories.known[URL] = {B: CommitSummary("Take cards", "Grace", 1_700_000_000)}
    images.put_image(place("pay"), B)
    wanted = project(service("pay", repository=OtherRepository(URL, ref)))
    lock = resolved(tmp_path, tagged, wanted, images, repositories)
    assert (lock.services["pay"].commit, lock.services["pay"].resolved_via) == (B, "repository")
    assert lock.summaries[B].subject == "Take cards"
    assert lock.warnings == ()


def test_a_branch_is_taken_with_the_warning_that_it_moves(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    repositories.refs[URL] = {"refs/heads/main": B}
    images.put_image(place("pay"), B)
    wanted = project(service("pay", repository=OtherRepository(URL, "main")))
    lock = resolved(tmp_path, tagged, wanted, images, repositories)
    assert [(f.rule, f.service, f.severity) for f in lock.warnings] == [
        ("mutable-ref", "pay", "warning")
    ]


def test_a_name_that_is_a_tag_and_a_branch_there_is_refused_with_both_ways_out(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    repositories.refs[URL] = {"refs/heads/x": A, "refs/tags/x": B}
    wanted = project(service("pay", repository=OtherRepository(URL, "x")))
    with pytest.raises(SourceInvalid) as raised:
        resolved(tmp_path, tagged, wanted, images, repositories)
    assert raised.value.findings[0].hint == "write ref: refs/tags/x or ref: refs/heads/x"


def test_a_tag_that_is_not_there_yet_is_missing_like_an_image(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    wanted = project(service("pay", repository=OtherRepository(URL)))
    with pytest.raises(ImagesMissing) as raised:
        resolved(tmp_path, tagged, wanted, images, repositories)
    [finding] = raised.value.findings
    assert finding.message == f"{URL} has no refs/tags/v1.0.0"
    assert (finding.rule, finding.service) == ("ref-missing", "pay")


@pytest.mark.parametrize("error", [AccessRefused, Unreachable])
def test_a_repository_that_does_not_let_us_in_is_not_a_missing_image(
    tmp_path: Path,
    tagged: str,
    images: InMemoryRegistry,
    repositories: InMemoryRepositories,
    error: type[Unreachable],
) -> None:
    repositories.failures[URL] = error("git.example.com does not let us in", hint="log in")
    images.put_image(place("web"), git(tmp_path, "rev-parse", f"{tagged}^"))
    wanted = project(
        service("pay", repository=OtherRepository(URL)), service("web", paths=("web",))
    )
    with pytest.raises(error) as raised:
        resolved(tmp_path, tagged, wanted, images, repositories)
    assert {finding.service for finding in raised.value.findings} == {"pay"}
    assert raised.value.hint == "log in"


@pytest.mark.requirement("B-47", "B-48")
def test_sources_of_all_kinds_stand_in_one_lock(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    first = git(tmp_path, "rev-parse", f"{tagged}^")
    repositories.refs[URL] = {"refs/tags/v1.0.0": B}
    for name, commit in (("cart", A), ("pay", B), ("web", first)):
        images.put_image(place(name), commit)
    wanted = project(
        service("web", paths=("web",)),
        service("cart", submodule="services/cart"),
        service("pay", repository=OtherRepository(URL)),
    )
    lock = resolved(tmp_path, tagged, wanted, images, repositories)
    found = {name: (image.commit, image.resolved_via) for name, image in lock.services.items()}
    assert found == {
        "cart": (A, "submodule"),
        "pay": (B, "repository"),
        "web": (first, "first-parent"),
    }


def test_each_repository_is_asked_once_whatever_the_number_of_its_services(
    tmp_path: Path, tagged: str, images: InMemoryRegistry, repositories: InMemoryRepositories
) -> None:
    repositories.refs[URL] = {"refs/tags/v1.0.0": B}
    names = [f"pay{number}" for number in range(10)]
    for name in names:
        images.put_image(place(name), B)
    wanted = project(*(service(name, repository=OtherRepository(URL)) for name in names))
    resolved(tmp_path, tagged, wanted, images, repositories)
    assert repositories.requests == {("commits", URL): 1, ("summaries", URL): 1}
