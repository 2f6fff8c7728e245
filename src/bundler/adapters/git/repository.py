"""A git repository as source: tags, branches, trees and history.

Asked of `git` by plumbing commands with fixed argument lists. Content comes from `cat-file`, so no
attribute, filter, hook or work tree has a say. A library for git takes longer to import than ten of
these commands to run.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from bundler.adapters.git import history as git_history
from bundler.adapters.git import lines as git_lines
from bundler.adapters.git import revisions as git_revisions
from bundler.adapters.git.errors import git_missing
from bundler.adapters.git.inputs import ROOT, ignored_by
from bundler.adapters.git.process import Git, environment
from bundler.errors import RenderFailed, SourceInvalid
from bundler.model.commits import CommitSummary
from bundler.model.history import HistoryCommit, Input
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.ports import Branches, TreeEntry

MODE_LINK = "120000"
MODE_SUBMODULE = "160000"
LFS_HEADER = b"version https://git-lfs.github.com/spec/"
LFS_POINTER_BYTES = 1024
"""A pointer file is smaller (git-lfs, docs/spec.md)."""


class _Found(NamedTuple):
    git_dir: Path
    root: Path


def _found(path: Path) -> _Found:
    """Where git finds the repository of a path; it looks at the owner only when it looks itself."""
    questions = ("--absolute-git-dir", "--is-bare-repository", "--is-inside-work-tree")
    asked = ("git", "-C", str(path), "rev-parse", *questions, "--show-cdup")
    try:
        done = subprocess.run(asked, capture_output=True, check=False, env=environment())
    except FileNotFoundError as error:
        raise git_missing() from error
    words = done.stderr.decode(errors="replace")
    if "dubious ownership" in words:
        raise SourceInvalid(
            f"{path.resolve()} belongs to another user, whose settings could run programs",
            hint="if you trust it: git config --global --add safe.directory "
            f"{words.partition('safe.directory ')[2].strip() or path.resolve()}",
        )
    if done.returncode:
        raise SourceInvalid(
            f"{path} is not in a git repository",
            hint="run it in a clone, or name one with --repo PATH",
        )
    git_dir, is_bare, is_inside, *up = map(os.fsdecode, done.stdout.splitlines())
    if is_inside == "true":
        return _Found(Path(git_dir), (path / "".join(up)).resolve())
    is_hidden = is_bare == "false" and Path(git_dir).name == ".git"
    return _Found(Path(git_dir), Path(git_dir).parent if is_hidden else Path(git_dir))


class GitRepository:
    """Implements what `bundler.ports` asks of this repository: tags, trees, commits and history."""

    def __init__(self, path: Path) -> None:
        """Open the repository at or above a path. Raises SourceInvalid, ToolMissing."""
        found = _found(path)
        self._git = Git(found.git_dir)
        self.root = found.root
        """Top of the work tree; the git directory itself where there is none."""

    # --- tags and branches ---

    def revision(self, tag: ReleaseTag) -> SourceRevision:
        reference = f"refs/tags/{tag}"
        if not git_revisions.verified(self._git, reference):
            raise SourceInvalid(f"no tag {tag} in {self.root}", hint=self._tag_hint(tag))
        commit = git_revisions.verified(self._git, f"{reference}^{{commit}}")
        if not commit:
            raise SourceInvalid(f"tag {tag} does not point at a commit")
        shown = self._git.output("rev-list", "-1", "--format=%ct", commit).split()
        return SourceRevision(tag, commit, int(shown[-1]))

    def _tag_hint(self, tag: ReleaseTag) -> str:
        listed = self._git.output("for-each-ref", "--format=%(refname:strip=2)", "refs/tags")
        if git_revisions.verified(self._git, f"refs/heads/{tag}"):
            return f"{tag} is a branch; a release is a tag, such as: git tag v1.0.0 {tag}"
        near = get_close_matches(tag.name, listed.decode(errors="replace").split(), n=1)
        if near:
            return f"did you mean {near[0]}?"
        return "fetch it with: git fetch --tags"

    def is_shallow(self) -> bool:
        return self._git.output("rev-parse", "--is-shallow-repository").strip() == b"true"

    def branches(self, commit: str, patterns: Sequence[str]) -> Branches:
        namespace = self._deciding_refs()
        known = self._branch_names(namespace, patterns)
        containing = self._branch_names(namespace, patterns, f"--contains={commit}")
        unpushed: tuple[str, ...] = ()
        if namespace == "refs/remotes" and not containing:
            unpushed = self._branch_names("refs/heads", patterns, f"--contains={commit}")
        return Branches(known, containing, unpushed)

    def _deciding_refs(self) -> str:
        """Where the remote's branches are; without a remote, our own are all that there is."""
        if not self._remotes() or self._is_mirror() or self._is_bare_clone():
            return "refs/heads"
        return "refs/remotes"

    def _remotes(self) -> list[str]:
        return self._git.output("remote").decode(errors="replace").splitlines()

    def _is_bare_clone(self) -> bool:
        """`git clone --bare` copies the remote's branches to its own and tracks none of them."""
        is_bare = self._git.output("config", "--bool", "core.bare", failure=b"").strip() == b"true"
        return is_bare and not self._git.output("for-each-ref", "--count=1", "refs/remotes")

    def _is_mirror(self) -> bool:
        key = r"^remote\..*\.mirror$"
        return b"true" in self._git.output("config", "--bool", "--get-regexp", key, failure=b"")

    def _branch_names(
        self, namespace: str, patterns: Sequence[str], *options: str
    ) -> tuple[str, ...]:
        return tuple(self._branch_refs(namespace, patterns, *options))

    def _branch_refs(
        self, namespace: str, patterns: Sequence[str], *options: str
    ) -> dict[str, str]:
        """Branch → commit, of those that match a pattern."""
        shown = "--format=%(objectname) %(refname)"
        listed = self._git.output("for-each-ref", shown, *options, namespace)
        remotes = self._remotes() if namespace == "refs/remotes" else []
        found: dict[str, str] = {}
        for line in listed.decode(errors="replace").splitlines():
            commit, _, reference = line.partition(" ")
            name = reference.removeprefix(namespace + "/")
            if namespace == "refs/remotes":
                remote = max((r for r in remotes if name.startswith(r + "/")), key=len, default="")
                name = name.removeprefix(remote + "/")
            if name != "HEAD" and any(fnmatchcase(name, pattern) for pattern in patterns):
                found.setdefault(name, commit)
        return found

    def branch_heads(self, patterns: Sequence[str]) -> Mapping[str, str]:
        found = self._branch_refs(self._deciding_refs(), patterns)
        ordered = [name for pattern in patterns for name in found if fnmatchcase(name, pattern)]
        return {name: found[name] for name in ordered}

    def tags(self) -> Mapping[str, str]:
        return git_lines.tags(self._git)

    def checked_out(self) -> str | None:
        return git_lines.checked_out(self._git)

    # --- trees ---

    def read(self, commit: str, path: str) -> bytes | None:
        entries = self.entries(commit, [path])[path]
        if [entry.path for entry in entries] != [path]:
            return None
        return self._git.output("cat-file", "blob", entries[0].object_id)

    def entries(self, commit: str, paths: Sequence[str]) -> Mapping[str, tuple[TreeEntry, ...]]:
        asked = () if ROOT in paths else paths
        by_path: dict[str, list[TreeEntry]] = {path: [] for path in paths}
        for entry in self._tree(commit, *asked) if paths else ():
            for ancestor in (entry.path, *map(str, PurePosixPath(entry.path).parents)):
                if ancestor in by_path:
                    by_path[ancestor].append(entry)
        return {path: tuple(found) for path, found in by_path.items()}

    def contents(self, commit: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        found = {
            entry.path: entry.object_id
            for entries in self.entries(commit, paths).values()
            for entry in entries
            if entry.mode not in (MODE_LINK, MODE_SUBMODULE)
        }
        return dict(zip(found, self.blobs(list(found.values())), strict=True))

    def containing(self, commit: str, texts: Collection[str]) -> Mapping[str, bytes]:
        if not texts:
            return {}
        as_lines = ("--fixed-strings", "--text", "--files-with-matches", "--null", "--full-name")
        found = self._git.told(sorted(texts), "grep", *as_lines, "-f", "-", commit, failure=b"")
        prefix = f"{commit}:"
        names = found.decode("utf-8", "surrogateescape").split("\0")[:-1]
        return self.contents(commit, [name.removeprefix(prefix) for name in names])

    def _tree(self, commit: str, *paths: str) -> list[TreeEntry]:
        output = self._git.output("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths)
        entries = []
        for line in output.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            described, _, path = line.partition("\t")
            mode, _, object_id = described.split(" ")
            entries.append(TreeEntry(path, mode, object_id))
        return entries

    def blobs(self, object_ids: Sequence[str]) -> Iterator[bytes]:
        """The contents of blobs, in the order asked for."""
        if not object_ids:
            return
        with self._git.reading("cat-file", "--batch", lines=object_ids) as output:
            for object_id in object_ids:
                header = output.readline().split()
                if len(header) != 3:
                    if header:  # where git says nothing it has failed, and tells why at the end
                        raise _missing_object(object_id)
                    break
                yield output.read(int(header[2]))
                output.read(1)

    def _fetch_missing(self, commit: str) -> None:
        """In a partial clone, fetch what a tree lacks at once: git alone asks for each blob."""
        key = r"^remote\..*\.promisor$"
        promisors = self._git.output(
            "config", "--name-only", "--get-regexp", key, failure=b""
        ).split()
        if not promisors:
            return
        remote = promisors[0].decode().removeprefix("remote.").removesuffix(".promisor")
        tree = f"{commit}^{{tree}}"
        self._git.output("cat-file", "-e", tree)  # rev-list does not fetch where it starts
        objects = ("rev-list", "--objects", "--no-object-names", "--missing=print")
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")
        for _ in ("folders", "files"):
            listed = self._git.output(*objects, tree).decode().split()
            missing = [line.removeprefix("?") for line in listed if line.startswith("?")]
            if not missing:
                return
            self._git.told(missing, "fetch", *quiet, "--filter=blob:none", "--stdin", remote)

    def lfs_pointers(self, commit: str, inputs: Sequence[Input]) -> tuple[str, ...]:
        self._fetch_missing(commit)
        entries = self.entries(commit, sorted({each.path for each in inputs}))
        found = {
            entry.object_id: entry.path
            for each in inputs
            for ignored in [ignored_by(each.ignore)]
            for entry in entries[each.path]
            if ignored is None or not ignored(entry.path)
        }
        sizes = self._git.told(found, "cat-file", "--batch-check=%(objectname) %(objectsize)")
        small = [
            line.split()[0]
            for line in sizes.decode().splitlines()
            if line.split()[1].isdecimal() and int(line.split()[1]) <= LFS_POINTER_BYTES
        ]
        contents = zip(small, self.blobs(small), strict=True)
        return tuple(sorted(found[i] for i, content in contents if content.startswith(LFS_HEADER)))

    def tree_id(self, commit: str) -> str:
        return self._git.output("rev-parse", f"{commit}^{{tree}}").decode().strip()

    @contextmanager
    def exported(self, commit: str) -> Iterator[PurePath]:
        self._fetch_missing(commit)
        entries = [entry for entry in self._tree(commit) if entry.mode != MODE_SUBMODULE]
        _refuse_escapes(entries)
        with tempfile.TemporaryDirectory(prefix="bundler-") as folder:
            root = Path(folder).resolve()
            for parent in sorted({str(PurePosixPath(entry.path).parent) for entry in entries}):
                (root / parent).mkdir(parents=True, exist_ok=True)
            contents = self.blobs([entry.object_id for entry in entries])
            links = []
            for entry, content in zip(entries, contents, strict=True):
                if entry.mode == MODE_LINK:
                    links.append((entry, content))
                else:
                    (root / entry.path).write_bytes(content)
            _link(root, links)
            yield root

    # --- commits ---

    def commit(self, revision: str) -> str:
        return git_revisions.commit_of(self._git, revision)

    def merge_bases(self, one: str, other: str) -> tuple[str, ...]:
        return git_revisions.merge_bases(self._git, one, other)

    def summaries(self, commits: Iterable[str]) -> Mapping[str, CommitSummary]:
        return git_revisions.summaries(self._git, commits)

    def submodule_summary(self, commit: str, path: str, recorded: str) -> CommitSummary | None:
        return git_revisions.submodule_summary(self._git, self.root, commit, path, recorded)

    def ancestry(self, commits: Sequence[str]) -> Sequence[tuple[str, tuple[str, ...]]]:
        return git_lines.ancestry(self._git, commits)

    def history(self, commit: str, inputs: Sequence[Input]) -> Sequence[HistoryCommit]:
        return git_history.read(self._git, commit, inputs)


def _missing_object(object_id: str) -> SourceInvalid:
    return SourceInvalid(
        f"git object {object_id} is missing",
        hint="git fsck shows what this clone lacks; a fresh clone has it",
    )


def _refuse_escapes(entries: Sequence[TreeEntry]) -> None:
    unsafe = [e for e in entries if {"..", ".", "", ".git"} & set(e.path.split("/"))]
    if unsafe:
        raise RenderFailed(
            f"the tag's tree has paths that no checkout may have, such as {unsafe[0].path!r}"
        )


_NOWHERE = ".git/leads-out-of-the-tree"
"""A place that no exported tree has."""


def _link(root: Path, links: Sequence[tuple[TreeEntry, bytes]]) -> None:
    """Make the links; those that would lead out of the tree, also over others, lead nowhere.

    They are not left out: who reads a whole folder could not tell that something is missing.
    """
    for entry, content in links:
        (root / entry.path).symlink_to(content.decode("utf-8", "surrogateescape"))
    escaping = [
        link
        for entry, _ in links
        if not Path(os.path.realpath(link := root / entry.path)).is_relative_to(root)
    ]
    for link in escaping:
        link.unlink()
        link.symlink_to(_NOWHERE)
