"""The questions that one service's image takes: few where CI did what is expected.

The preferred candidates are asked for by their tags; one listing of the repository answers for all
others, and where listing is refused, a bounded number of questions. `latest` is looked at last, and
only believed where its label names a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, NamedTuple

from bundler.errors import CouldNotCheck
from bundler.model.finding import Finding
from bundler.model.history import Candidate
from bundler.model.image_tags import image_tags
from bundler.model.lock import Tried
from bundler.model.project import RevisionLabel, Service
from bundler.model.reference import Digest, ImageReference, Repository
from bundler.ports import ArtifactReader
from bundler.publish import image_checks

UNLISTED_LIMIT = 50
"""How many further commits are asked for one by one where a registry refuses to list tags."""
SHOWN_TRIES = 5
LATEST = "latest"


@dataclass(frozen=True)
class Candidates:
    """The commits that may have built a service's image."""

    preferred: tuple[Candidate, ...]
    others: Callable[[], Iterator[Candidate]] = lambda: iter(())
    tree_digest: str | None = None
    """Of the input tree at the tag; None where it is elsewhere, or files are ignored."""

    def find(self, revision: str) -> Candidate | None:
        """The candidate that a label names, in full or by at least seven digits."""
        if len(revision) < image_checks.SHORTEST_COMMIT:
            return None
        every = chain(self.preferred, self.others())
        return next((each for each in every if each.commit.startswith(revision.lower())), None)


class Attempt(NamedTuple):
    reference: str
    candidate: Candidate
    outcome: Literal["found", "missing", "not listed", "other label"]


class Found(NamedTuple):
    candidate: Candidate
    tag: str
    digest: Digest
    findings: tuple[Finding, ...]
    tried: Tried


class Missing(Exception):
    """No candidate has an image."""

    def __init__(self, place: Repository, tried: Tried, *, listed: bool) -> None:
        super().__init__("no acceptable image")
        self.place = place
        self.tried = tried
        self.listed = listed
        """Whether all candidates were looked at, and not only as many as may be asked for."""


class Search:
    """One search for one service's image."""

    def __init__(
        self,
        service: Service,
        place: Repository,
        images: ArtifactReader,
        branches: Sequence[str],
        label: RevisionLabel,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        """`place` is where to ask; `branches` fill `{branch}` in the tag's template."""
        self._service = service
        self._place = place
        self._images = images
        self._branches = branches
        self._label = label
        self._on_attempt = on_attempt
        self._tried: list[str] = []
        self._count = 0
        self._listing: frozenset[str] | None = None
        self._is_listed = True

    def find(self, candidates: Candidates) -> Found:
        """Raises Missing, CouldNotCheck, Unreachable, VerificationFailed."""
        found = self._ask(candidates.preferred)
        if found is None:
            rest = candidates.others()
            first = next(rest, None)
            if first is not None:
                found = self._among_listed(chain([first], rest))
        if found is None:
            found = self._by_label(candidates)
        if found is None:
            raise Missing(self._place, self._result(), listed=self._is_listed)
        return found

    def _tags(self, candidate: Candidate) -> Iterator[str]:
        return image_tags(self._service.tag, candidate.commit, self._branches)

    def _ask(self, candidates: Iterable[Candidate]) -> Found | None:
        for candidate in candidates:
            for tag in self._tags(candidate):
                digest = self._images.resolve(self._place, tag)
                if digest is not None:
                    return self._found(candidate, tag, digest)
                self._add(Attempt(self._reference(tag), candidate, "missing"))
        return None

    def _among_listed(self, candidates: Iterator[Candidate]) -> Found | None:
        try:
            listed = self._listing = frozenset(self._images.tags(self._place))
        except CouldNotCheck:
            self._is_listed = False
            return self._ask(islice(candidates, UNLISTED_LIMIT))
        for candidate in candidates:
            for tag in self._tags(candidate):
                digest = self._images.resolve(self._place, tag) if tag in listed else None
                if digest is not None:
                    return self._found(candidate, tag, digest)
                self._add(Attempt(self._reference(tag), candidate, "not listed"))
        return None

    def _by_label(self, candidates: Candidates) -> Found | None:
        """What develop pushed without a commit's tag, if its label says which commit it is of."""
        if self._listing is not None and LATEST not in self._listing:
            return None
        digest = self._images.resolve(self._place, LATEST)
        if digest is None:
            return None
        image = image_checks.read(self._place, digest, self._images)
        named = image_checks.revision(image, self._images)
        candidate = candidates.find(named) if named else None
        if candidate is None:
            self._add(
                Attempt(
                    self._reference(LATEST), Candidate(named or "", "latest-label"), "other label"
                )
            )
            return None
        return self._found(Candidate(candidate.commit, "latest-label"), LATEST, digest)

    def _found(self, candidate: Candidate, tag: str, digest: Digest) -> Found:
        self._on_attempt(Attempt(self._reference(tag), candidate, "found"))
        findings: tuple[Finding, ...] = ()
        if self._service.platforms or not self._label.is_ignored:
            image = image_checks.read(self._place, digest, self._images)
            findings = image_checks.check(
                image, self._images, self._service.platforms, self._label, candidate.commit
            )
        return Found(candidate, tag, digest, findings, self._result())

    def _reference(self, tag: str) -> str:
        return str(ImageReference(self._service.image, tag))

    def _add(self, attempt: Attempt) -> None:
        self._on_attempt(attempt)
        self._count += 1
        if len(self._tried) < SHOWN_TRIES:
            self._tried.append(attempt.reference)

    def _result(self) -> Tried:
        return Tried(tuple(self._tried), self._count)
