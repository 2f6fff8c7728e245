"""Where tags and branches stand, and the commits that lead there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bundler.adapters.git.process import Git


def tags(git: Git) -> Mapping[str, str]:
    """Tag → commit, in two processes for all of them, however they are nested."""
    listed = git.output("for-each-ref", "--format=%(refname)", "refs/tags").decode(
        "utf-8", "surrogateescape"
    )
    names = listed.splitlines()
    asked = [f"{name}^{{commit}}" for name in names]
    answers = git.told(asked, "cat-file", "--batch-check=%(objecttype) %(objectname)")
    found = {}
    for name, answer in zip(names, answers.split(b"\n"), strict=False):
        kind, _, commit = answer.partition(b" ")
        if kind == b"commit":
            found[name.removeprefix("refs/tags/")] = commit.decode()
    return found


def ancestry(git: Git, commits: Sequence[str]) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Commits and their ancestors with their parents, children before parents."""
    listed = git.told(commits, "rev-list", "--topo-order", "--parents", "--stdin").decode()
    lines = map(str.split, listed.splitlines())
    return [(commit, tuple(parents)) for commit, *parents in lines]


def checked_out(git: Git) -> str | None:
    """The branch that HEAD names."""
    name = git.output("symbolic-ref", "--quiet", "HEAD", failure=b"").decode(errors="replace")
    return name.strip().removeprefix("refs/heads/") or None
