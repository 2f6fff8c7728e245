"""What a user's name of a commit means, and what commits say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from bundler.adapters.git.process import NO_TRANSPORT, Git
from bundler.errors import BundlerError, SourceInvalid
from bundler.model.commits import CommitSummary

COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# As git-check-ref-format has it, then steps to ancestors. Ranges, paths and reflogs are no commits.
_NAME = r"(?![-/.])[^\x00-\x20\x7f~^:?*\[\\]+"
_REVISION = re.compile(rf"(?P<name>{_NAME})(?P<steps>(?:[~^][0-9]*)*)")
_FIELDS = "%H%x00%at%x00%an%x00%s"


def is_name(text: str) -> bool:
    """Whether git could have a ref of this name; an option or a range is none."""
    return bool(re.fullmatch(_NAME, text)) and ".." not in text and "@{" not in text


def commit_of(git: Git, revision: str) -> str:
    """The commit that a revision means; `RevisionReader.commit` says what is refused."""
    match = _REVISION.fullmatch(revision)
    if not match or not is_name(match["name"]):
        raise SourceInvalid(
            f"{revision!r} is no name of a commit",
            hint="name a commit id, a tag, a branch, or an ancestor such as HEAD~1",
        )
    if set(revision) == {"0"} and COMMIT_ID.fullmatch(revision):
        raise SourceInvalid(
            f"{revision} is no commit",
            hint="all zeros say that a branch is new: name the commit that it started from",
        )
    name = match["name"]
    if not COMMIT_ID.fullmatch(name):
        _refuse_ambiguity(git, name)
    commit = verified(git, f"{revision}^{{commit}}")
    if commit is None:
        is_object = verified(git, f"{name}^{{object}}") is not None
        raise SourceInvalid(
            f"{revision} is no commit" if is_object else f"no commit {revision} in this repository",
            hint=_hint(git, name, is_object=is_object),
        )
    return commit


def verified(git: Git, revision: str) -> str | None:
    """The object id of a revision; None where there is no such object."""
    asked = ("rev-parse", "--quiet", "--verify", "--end-of-options", revision)
    return git.output(*asked, failure=b"").decode().strip() or None


def _refuse_ambiguity(git: Git, name: str) -> None:
    meant = {
        ref: verified(git, f"{ref}^{{commit}}")
        for ref in (f"refs/tags/{name}", f"refs/heads/{name}")
    }
    if len(set(meant.values()) - {None}) > 1:
        raise ambiguous(name)


def ambiguous(name: str) -> SourceInvalid:
    return SourceInvalid(
        f"{name} is a tag and a branch, which mean different commits",
        hint=f"write refs/tags/{name} or refs/heads/{name}",
    )


def _hint(git: Git, name: str, *, is_object: bool) -> str:
    if is_object:
        return "name a commit, or a descendant with that many ancestors"
    listed = git.output("for-each-ref", "--format=%(refname:strip=2)")
    names = listed.decode(errors="replace").split()
    remote = next((known for known in names if known.endswith(f"/{name}")), None)
    near = [remote] if remote else get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else "fetch it with: git fetch --tags"


def merge_bases(git: Git, one: str, other: str) -> tuple[str, ...]:
    """The best common ancestors of two revisions."""
    commits = (commit_of(git, one), commit_of(git, other))
    return tuple(git.output("merge-base", "--all", *commits, failure=b"").decode().split())


# --- what commits say ---------------------------------------------------------------------------


def summaries(git: Git, commits: Iterable[str]) -> Mapping[str, CommitSummary]:
    """Of all commits that are here, in one process."""
    wanted = [commit for commit in dict.fromkeys(commits) if COMMIT_ID.fullmatch(commit)]
    listing = (
        "rev-list",
        "--no-walk=unsorted",
        "--ignore-missing",
        f"--format={_FIELDS}",
        "--stdin",
    )
    return dict(_summaries(git.told(wanted, *listing))) if wanted else {}


def _summaries(listed: bytes) -> Iterator[tuple[str, CommitSummary]]:
    for line in listed.decode(errors="replace").split("\n"):
        if "\0" in line:
            commit, time, author, subject = line.split("\0", 3)
            yield commit, CommitSummary(subject, author, int(time or 0))


def submodule_summary(
    git: Git, root: Path, commit: str, path: str, recorded: str
) -> CommitSummary | None:
    """The recorded commit of a submodule, where that is initialised in this clone."""
    for git_dir in _submodule_dirs(git, root, commit, path):
        if (git_dir / "HEAD").is_file():
            try:
                found = summaries(Git(git_dir, NO_TRANSPORT), [recorded])
            except BundlerError:  # the evidence is missing there, nothing else
                continue
            if recorded in found:
                return found[recorded]
    return None


def _submodule_dirs(git: Git, root: Path, commit: str, path: str) -> Iterator[Path]:
    """Where a submodule's objects may be: below our git directory by name, or in its work tree."""
    homes = (git.git_dir, _common_dir(git))
    for name in _submodule_names(git, commit, path):
        parts = PurePosixPath(name).parts
        if parts and not {"..", "/"} & set(parts):  # a name could lead out of the repository
            yield from (home.joinpath("modules", *parts) for home in dict.fromkeys(homes))
    inside = root / path / ".git"
    if inside.is_dir():
        yield inside
    elif inside.is_file():
        target = inside.read_text(errors="replace").removeprefix("gitdir:").strip()
        yield inside.parent / target


def _common_dir(git: Git) -> Path:
    """The main git directory, also of a linked work tree."""
    told = git.output("rev-parse", "--git-common-dir").decode("utf-8", "surrogateescape").strip()
    return Path(told)


def _submodule_names(git: Git, commit: str, path: str) -> Iterator[str]:
    """The names that .gitmodules at a commit gives to a path; the name, not the path, is fixed."""
    pattern = r"^submodule\..*\.path$"
    asked = ("config", "--blob", f"{commit}:.gitmodules", "-z", "--get-regexp", pattern)
    for entry in git.output(*asked, failure=b"").decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = entry.partition("\n")
        if PurePosixPath(value) == PurePosixPath(path) and value:
            yield key.removeprefix("submodule.").removesuffix(".path")
