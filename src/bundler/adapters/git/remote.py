"""Other git repositories, asked over git's own transports, never cloned whole.

Their branches and tags come from `ls-remote`. What a commit says is fetched as that one commit,
without its tree where the server can leave it out, into a repository that is thrown away; the
answer is kept, since a commit never changes. git runs outside of any repository, so that none of
this project's settings count, and logs in as the user's own settings say.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bundler.adapters.git.errors import remote_failure, without_userinfo
from bundler.adapters.git.process import NO_TRANSPORT, Git
from bundler.adapters.git.revisions import COMMIT_ID, ambiguous, is_name, summaries
from bundler.adapters.git.transport import new_repository, run_on
from bundler.errors import CouldNotCheck, SourceInvalid
from bundler.model.commits import CommitSummary

_SECONDS = 60.0
_NOT_THERE = re.compile(
    r"not our ref ([0-9a-f]{40,64})|want ([0-9a-f]{40,64}) not valid"
    r"|object '?([0-9a-f]{40,64})'? does not exist|no such remote ref ([0-9a-f]{40,64})"
)
_ONLY_TIPS = re.compile(r"unadvertised object|does not support shallow|dumb http transport")


class RemoteRepositories:
    """Implements `OtherRepositories`."""

    def __init__(self, cache: Path, seconds: float = _SECONDS) -> None:
        """`cache` is a folder for what was learnt of commits; `seconds` bounds each question."""
        self._cache = cache
        self._seconds = seconds

    def commits(self, url: str, refs: Sequence[str]) -> Mapping[str, str | None]:
        """One question for all refs.

        It cannot be known from refs alone that a tag is on a tree or a blob: such an id has no
        summary.
        """
        found: dict[str, str | None] = {ref: ref for ref in refs if COMMIT_ID.fullmatch(ref)}
        asked = [ref for ref in refs if ref not in found]
        for ref in asked:
            if not is_name(ref):
                raise SourceInvalid(
                    f"{ref!r} is no name of a tag, branch or commit",
                    hint="correct the `ref` of the service's repository in bundler.yaml",
                )
        listed = self._listed(url, asked) if asked else {}
        return found | {ref: _meant(ref, listed) for ref in asked}

    def summaries(self, url: str, commits: Sequence[str]) -> Mapping[str, CommitSummary]:
        """Raises CouldNotCheck, too, where a server gives out only its branches and tags."""
        wanted = [commit for commit in dict.fromkeys(commits) if COMMIT_ID.fullmatch(commit)]
        known = _Known(self._cache, url)
        found = {commit: told for commit in wanted if (told := known.get(commit))}
        missing = [commit for commit in wanted if commit not in found]
        if missing:
            for commit, told in self._fetched(url, missing).items():
                known.keep(commit, told)
                found[commit] = told
        return found

    def _listed(self, url: str, refs: Iterable[str]) -> dict[str, str]:
        """Full ref, or that and `^{}` for the commit behind a tag → object id."""
        every = [name for ref in refs for name in _full_names(ref)]
        patterns = [spelling for name in every for spelling in (name, f"{name}^{{}}")]
        with tempfile.TemporaryDirectory(prefix="bundler-") as folder:
            done = run_on(
                url, Path(folder), self._seconds, "ls-remote", "--quiet", "--", url, *patterns
            )
        if done.code:
            raise remote_failure(url, done.words)
        lines = (line.partition(b"\t") for line in done.output.splitlines())
        return {name.decode(errors="replace"): found.decode() for found, _, name in lines}

    def _fetched(self, url: str, commits: Sequence[str]) -> Mapping[str, CommitSummary]:
        """The summaries of the commits that the repository has."""
        with new_repository(_object_format(commits)) as folder:
            wanted = list(commits)
            while wanted:
                fetch = ("fetch", "--quiet", "--depth=1", "--filter=tree:0", "--no-tags")
                more = ("--no-write-fetch-head", "--recurse-submodules=no", "--", url, *wanted)
                done = run_on(url, folder, self._seconds, f"--git-dir={folder}", *fetch, *more)
                if not done.code:
                    break
                absent = {found for groups in _NOT_THERE.findall(done.words) for found in groups}
                if not absent & set(wanted):
                    raise _fetch_failure(url, done.words)
                wanted = [commit for commit in wanted if commit not in absent]
            return _summaries_here(folder, wanted)


# --- addresses and names ------------------------------------------------------------------------


def _full_names(ref: str) -> tuple[str, ...]:
    if ref == "HEAD" or ref.startswith("refs/"):
        return (ref,)
    return (f"refs/tags/{ref}", f"refs/heads/{ref}")


def _meant(ref: str, listed: Mapping[str, str]) -> str | None:
    peeled = [listed.get(f"{name}^{{}}", listed.get(name)) for name in _full_names(ref)]
    meant = {commit for commit in peeled if commit}
    if len(meant) > 1:
        raise ambiguous(ref)
    return meant.pop() if meant else None


# --- fetched commits ----------------------------------------------------------------------------


def _object_format(commits: Sequence[str]) -> str:
    return "sha256" if len(commits[0]) == 64 else "sha1"


def _summaries_here(folder: Path, commits: Iterable[str]) -> Mapping[str, CommitSummary]:
    """Of what was fetched alone: git must not go and ask for what is not there."""
    git = Git(folder, NO_TRANSPORT)
    every = ("cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)")
    here = set(git.output(*every).decode().splitlines())
    return summaries(git, [commit for commit in commits if f"commit {commit}" in here])


def _fetch_failure(url: str, words: str) -> Exception:
    if _ONLY_TIPS.search(words):
        return CouldNotCheck(
            f"{without_userinfo(url)} gives out its branches and tags, but no single commit",
            hint="its server must allow commits to be asked for by id "
            "(uploadpack.allowAnySHA1InWant), or speak version 2 of git's protocol",
        )
    return remote_failure(url, words)


class _Known:
    """What was learnt of one repository's commits: a file for each, as commits never change."""

    def __init__(self, cache: Path, url: str) -> None:
        self._folder = cache / hashlib.sha256(url.encode()).hexdigest()[:32]

    def get(self, commit: str) -> CommitSummary | None:
        try:
            told = json.loads((self._folder / f"{commit}.json").read_bytes())
            return CommitSummary(str(told["subject"]), str(told["author"]), int(told["time"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, commit: str, told: CommitSummary) -> None:
        """Where the folder cannot be written, nothing is kept."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as file:
                json.dump(told._asdict(), file)
            Path(file.name).replace(self._folder / f"{commit}.json")
