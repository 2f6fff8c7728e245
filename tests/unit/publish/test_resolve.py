"""Resolving on real git histories, with images in a registry in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.content_cache import CachedImages, ContentCache
from bundler.adapters.git.repository import GitRepository
from bundler.errors import (
    AccessRefused,
    CouldNotCheck,
    ImagesMissing,
    ImagesRefused,
    ProjectFileInvalid,
    Unreachable,
)
from bundler.model.artifact import REVISION
from bundler.model.lock import ImageLock
from bundler.model.project import (
    Library,
    Lookup,
    Migrations,
    Project,
    RevisionLabel,
    Service,
)
from bundler.model.reference import Digest, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.resolve import Asking, resolve
from bundler.publish.search import UNLISTED_LIMIT
from bundler.publish.waiting import Waiting
from tests.fakes.registry import InMemoryRegistry
from tests.fakes.repositories import InMemoryRepositories
from tests.git_history import START, NewCommit, make_history

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
    revision_label=RevisionLabel(missing="ignore"),
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
    **asking: Any,
) -> ImageLock:
    revision = SourceRevision(ReleaseTag("v1.0.0"), commit, 0)
    settings = Asking(
        images, asking.pop("repositories", InMemoryRepositories()), branches, **asking
    )
    return resolve(project, revision, GitRepository(folder), settings)


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
@pytest.mark.parametrize(("error", "exit_code"), [(CouldNotCheck, 6), (AccessRefused, 6)])
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
    latest = 1
    assert unlisted.requests["resolve"] == 1 + 1 + UNLISTED_LIMIT + latest


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


def test_a_path_that_is_missing_suggests_the_one_that_may_be_meant(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    project = with_service(service("cart", paths=("carts", "doc", "zzz")))
    with pytest.raises(ProjectFileInvalid) as raised:
        resolved(tmp_path, made[0], images, project)
    hints = [finding.hint for finding in raised.value.findings]
    assert hints == ["did you mean cart?", "did you mean docs?", None]


def test_a_path_that_is_a_symbolic_link_is_refused(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    tree = TREE | {"out": "/etc", "in": "libs"}
    made = make_history(tmp_path, [NewCommit(tree, modes={"out": "120000", "in": "120000"})])
    project = with_service(service("cart", paths=("out", "in/money")))
    with pytest.raises(ProjectFileInvalid) as raised:
        resolved(tmp_path, made[0], images, project)
    assert [(f.rule, f.message) for f in raised.value.findings] == [
        ("path-is-link", "out is a symbolic link"),
        ("path-missing", "the tag's tree has no in/money"),
    ]
    assert raised.value.findings[1].hint == (
        "in is a symbolic link: name the folder that it leads to"
    )


def test_services_with_overlapping_paths_each_follow_their_own_inputs(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"libs/ui/f": "1"}, {"libs/money/f": "1"})
    project = with_service(
        service("web", paths=("libs",)), with_service(service("cart", paths=("libs/ui",)))
    )
    images.put_image(place("cart"), made[1])
    images.put_image(place("web"), made[2])
    lock = resolved(tmp_path, made[2], images, project)
    assert [image.commit for image in lock.services.values()] == [made[1], made[2]]


@pytest.mark.requirement("B-50")
def test_a_service_that_moved_keeps_its_image_where_its_former_path_is_declared(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    old = {"old/f": "1", "web/f": "0", "libs/money/f": "0", "libs/ui/f": "0"}
    moved = {"cart/f": "1", "web/f": "0", "libs/money/f": "0", "libs/ui/f": "0"}
    unrelated = old | {"old/f": "another service"}
    made = make_history(
        tmp_path, [NewCommit(unrelated), NewCommit(old, [0]), NewCommit(moved, [1])]
    )
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[0], "an older unrelated image")
    images.put_image(place("cart"), made[1], "before it moved")
    project = with_service(service("cart", former_paths=("old",)))
    found = resolved(tmp_path, made[2], images, project).services["cart"]
    assert (found.commit, found.resolved_via) == (made[1], "first-parent")
    with pytest.raises(ImagesMissing) as raised:  # undeclared, another place is another source
        resolved(tmp_path, made[2], images)
    assert [finding.service for finding in raised.value.findings] == ["cart"]


@pytest.mark.requirement("B-18")
def test_files_that_are_ignored_do_not_change_a_service(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/README.md": "1"}, {"libs/money/docs/a": "1"}, {"web/f.md": "1"})
    images.put_image(place("cart"), made[0])
    images.put_image(place("web"), made[0])
    project = with_service(service("cart", "money", ignore=("*.md", "docs/")))
    with pytest.raises(ImagesMissing) as raised:
        resolved(tmp_path, made[3], images, project)
    assert [finding.service for finding in raised.value.findings] == ["web"]


def test_where_every_commit_is_built_the_tags_own_is_asked_for_first(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"docs/f": "1"})
    for name in ("cart", "web"):
        images.put_image(place(name), made[0])
        images.put_image(place(name), made[1])
    project = with_service(service("cart", strategy="every-commit"))
    found = resolved(tmp_path, made[1], images, project).services
    assert (found["cart"].commit, found["cart"].resolved_via) == (made[1], "tag-commit")
    assert (found["web"].commit, found["web"].resolved_via) == (made[0], "first-parent")


@pytest.mark.requirement("B-24")
def test_a_lone_latest_is_taken_only_if_its_label_names_a_candidate(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/f": "1"}, {"docs/f": "1"})
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), "latest", "old", {REVISION: made[0]})
    with pytest.raises(ImagesMissing) as raised:
        resolved(tmp_path, made[2], images)
    assert f"{REGISTRY}/cart:latest" in raised.value.findings[0].message
    digest = images.put_image(place("cart"), "latest", "new", {REVISION: made[1]})
    found = resolved(tmp_path, made[2], images).services["cart"]
    assert (found.commit, found.digest, found.resolved_via) == (made[1], digest, "latest-label")
    assert str(found.reference) == f"{REGISTRY}/cart@{digest}"


@pytest.mark.requirement("B-54")
def test_an_image_that_names_another_commit_is_refused_and_one_that_names_none_is_told(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path, {"cart/f": "1"})
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[1], labels={REVISION: made[0]})
    strict = replace(SHOP, revision_label=RevisionLabel())
    with pytest.raises(ImagesRefused, match="1 of 2 services have an image that is refused") as no:
        resolved(tmp_path, made[1], images, strict)
    [finding] = no.value.findings
    assert (finding.rule, finding.service, no.value.exit_code) == ("revision-mismatch", "cart", 4)
    lenient = replace(SHOP, revision_label=RevisionLabel("warning", "warning"))
    warnings = resolved(tmp_path, made[1], images, lenient).warnings
    assert [(w.rule, w.service, w.severity) for w in warnings] == [
        ("revision-mismatch", "cart", "warning"),
        ("revision-missing", "web", "warning"),
    ]


def test_missing_refused_and_unchecked_are_told_together_and_apart(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    names = ("cart", "web", "a", "b")
    project = SHOP
    for name in names[2:]:
        project = with_service(service(name, paths=("docs",)), project)
    project = replace(project, revision_label=RevisionLabel())
    images.put_image(place("cart"), made[0], labels={REVISION: "0" * 40})
    images.failures[place("a")] = AccessRefused("it refuses access", hint="log in")
    images.failures[place("b")] = Unreachable("it does not answer")
    with pytest.raises(ImagesRefused) as raised:
        resolved(tmp_path, made[0], images, project)
    assert {f.service: f.rule for f in raised.value.findings} == {
        "cart": "revision-mismatch",
        "web": "image-missing",
        "a": "access-refused",
        "b": "unreachable",
    }
    assert raised.value.message == (
        "1 of 4 services have an image that is refused; 1 of 4 services have no image; "
        "1 of 4 services could not be checked for lack of access; "
        "1 of 4 services could not be asked for"
    )


def test_questions_that_are_never_answered_end_with_the_time_for_all_of_them(
    tmp_path: Path,
) -> None:
    class Silent(InMemoryRegistry):
        def __init__(self) -> None:
            super().__init__()
            self.over = threading.Event()

        def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
            if repository == place("cart"):
                self.over.wait(30)
            return super().resolve(repository, reference)

    silent = Silent()
    made = history(tmp_path)
    silent.put_image(place("web"), made[0])
    with pytest.raises(Unreachable) as raised:
        resolved(tmp_path, made[0], silent, seconds=0.2)
    silent.over.set()
    assert [(f.service, f.rule) for f in raised.value.findings] == [("cart", "unreachable")]


@pytest.mark.requirement("B-40")
def test_the_lock_tells_who_made_each_commit(tmp_path: Path, images: InMemoryRegistry) -> None:
    made = history(tmp_path, {"cart/f": "1"})
    images.put_image(place("web"), made[0])
    images.put_image(place("cart"), made[1])
    lock = resolved(tmp_path, made[1], images)
    summary = lock.summaries[made[1]]
    assert (summary.subject, summary.author, summary.time) == ("commit 1", "Ada", START + 1)


# --- waiting ------------------------------------------------------------------------------------


class Clock:
    """Time that passes when somebody sleeps; `due` are what happens at which second."""

    def __init__(self, due: dict[float, Callable[[], object]]) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self._due = due

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in [moment for moment in self._due if moment <= self.now]:
            self._due.pop(moment)()

    def waiting(self, seconds: float) -> Waiting:
        return Waiting(seconds, lambda: self.now, self.sleep, self.told.append)


@pytest.mark.requirement("B-45")
def test_waiting_ends_when_the_last_image_has_come(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    clock = Clock(
        {
            20: lambda: images.put_image(place("web"), made[0]),
            100: lambda: images.put_image(place("cart"), made[0]),
        }
    )
    lock = resolved(tmp_path, made[0], images, waiting=clock.waiting(600))
    assert set(lock.services) == {"cart", "web"}
    assert 100 <= clock.now < 150
    assert clock.told[0] == "waiting for 2 services (cart, web); 10m00s left"
    assert any(line.startswith("waiting for 1 service (cart); ") for line in clock.told)


@pytest.mark.requirement("B-45")
def test_waiting_ends_with_its_time_and_names_what_never_came(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    images.put_image(place("web"), made[0])
    clock = Clock({})
    with pytest.raises(ImagesMissing) as raised:
        resolved(tmp_path, made[0], images, waiting=clock.waiting(60))
    assert [finding.service for finding in raised.value.findings] == ["cart"]
    assert clock.now == 60


def test_what_waiting_cannot_mend_is_told_at_once(tmp_path: Path, images: InMemoryRegistry) -> None:
    made = history(tmp_path)
    images.failures[place("cart")] = AccessRefused("no", hint="log in")
    clock = Clock({})
    with pytest.raises(ImagesMissing):
        resolved(tmp_path, made[0], images, waiting=clock.waiting(600))
    assert clock.now == 0


# --- third-party images beside the services -----------------------------------------------------


@pytest.mark.requirement("B-52")
def test_third_party_images_that_are_named_in_full_stand_in_the_lock(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    for name in ("cart", "web"):
        images.put_image(place(name), made[0])
    redis = Repository("oci", "docker.io/library/redis")
    digest = images.put_image(redis, "7.4.1", "redis")
    named = ("redis:7.4.1", f"redis@{digest}", "busybox:*", "denied.example.com/x:1")
    project = replace(SHOP, external=named, external_denied=("denied.example.com/*",))
    lock = resolved(tmp_path, made[0], images, project, named_externals=True)
    assert lock.external == {"redis:7.4.1": digest, f"redis@{digest}": digest}


@pytest.mark.requirement("B-52")
def test_a_third_party_digest_that_nobody_has_is_missing(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path)
    for name in ("cart", "web"):
        images.put_image(place(name), made[0])
    project = replace(SHOP, external=(f"redis@{Digest.of(b'never pushed')}",))
    with pytest.raises(ImagesMissing, match="1 of 3 images have no image") as raised:
        resolved(tmp_path, made[0], images, project, named_externals=True)
    assert [finding.rule for finding in raised.value.findings] == ["external-image-missing"]


# --- again --------------------------------------------------------------------------------------


def test_resolving_again_asks_only_for_what_may_have_changed(
    tmp_path: Path, images: InMemoryRegistry
) -> None:
    made = history(tmp_path / "shop", {"cart/f": "1"})
    images.put_image(place("web"), made[0], labels={REVISION: made[0]})
    images.put_image(place("cart"), made[1], labels={REVISION: made[1]})
    project = replace(SHOP, revision_label=RevisionLabel(), external_platforms=("linux/amd64",))

    def requests() -> dict[str, int]:
        images.requests.clear()
        kept = CachedImages(images, ContentCache(tmp_path / "cache"))
        asking = Asking(kept, InMemoryRepositories())
        revision = SourceRevision(ReleaseTag("v1.0.0"), made[1], 0)
        lock = resolve(project, revision, GitRepository(tmp_path / "shop"), asking)
        assert lock.warnings == ()
        return dict(images.requests)

    assert requests() == {"resolve": 2, "manifest": 2, "blob": 2}
    assert requests() == {"resolve": 2}  # a tag may have been moved; what is under a digest not
