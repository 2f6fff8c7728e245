"""What is asked of a git repository: tags, trees, history, and repositories elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePath
from typing import NamedTuple, Protocol

from bundler.model.commits import CommitSummary
from bundler.model.history import HistoryCommit, Input
from bundler.model.release import ReleaseTag, SourceRevision


class TreeEntry(NamedTuple):
    path: str
    mode: str
    """Octal as git prints it: 100644, 100755, 120000, 160000."""
    object_id: str


class Branches(NamedTuple):
    known: tuple[str, ...]
    containing: tuple[str, ...]
    unpushed: tuple[str, ...] = ()
    """Local branches that have the commit where only those of a remote count, and none has it."""


class TagResolver(Protocol):
    def revision(self, tag: ReleaseTag) -> SourceRevision:
        """The commit behind a tag, peeled. Raises SourceInvalid (no such tag, not a commit)."""
        ...

    def branches(self, commit: str, patterns: Sequence[str]) -> Branches:
        """The branches that match a pattern, and those of them that contain the commit.

        If the repository has a remote, only remote-tracking branches count.
        """
        ...

    def is_shallow(self) -> bool:
        """Whether history was cut off when the repository was cloned."""
        ...


class TreeReader(Protocol):
    """Reads a commit's tree as git stores it: no attributes, filters or work tree."""

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's content; None where the path is no file."""
        ...

    def entries(self, commit: str, paths: Sequence[str]) -> Mapping[str, tuple[TreeEntry, ...]]:
        """For each path its files, sorted by path; empty where the tree has no such path."""
        ...


class SourceReader(TreeReader, Protocol):
    """Reads a commit's tree, and what is known of its files as a whole."""

    def contents(self, commit: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Every file at or below the paths, with its content; no symbolic links."""
        ...

    def containing(self, commit: str, texts: Collection[str]) -> Mapping[str, bytes]:
        """Every file of a commit that holds one of these texts of one line; no links."""
        ...

    def lfs_pointers(self, commit: str, inputs: Sequence[Input]) -> tuple[str, ...]:
        """Files among the inputs that are git-LFS pointers instead of content."""
        ...

    def tree_id(self, commit: str) -> str:
        """The id of the commit's whole tree: commits with the same content have the same."""
        ...

    def exported(self, commit: str) -> AbstractContextManager[PurePath]:
        """The commit's tree as files in a fresh folder, removed at the end.

        Symbolic links that would lead out of the tree lead nowhere.
        """
        ...


ReadTree = Callable[[Sequence[str]], Mapping[str, bytes]]
"""`SourceReader.contents` of one commit."""


class HistoryReader(Protocol):
    def history(self, commit: str, inputs: Sequence[Input]) -> Sequence[HistoryCommit]:
        """The commit and all its ancestors in topological order, children before parents."""
        ...


class CommitReader(Protocol):
    def summaries(self, commits: Iterable[str]) -> Mapping[str, CommitSummary]:
        """Who changed what, of commits of this repository; those that are not here are left out."""
        ...

    def submodule_summary(self, commit: str, path: str, recorded: str) -> CommitSummary | None:
        """The recorded commit of a submodule; None where the submodule is not initialised here."""
        ...


class RevisionReader(Protocol):
    def commit(self, revision: str) -> str:
        """The commit that a revision means: a branch, tag, commit id or `HEAD~1`.

        Raises SourceInvalid where there is none, or where a name means two different commits.
        """
        ...

    def merge_bases(self, one: str, other: str) -> tuple[str, ...]:
        """The best common ancestors; none for histories that never met."""
        ...


class WorkTree(Protocol):
    def checked_out(self) -> str | None:
        """The branch that is checked out; None where HEAD is a commit alone."""
        ...


class ReleaseLineReader(Protocol):
    def tags(self) -> Mapping[str, str]:
        """Every tag and its commit, peeled; tags of anything else than commits are left out."""
        ...

    def branch_heads(self, patterns: Sequence[str]) -> Mapping[str, str]:
        """The branches that match, in the order of the patterns, and their commits.

        Which branches count is as in `TagResolver.branches`.
        """
        ...

    def ancestry(self, commits: Sequence[str]) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Commits and all their ancestors, each with its parents, children before parents."""
        ...


class OtherRepositories(Protocol):
    """Repositories elsewhere, asked over git's own transports, never cloned whole."""

    def commits(self, url: str, refs: Sequence[str]) -> Mapping[str, str | None]:
        """The commit of each ref (`refs/tags/…` peeled, `refs/heads/…`, or a bare name), if any.

        A commit id stands for itself and is not asked for. Raises Unreachable, AccessRefused (it
        asks for credentials that we have not), SourceInvalid (a name that is a tag and a branch).
        """
        ...

    def summaries(self, url: str, commits: Sequence[str]) -> Mapping[str, CommitSummary]:
        """Who changed what; commits that the repository has not are left out. Raises as above."""
        ...
