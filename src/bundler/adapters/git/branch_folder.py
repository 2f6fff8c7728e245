"""A folder of a branch of another repository: read into files here, written back as one commit.

Nothing is ever checked out. The branch's newest commit is fetched without its history; what is
wanted of the folder is written to a private place by us, so that no link, filter, attribute or hook
of that repository has a say. A commit is made of what differs there by then, on top of whatever
else the branch has, and pushed: whoever is faster wins, and no push is forced.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from bundler.adapters.git.errors import remote_failure, without_userinfo
from bundler.adapters.git.process import NO_TRANSPORT, Git
from bundler.adapters.git.revisions import is_name, summaries, verified
from bundler.adapters.git.transport import new_repository, run_on
from bundler.errors import BundlerError, Locked, NoConnection, Refused, SourceInvalid

ATTEMPTS = 20
"""To push, while others push to other folders of the branch."""
_SECONDS = 60.0
_TIP = "refs/bundler/tip"
_FILE = "100644"
_LINK, _EXECUTABLE = "120000", "100755"
_NO_BRANCH = "couldn't find remote ref"
_LOST_RACE = re.compile(
    r"\[rejected\]|cannot lock ref|failed to update ref|incorrect old value provided"
)
_REJECTED = re.compile(r"\[remote rejected\] \((?P<why>.*)\)")
_CORRECT = "correct the target's `git` in targets.yaml"
_OWN_NAME = {"user.name": "bundler", "user.email": "bundler@localhost"}
"""The author where git's own settings name nobody."""


class _Entry(NamedTuple):
    """A file of a tree."""

    mode: str
    id: str


