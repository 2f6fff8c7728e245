"""The releases that targets had before, pulled by the digests that are recorded there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from threading import Lock

import typer

from bundler.cli import output, preparing, wiring_targets
from bundler.cli.output import printable
from bundler.deploy.decrypt import with_secrets
from bundler.model.barriers import Barrier
from bundler.model.bundle import VerifiedBundle
from bundler.model.revision import Revision
from bundler.ports import DeployTarget


class RecordedReleases:
    """Implements `bundler.ports.FormerReleases`; what several targets had is pulled once.

    Thread-safe.
    """

    def __init__(self, sops: str | None, *, plain_http: bool) -> None:
        self._sops = sops
        self._plain_http = plain_http
        self._one_at_a_time = Lock()
        self._seen: set[str] = set()
        self._pulled: dict[tuple[str, str, str | None], VerifiedBundle] = {}

    def check(self, revision: Revision) -> None:
        with self._one_at_a_time:
            if revision.digest not in self._seen:
                preparing.pull_recorded(revision, None, self._plain_http)
                self._seen.add(revision.digest)

    def pull(self, revision: Revision) -> VerifiedBundle:
        key = (revision.environment, revision.digest, revision.image_registry)
        with self._one_at_a_time:
            if key not in self._pulled:
                self._pulled[key] = preparing.recorded(revision, None, self._plain_http)
            return self._pulled[key]

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
