"""Other repositories in memory: complete, small, and it counts what it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bundler.errors import BundlerError
from bundler.model.commits import CommitSummary


class InMemoryRepositories:
    """Implements `bundler.ports.OtherRepositories`.

    `refs` and `known` are what each URL has; `failures` maps a URL to the error that every
    question about it raises.
    """

    def __init__(self) -> None:
        self.refs: dict[str, dict[str, str]] = {}
        self.known: dict[str, dict[str, CommitSummary]] = {}
        self.failures: dict[str, BundlerError] = {}
        self.requests: Counter[tuple[str, str]] = Counter()

    def commits(self, url: str, refs: Sequence[str]) -> Mapping[str, str | None]:
        self._count("commits", url)
        return {ref: self.refs.get(url, {}).get(ref) for ref in refs}

    def summaries(self, url: str, commits: Sequence[str]) -> Mapping[str, CommitSummary]:
        self._count("summaries", url)
        known = self.known.get(url, {})
        return {commit: known[commit] for commit in commits if commit in known}

    def _count(self, question: str, url: str) -> None:
        self.requests[question, url] += 1
        if failure := self.failures.get(url):
            raise failure