class BranchFolder:
    """Used inside `with`: its private place is gone afterwards.

    `wanted` matches, relative to the folder, the files that are read and may be written.
    """

    def __init__(
        self, url: str, branch: str, path: str, wanted: re.Pattern[str], seconds: float = _SECONDS
    ) -> None:
        self._url = url
        self._branch = branch
        self._path = _checked(path)
        self._wanted = wanted
        self._seconds = seconds
        self._opened = ExitStack()
        self._git: Git | None = None
        self._tip: str | None = None
        self._entries: Mapping[str, _Entry] = {}
        if not is_name(branch):
            raise NoConnection(f"{branch!r} is no name of a branch", hint=_CORRECT)

    def __str__(self) -> str:
        """`URL branch:path`, without the URL's user."""
        return f"{without_userinfo(self._url)} {self._branch}:{self._path or '.'}"

    def __enter__(self) -> Self:
        self.files = Path(
            self._opened.enter_context(tempfile.TemporaryDirectory(prefix="bundler-"))
        ).resolve()
        """The folder's files, private to us; empty before they are read."""
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> None:
        """Fetch the branch and write its files; the first time only.

        Raises NoConnection (no such repository or branch), AccessRefused, Unreachable, Refused.
        """
        if self._git is not None:
            return
        listed = self._listed(f"refs/heads/{self._branch}", "HEAD")
        id_length = len(next(iter(listed.values()), ""))
        folder = new_repository("sha256" if id_length == 64 else "sha1")
        git = Git(self._opened.enter_context(folder), NO_TRANSPORT)
        if f"refs/heads/{self._branch}" in listed:
            self._tip = self._fetched(git)
            self._entries = self._entries_of(git, self._tip)
            self._write_files(git)
        elif listed or self._listed("refs/*"):
            raise NoConnection(
                f"{without_userinfo(self._url)} has no branch {self._branch}",
                hint=f"create it, or {_CORRECT}",
            )
        self._git = git  # an empty repository has no branch yet: the first push makes it

    def _listed(self, *patterns: str) -> Mapping[str, str]:
        """Ref → object id."""
        asked = ("ls-remote", "--quiet", "--", self._url, *patterns)
        done = run_on(self._url, self.files, self._seconds, *asked)
        if done.code:
            raise self._failure(done.words)
        lines = (line.split("\t", 1) for line in done.output.decode(errors="replace").splitlines())
        return {name: found for found, name in lines}

    def _fetched(self, git: Git) -> str:
        options = ("--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head")
        refspec = f"+refs/heads/{self._branch}:{_TIP}"
        done = run_on(
            self._url, git.git_dir, self._seconds, f"--git-dir={git.git_dir}", "fetch", *options,
            "--recurse-submodules=no", "--", self._url, refspec,
        )  # fmt: skip
        tip = None if done.code else verified(git, _TIP)
        if tip is None:
            raise self._failure(done.words)
        return tip

    def _failure(self, words: str) -> BundlerError:
        error = remote_failure(self._url, words)
        if isinstance(error, SourceInvalid):
            return NoConnection(error.message, hint=_CORRECT)
        return error

    def _entries_of(self, git: Git, commit: str) -> Mapping[str, _Entry]:
        """All files of the folder, by their paths in it. Raises NoConnection where it is none."""
        parts = self._path.split("/") if self._path else []
        places = ["/".join(parts[:number]) for number in range(len(parts) + 1)]
        asked = [f"{commit}:{place}" for place in places]
        answers = git.told(asked, "cat-file", "--batch-check=%(objecttype)").decode().splitlines()
        for place, answer in zip(places, answers, strict=True):
            if answer.endswith(" missing"):
                return {}
            if answer != "tree":
                raise NoConnection(f"{self}: {place} is no folder", hint=_CORRECT)
        listing = git.output("ls-tree", "-r", "-z", "--full-tree", f"{commit}:{self._path}")
        entries = {}
        for line in listing.split(b"\0")[:-1]:
            (mode, _, id_), path = line[: line.index(b"\t")].split(), line[line.index(b"\t") + 1 :]
            entries[path.decode(errors="surrogateescape")] = _Entry(mode.decode(), id_.decode())
        return entries

    def _write_files(self, git: Git) -> None:
        """What is wanted; and, empty, what stands where a folder of ours would have to be."""
        contents = _contents(git, self._own().values())
        for path, entry in self._own().items():
            target = self.files / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(contents[entry.id])
        for path in self._entries:
            parts = PurePosixPath(path).parts
            if len(parts) <= 2 and ".." not in parts and not self._wanted.fullmatch(path):
                (self.files / path).parent.mkdir(exist_ok=True)
                (self.files / path).touch()

    def _own(self) -> Mapping[str, _Entry]:
        """A link counts as the text that it is: nobody follows it."""
        kinds = (_FILE, _EXECUTABLE, _LINK)
        return {
            path: entry
            for path, entry in self._entries.items()
            if entry.mode in kinds and self._wanted.fullmatch(path)
        }

    # --- writing --------------------------------------------------------------------------------

    def write(self, message: str) -> str | None:
        """Push one commit of what differs; its id, or None where nothing differs.

        Raises Locked where somebody else changed the folder meanwhile, Refused where the server
        does not take it; then nothing was pushed.
        """
        git = self._git
        changes = self._changes(git) if git else {}
        if git is None or not changes:
            return None
        for _ in range(ATTEMPTS):
            commit = self._committed(git, changes, message)
            if self._is_pushed(git, commit):
                left = {path: entry for path, entry in self._entries.items() if path not in changes}
                new = {path: entry for path, entry in changes.items() if entry}
                self._tip, self._entries = commit, left | new
                return commit
            self._follow(git)
        raise Locked(
            f"{self}: others were faster {ATTEMPTS} times", hint="nothing was pushed; apply again"
        )

    def _changes(self, git: Git) -> Mapping[str, _Entry | None]:
        """Path in the folder → what stands there now, None where it is gone."""
        found = sorted(
            path.relative_to(self.files).as_posix()
            for path in self.files.rglob("*")
            if path.is_file()
        )
        present = [path for path in found if self._wanted.fullmatch(path)]
        hashing = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        ids = git.told([str(self.files / path) for path in present], *hashing).decode().split()
        before = self._own()
        now = {path: _Entry(_FILE, id_) for path, id_ in zip(present, ids, strict=True)}
        changed: dict[str, _Entry | None] = {
            path: entry
            for path, entry in now.items()
            if path not in before or before[path].id != entry.id
        }
        return changed | dict.fromkeys(before.keys() - now.keys())

    def _committed(self, git: Git, changes: Mapping[str, _Entry | None], message: str) -> str:
        """A commit of the changes on top of the tip; the rest of its tree stays as it is."""
        git.output("read-tree", *([self._tip] if self._tip else ["--empty"]))
        prefix = f"{self._path}/" if self._path else ""
        none = _Entry("0", "0" * len(self._tip or ""))
        lines = [
            "{} {}\t{}".format(*(entry or none), f"{prefix}{path}")
            for path, entry in sorted(changes.items())
        ]
        git.told(lines, "update-index", "--index-info")
        tree = git.output("write-tree").decode().strip()
        parents = ["-p", self._tip] if self._tip else []
        before, after = _author_and_signing(git)
        command = (*before, "commit-tree", *after, tree, *parents)
        return git.told(message.splitlines(), *command).decode().strip()

    def _is_pushed(self, git: Git, commit: str) -> bool:
        """False where somebody else was faster. Raises Refused where the server says no."""
        options = ("--porcelain", "--no-follow-tags", "--recurse-submodules=no", "--no-signed")
        done = run_on(
            self._url, git.git_dir, self._seconds, f"--git-dir={git.git_dir}", "push", *options,
            "--", self._url, f"{commit}:refs/heads/{self._branch}",
        )  # fmt: skip
        if not done.code:
            return True
        told = done.output.decode(errors="replace") + done.words
        if _LOST_RACE.search(told):
            return False
        if refused := _REJECTED.search(told):
            raise Refused(
                f"{self}: the server does not take the commit: {refused['why']}",
                hint="nothing was pushed; look at the branch's protection and the server's hooks",
            )
        raise self._failure(done.words)

    def _follow(self, git: Git) -> None:
        """Go on from the branch's new tip. Raises Locked where our folder is another there."""
        tip = self._fetched(git)
        if self._entries_of(git, tip) != self._entries:
            told = summaries(git, [tip]).get(tip)
            by = f" by {told.author} ({told.subject})" if told else ""
            raise Locked(
                f"{self} was changed meanwhile{by}: {tip[:12]}",
                hint="nothing was pushed; apply again",
            )
        self._tip = tip


