"""Where a rollback leads to, by a target's history alone."""

from __future__ import annotations

import pytest

from bundler.deploy import goal
from bundler.errors import UsageError
from bundler.model.reference import Digest
from bundler.model.revision import Kind, Revision, Status, TargetState, kept


def revision(number: int, tag: str, status: Status = "succeeded", kind: Kind = "apply") -> Revision:
    digest = str(Digest.of(tag.encode()))
    tag = tag.partition("/")[0]
    return Revision(
        number, "shop", "prod", "eu", tag, tag, "c" * 40, "2026-01-01T00:00:00Z", digest,
        f"oci://registry.example.com/shop:{tag}", status, kind=kind,
    )  # fmt: skip


def state(*revisions: Revision) -> TargetState:
    return TargetState(revisions=revisions)


ONE, TWO, THREE = revision(1, "v1"), revision(2, "v2"), revision(3, "v3")
FAILED, UNINSTALLED = revision(4, "v4", "failed"), revision(4, "v3", kind="uninstall")


@pytest.mark.requirement("C-44")
@pytest.mark.parametrize(
    ("history", "number"),
    [
        ((ONE, TWO, THREE), 2),
        ((ONE, TWO, revision(3, "v2")), 1),
        ((ONE, TWO, revision(3, "v1", kind="rollback")), 2),
        ((ONE, TWO, THREE, FAILED), 3),
        ((ONE, TWO, revision(3, "v3", "pending")), 2),
        ((ONE, TWO, revision(3, "v3", "rolled-back"), revision(4, "v2", kind="rollback")), 1),
        ((ONE, revision(2, "v2", "failed"), revision(3, "v3")), 1),
    ],
)
def test_without_a_name_it_is_the_good_release_before(
    history: tuple[Revision, ...], number: int
) -> None:
    assert goal.before(state(*history), "prod/eu").number == number


@pytest.mark.parametrize("history", [(), (ONE,), (FAILED,), (ONE, TWO, THREE, UNINSTALLED)])
def test_where_there_is_none_what_was_there_is_told(history: tuple[Revision, ...]) -> None:
    with pytest.raises(UsageError, match="prod/eu: there is no release to go back to") as caught:
        goal.before(state(*history), "prod/eu")
    for each in history:
        assert each.tag in str(caught.value.hint)


@pytest.mark.requirement("C-44")
def test_a_version_or_digest_means_what_the_history_has() -> None:
    history = state(ONE, TWO, revision(3, "v1", "failed"), FAILED)
    assert goal.named(history, "v1", "prod/eu") == ONE
    assert goal.named(history, TWO.digest, "prod/eu") == TWO
    assert goal.named(history, TWO.digest[7:19], "prod/eu") == TWO
    assert goal.named(history, "v4", "prod/eu") == FAILED
    assert goal.numbered(history, 4, "prod/eu") == FAILED
    for unknown in ("v5", "sha256:00", TWO.digest[7:12], ""):
        with pytest.raises(UsageError, match="prod/eu never had") as caught:
            goal.named(history, unknown, "prod/eu")
        assert "v2 (" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no release of revision 9"):
        goal.numbered(history, 9, "prod/eu")
    with pytest.raises(UsageError, match="no release of revision 4"):
        goal.numbered(state(ONE, UNINSTALLED), 4, "prod/eu")


def test_a_version_that_had_different_contents_is_not_guessed() -> None:
    history = state(ONE, revision(2, "v1/other"), TWO)
    with pytest.raises(UsageError, match="different contents"):
        goal.named(history, "v1", "prod/eu")
    assert goal.named(history, ONE.digest, "prod/eu") == ONE


def test_what_can_be_gone_back_to_is_kept_however_often_others_fail() -> None:
    many = [revision(number, "v3") for number in range(3, 40)]
    staying = kept((ONE, TWO, *many, revision(40, "v4", "failed")))
    assert [each.tag for each in staying[:2]] == ["v2", "v3"]
    assert len(staying) == 21
