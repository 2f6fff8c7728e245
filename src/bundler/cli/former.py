"""The releases that targets had before, pulled by the digests that are recorded there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import TypeVar

import typer

from bundler.cli import output, preparing, wiring_targets
from bundler.cli.output import printable
from bundler.deploy.decrypt import with_secrets
from bundler.errors import NotFound, TryAgain
from bundler.model.barriers import Barrier
from bundler.model.bundle import VerifiedBundle
from bundler.model.reference import Repository
from bundler.model.revision import Revision
from bundler.ports import DeployTarget

Found = TypeVar("Found")


class RecordedReleases:
    """Implements `bundler.ports.FormerReleases`; what several targets had is pulled once.

    What is no longer where it was pulled from then is asked for beside the coming release.
    Thread-safe.
    """

    def __init__(self, sops: str | None, beside: Repository, *, plain_http: bool) -> None:
        self._sops = sops
        self._beside = beside
        self._plain_http = plain_http
        self._one_at_a_time = Lock()
        self._seen: set[str] = set()
        self._pulled: dict[tuple[str, str, str | None], VerifiedBundle] = {}

    def check(self, revision: Revision) -> None:
        with self._one_at_a_time:
            if revision.digest not in self._seen:
                self._found(preparing.pull_recorded, revision)
                self._seen.add(revision.digest)

    def pull(self, revision: Revision) -> VerifiedBundle:
        key = (revision.environment, revision.digest, revision.image_registry)
        with self._one_at_a_time:
            if key not in self._pulled:
                self._pulled[key] = self._found(preparing.recorded, revision)
            return self._pulled[key]

    def _found(
        self, pull: Callable[[Revision, str | None, bool], Found], revision: Revision
    ) -> Found:
        try:
            return pull(revision, None, self._plain_http)
        except (NotFound, TryAgain):
            with suppress(NotFound, TryAgain):
                return pull(revision, str(self._beside), self._plain_http)
            raise

    def decrypted(
        self, bundle: VerifiedBundle, revision: Revision, to: DeployTarget
    ) -> VerifiedBundle:
        targets = {revision.target: to}
        decrypter = wiring_targets.decrypter(self._sops)
        return with_secrets(bundle, revision.environment, targets, decrypter)


def barriers_asked(*, may_ask: bool) -> Callable[[Sequence[Barrier]], bool]:
    """Asks on a terminal whether to go back behind migrations, once for the same ones of several
    targets; elsewhere the answer is no."""
    answers: dict[frozenset[Barrier], bool] = {}
    one_at_a_time = Lock()

    def ask(found: Sequence[Barrier]) -> bool:
        if not (may_ask and sys.stdin.isatty()):
            return False
        with one_at_a_time:
            if frozenset(found) not in answers:
                for each in found:
                    output.note(f"this goes back behind {printable(str(each))}")
                question = "The data stays as it is. Go back nevertheless?"
                answers[frozenset(found)] = typer.confirm(question, err=True)
            return answers[frozenset(found)]

    return ask