def _checked(path: str) -> str:
    """A path in a repository, `` for its root. Raises NoConnection."""
    parts: Sequence[str] = PurePosixPath(path).parts
    is_inside = not path.startswith("/") and ".." not in parts
    if not is_inside or not path.isprintable() or set(path) & set('"\\:') or ".git" in parts:
        raise NoConnection(f"{path!r} is no folder of a repository", hint=_CORRECT)
    return "/".join(parts)


def _author_and_signing(git: Git) -> tuple[list[str], list[str]]:
    """Options of git and of its command: git's environment and settings say who it is and whether
    commits are signed; we say who where they do not."""
    listed = git.output("config", "-z", "--get-regexp", r"^(user\.|commit\.gpgsign)", failure=b"")
    lines = listed.decode(errors="replace").split("\0")
    found = {key: value for key, _, value in (line.partition("\n") for line in lines)}
    names = [f"{key}={value}" for key, value in _OWN_NAME.items() if not found.get(key)]
    options = [part for each in ("i18n.commitEncoding=UTF-8", *names) for part in ("-c", each)]
    is_signed = found.get("commit.gpgsign", "").lower() in ("true", "yes", "on", "1")
    return options, ["-S"] if is_signed else []


def _contents(git: Git, entries: Iterable[_Entry]) -> Mapping[str, bytes]:
    """Object id → content, all of them from one process."""
    ids = list(dict.fromkeys(entry.id for entry in entries))
    if not ids:
        return {}
    contents = {}
    with git.reading("cat-file", "--batch", lines=ids) as output:
        for id_ in ids:
            size = int(output.readline().split()[2])
            contents[id_] = output.read(size)
            output.read(1)
    return contents
