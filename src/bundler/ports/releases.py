"""What is asked for the releases that a target had before."""

from __future__ import annotations

from typing import Protocol

from bundler.model.bundle import VerifiedBundle
from bundler.model.revision import Revision
from bundler.ports.target import DeployTarget


class FormerReleases(Protocol):
    """The releases that a target had, by their revisions. Raises what pulling them raises."""

    def check(self, revision: Revision) -> None:
        """See that it can still be pulled, every byte checked against its digest."""
        ...

    def pull(self, revision: Revision) -> VerifiedBundle:
        """The release, verified; what is encrypted in it stays so."""
        ...

    def decrypted(
        self, bundle: VerifiedBundle, revision: Revision, to: DeployTarget
    ) -> VerifiedBundle:
        """With its Secrets as the target takes them."""
        ...
