"""A folder of a git repository as the target of a deploy, for Flux or Argo CD to follow.

Written as a folder is, in a private place; an apply that succeeds becomes one commit that is pushed
at once, the objects and what we remember of them together. What fails, is interrupted or killed
pushes nothing. There is no lock: who pushes first wins, and the other is told (Locked).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bundler.adapters import directory_target
from bundler.adapters.directory_target import DirectoryTarget
from bundler.adapters.git.branch_folder import BranchFolder
from bundler.errors import BundlerError
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.connection import Identity
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.revision import Revision, TargetState, kept

_NAME = r"[a-z0-9%][a-z0-9.%-]*"
WANTED = re.compile(rf"\.bundler/bundler\.[^/]+\.json|(?:_cluster|{_NAME})/{_NAME}/{_NAME}\.yaml")
"""The files that a folder target reads and writes."""


class GitTarget(DirectoryTarget):
    """Implements `bundler.ports.DeployTarget` but for readiness. Nothing is asked before `read`."""

    def __init__(self, place: BranchFolder, *, project: str, environment: str, target: str) -> None:
        super().__init__(place.files, project=project, environment=environment, target=target)
        self._place = place
        self._subject = (project, f"{environment}/{target}")

    def identity(self) -> Identity:
        return Identity("git", str(self._place))

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        self._place.read()
        with _told(self._place):
            return super().live(wanted)

    def apply(
        self, obj: KubernetesObject, *, dry_run: bool = False, claim: Claim = NO_CLAIM
    ) -> KubernetesObject:
        self._place.read()
        with _told(self._place):
            return super().apply(obj, dry_run=dry_run, claim=claim)

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        with _told(self._place):
            super().delete(ref, uid, owner)

    def read(self) -> TargetState:
        self._place.read()
        with _told(self._place):
            return super().read()

    def prepare(self) -> None:
        self._place.read()
        with _told(self._place):
            super().prepare()

    def write_revision(self, revision: Revision) -> None:
        """One that succeeded is pushed, with all that was written before it.

        Raises Locked where somebody else changed the folder meanwhile. That a release was looked
        at again is no news for others: it is not written.
        """
        if revision.last_checked:
            return
        super().write_revision(revision)
        if revision.status == "succeeded":
            staying = {each.number for each in kept(self.read().revisions)}
            for each in self.read().revisions:
                if each.number not in staying:
                    self.drop_revision(each.number)
            self._push(revision)

    @contextmanager
    def held(self, holder: str) -> Iterator[None]:
        """Nobody is kept out. What was taken away with its state is pushed at the end."""
        with super().held(holder):
            yield
            latest = self.read().latest
            if latest is None or latest.status == "succeeded":
                self._push(latest)

    def _push(self, revision: Revision | None) -> None:
        project, place = self._subject
        self._place.write(message(revision) if revision else f"{project}: removed from {place}\n")


def find_states(place: BranchFolder) -> list[tuple[str, str, str, TargetState]]:
    """Every (project, environment, target, state) that the folder of a branch holds."""
    place.read()
    with _told(place):
        return directory_target.find_states(place.files)


def message(revision: Revision) -> str:
    """What a commit says: which release went where, by whom, and what that changed."""
    counts = {action: n for action, n in revision.changes.items() if n and action != "unchanged"}
    changes = ", ".join(f"{count} {action}" for action, count in counts.items())
    trailers = {
        "Release-Reference": revision.reference,
        "Release-Digest": revision.digest,
        "Release-Commit": revision.commit,
        "Images-From": revision.image_registry,
        "Applied-By": revision.who.claimed,
        "Job": revision.who.job,
        "Reason": revision.reason,
    }
    lines = [f"{name}: {_line(text)}" for name, text in trailers.items() if text]
    place = f"{revision.environment}/{revision.target}"
    subject = f"{revision.project} {revision.title or revision.tag} → {place}"
    return "\n".join([subject, "", changes or "no object changed", "", *lines, ""])


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@contextmanager
def _told(place: BranchFolder) -> Iterator[None]:
    """Errors name the place in the repository, not our private files."""
    try:
        yield
    except BundlerError as error:
        words = error.message.replace(str(place.files), str(place))
        raise error.reworded(words) from error
