"""A git repository as source: tags, branches, trees and history.

GitPython finds the repository and its remotes; everything else is asked of `git` by plumbing
commands with fixed argument lists. Content comes from `cat-file`, so no attribute, filter, hook
or work tree has a say.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

# Without a `git` program GitPython must not fail on import: our first command says it better.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
import git

from bundler.adapters import git_history
from bundler.errors import RenderFailed, SourceInvalid, ToolMissing
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.ports import Branches, HistoryCommit, TreeEntry

ROOT = "."
"""The path of the whole tree."""
MODE_LINK = "120000"
MODE_SUBMODULE = "160000"
LFS_HEADER = b"version https://git-lfs.github.com/spec/"
LFS_POINTER_BYTES = 1024
"""A pointer file is smaller (git-lfs, docs/spec.md)."""
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.deltaBaseCacheLimit": "256m",  # long histories take half the time
    "gc.auto": "0",  # a partial clone fetches while we read
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
}
_ENVIRONMENT = {
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE")


class GitRepository:
    """Implements TagResolver, SourceReader and HistoryReader of `bundler.ports`."""

    def __init__(self, path: Path) -> None:
        """Open the repository at or above a path. Raises SourceInvalid, ToolMissing."""
        try:
            with git.Repo(path, search_parent_directories=True, expand_vars=False) as repo:
                self._git_dir = Path(repo.git_dir)
                self.root = Path(repo.working_tree_dir or repo.git_dir)
                """Top of the work tree; the git directory itself where there is none."""
                self._remotes = [remote.name for remote in repo.remotes]
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise SourceInvalid(
                f"{path} is not in a git repository",
                hint="run it in a clone, or name one with --repo PATH",
            ) from error
        self._refuse_foreign_owner()

    def _refuse_foreign_owner(self) -> None:
        """Git looks at the owner only where it finds the repository itself: not by --git-dir."""
        asked = ("git", "-C", str(self.root), "rev-parse", "--git-dir")
        try:
            done = subprocess.run(asked, capture_output=True, check=False, env=_environment())
        except FileNotFoundError as error:
            raise _git_missing() from error
        if done.returncode and b"dubious ownership" in done.stderr:
            raise SourceInvalid(
                f"{self.root} belongs to another user, whose settings could run programs",
                hint=f"if you trust it: git config --global --add safe.directory {self.root}",
            )

    # --- tags and branches ---

    def revision(self, tag: ReleaseTag) -> SourceRevision:
        reference = f"refs/tags/{tag}"
        if not self._verified(reference):
            raise SourceInvalid(f"no tag {tag} in {self.root}", hint=self._tag_hint(tag))
        commit = self._verified(f"{reference}^{{commit}}")
        if not commit:
            raise SourceInvalid(f"tag {tag} does not point at a commit")
        shown = self._git("rev-list", "-1", "--format=%ct", commit).split()
        return SourceRevision(tag, commit, int(shown[-1]))

    def _verified(self, revision: str) -> str | None:
        """The object id of a revision; None where there is no such object."""
        output = self._git(
            "rev-parse", "--quiet", "--verify", "--end-of-options", revision, failure=b""
        )
        return output.decode().strip() or None

    def _tag_hint(self, tag: ReleaseTag) -> str:
        listed = self._git("for-each-ref", "--format=%(refname:strip=2)", "refs/tags")
        near = get_close_matches(tag.name, listed.decode(errors="replace").split(), n=1)
        if near:
            return f"did you mean {near[0]}?"
        return "fetch it with: git fetch --tags"

    def is_shallow(self) -> bool:
        return self._git("rev-parse", "--is-shallow-repository").strip() == b"true"

    def branches(self, commit: str, patterns: Sequence[str]) -> Branches:
        namespace = "refs/remotes" if self._remotes and not self._is_mirror() else "refs/heads"
        known = self._branch_names(namespace, patterns)
        containing = self._branch_names(namespace, patterns, f"--contains={commit}")
        unpushed: tuple[str, ...] = ()
        if namespace == "refs/remotes" and not containing:
            unpushed = self._branch_names("refs/heads", patterns, f"--contains={commit}")
        return Branches(known, containing, unpushed)

    def _is_mirror(self) -> bool:
        key = r"^remote\..*\.mirror$"
        return b"true" in self._git("config", "--bool", "--get-regexp", key, failure=b"")

    def _branch_names(
        self, namespace: str, patterns: Sequence[str], *options: str
    ) -> tuple[str, ...]:
        listed = self._git("for-each-ref", "--format=%(refname)", *options, namespace)
        names = []
        for reference in listed.decode(errors="replace").splitlines():
            name = reference.removeprefix(namespace + "/")
            if namespace == "refs/remotes":
                remote = max(
                    (r for r in self._remotes if name.startswith(r + "/")), key=len, default=""
                )
                name = name.removeprefix(remote + "/")
            if name != "HEAD" and any(fnmatchcase(name, pattern) for pattern in patterns):
                names.append(name)
        return tuple(dict.fromkeys(names))

    # --- trees ---

    def read(self, commit: str, path: str) -> bytes | None:
        entries = self.entries(commit, [path])[path]
        if [entry.path for entry in entries] != [path]:
            return None
        return self._git("cat-file", "blob", entries[0].object_id)

    def entries(self, commit: str, paths: Sequence[str]) -> Mapping[str, tuple[TreeEntry, ...]]:
        asked = () if ROOT in paths else paths
        by_path: dict[str, list[TreeEntry]] = {path: [] for path in paths}
        for entry in self._tree(commit, *asked) if paths else ():
            for ancestor in (entry.path, *map(str, PurePosixPath(entry.path).parents)):
                if ancestor in by_path:
                    by_path[ancestor].append(entry)
        return {path: tuple(found) for path, found in by_path.items()}

    def _tree(self, commit: str, *paths: str) -> list[TreeEntry]:
        output = self._git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths)
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
        with tempfile.TemporaryFile() as wanted, tempfile.TemporaryFile() as words:
            wanted.write("".join(f"{object_id}\n" for object_id in object_ids).encode())
            wanted.seek(0)
            with subprocess.Popen(
                self._command("cat-file", "--batch"),
                stdin=wanted,
                stdout=subprocess.PIPE,
                stderr=words,
                env=_environment(),
            ) as process:
                assert process.stdout is not None  # noqa: S101  told by PIPE
                for object_id in object_ids:
                    header = process.stdout.readline().split()
                    if len(header) != 3:
                        words.seek(0)
                        raise _missing_object(object_id, words.read())
                    yield process.stdout.read(int(header[2]))
                    process.stdout.read(1)

    def _fetch_missing(self, commit: str) -> None:
        """In a partial clone, fetch what a tree lacks at once: git alone asks for each blob."""
        key = r"^remote\..*\.promisor$"
        promisors = self._git("config", "--name-only", "--get-regexp", key, failure=b"").split()
        if not promisors:
            return
        remote = promisors[0].decode().removeprefix("remote.").removesuffix(".promisor")
        objects = ("rev-list", "--objects", "--no-object-names", "--missing=print")
        listed = self._git(*objects, f"{commit}^{{tree}}").split()
        missing = [line.removeprefix(b"?") for line in listed if line.startswith(b"?")]
        if not missing:
            return
        quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no")
        with tempfile.TemporaryFile() as wanted:
            wanted.write(b"\n".join(missing))
            wanted.seek(0)
            self._git("fetch", *quiet, "--filter=blob:none", "--stdin", remote, stdin=wanted)

    def lfs_pointers(self, commit: str, paths: Sequence[str]) -> tuple[str, ...]:
        self._fetch_missing(commit)
        found = {
            e.object_id: e.path for group in self.entries(commit, paths).values() for e in group
        }
        with tempfile.TemporaryFile() as wanted:
            wanted.write("".join(f"{object_id}\n" for object_id in found).encode())
            wanted.seek(0)
            sizes = self._git("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=wanted)
        small = [
            line.split()[0]
            for line in sizes.decode().splitlines()
            if line.split()[1].isdecimal() and int(line.split()[1]) <= LFS_POINTER_BYTES
        ]
        contents = zip(small, self.blobs(small), strict=True)
        return tuple(sorted(found[i] for i, content in contents if content.startswith(LFS_HEADER)))

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

    # --- history ---

    def history(self, commit: str, paths: Sequence[str]) -> Sequence[HistoryCommit]:
        return git_history.read(self._command, _environment(), commit, paths)

    # --- running git ---

    def _command(self, *arguments: str) -> list[str]:
        settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        return ["git", *settings, f"--git-dir={self._git_dir}", *arguments]

    def _git(
        self,
        *arguments: str,
        failure: bytes | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
    ) -> bytes:
        """The output of one command; `failure` is the answer where git exits non-zero.

        Raises SourceInvalid with git's own words where `failure` is not given.
        """
        try:
            completed = subprocess.run(
                self._command(*arguments),
                stdin=stdin,
                capture_output=True,
                check=False,
                env=_environment(),
            )
        except FileNotFoundError as error:
            raise _git_missing() from error
        if completed.returncode == 0:
            return completed.stdout
        if failure is not None:
            return failure
        words = completed.stderr.decode(errors="replace").strip() or "failed without a word"
        raise SourceInvalid(f"git {arguments[0]}: {words}")


def _git_missing() -> ToolMissing:
    return ToolMissing("git is not installed", hint="install git 2.30 or newer")


def _missing_object(object_id: str, words: bytes) -> SourceInvalid:
    told = words.decode(errors="replace").strip()
    return SourceInvalid(
        f"git object {object_id} is missing{': ' if told else ''}{told}",
        hint="git fsck shows what this clone lacks; a fresh clone has it",
    )


def _environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in _HOOK_VARIABLES}
    return inherited | _ENVIRONMENT


def _refuse_escapes(entries: Sequence[TreeEntry]) -> None:
    unsafe = [e for e in entries if {"..", ".", "", ".git"} & set(e.path.split("/"))]
    if unsafe:
        raise RenderFailed(
            f"the tag's tree has paths that no checkout may have, such as {unsafe[0].path!r}"
        )


def _link(root: Path, links: Sequence[tuple[TreeEntry, bytes]]) -> None:
    """Make the links that stay in the tree, also over other links; nothing leads out of it."""
    for entry, content in links:
        (root / entry.path).symlink_to(content.decode("utf-8", "surrogateescape"))
    escaping = [
        link
        for entry, _ in links
        if not Path(os.path.realpath(link := root / entry.path)).is_relative_to(root)
    ]
    for link in escaping:
        link.unlink()
