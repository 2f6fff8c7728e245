"""Small git histories for tests, made by `git fast-import`: exact, fast and without settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}
START = 1_700_000_000


@dataclass(frozen=True)
class NewCommit:
    """A commit to make: parents by number in the list, and its whole tree."""

    tree: Mapping[str, str]
    parents: Sequence[int] = ()
    modes: Mapping[str, str] = field(default_factory=dict)


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    completed = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert completed.returncode == 0, completed.stderr.decode()
    return completed.stdout.decode().strip()


def make_history(folder: Path, commits: Sequence[NewCommit]) -> list[str]:
    """A repository with these commits, the last one on main; their ids in the same order."""
    made = make_histories(folder, [commits])[0]
    git(folder, "update-ref", "refs/heads/main", made[-1])
    return made


def make_histories(folder: Path, histories: Sequence[Sequence[NewCommit]]) -> list[list[str]]:
    """One repository with many histories that have nothing in common; the ids of each."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    starts = [0, *accumulate(len(commits) for commits in histories)]
    stream = "".join(
        _command(number, start, commit)
        for start, commits in zip(starts, histories, strict=False)
        for number, commit in enumerate(commits)
    )
    marks = folder / ".git" / "marks"
    git(folder, "fast-import", "--quiet", f"--export-marks={marks}", stdin=stream.encode())
    ids = dict(line.split() for line in marks.read_text().splitlines())
    return [
        [ids[f":{start + number + 1}"] for number in range(len(commits))]
        for start, commits in zip(starts, histories, strict=False)
    ]


def _command(number: int, start: int, commit: NewCommit) -> str:
    message = f"commit {number}"
    # A branch of its own for each: fast-import refuses to move one backwards.
    lines = [
        f"commit refs/made/{start + number}",
        f"mark :{start + number + 1}",
        f"committer Ada <ada@example.com> {START + number} +0000",
        f"data {len(message)}\n{message}",
    ]
    if commit.parents:
        lines.append(f"from :{start + commit.parents[0] + 1}")
        lines += [f"merge :{start + parent + 1}" for parent in commit.parents[1:]]
    lines.append("deleteall")
    for path, text in commit.tree.items():
        mode = commit.modes.get(path, "100644")
        lines.append(f"M {mode} inline {path}\ndata {len(text.encode())}\n{text}")
    return "\n".join(lines) + "\n\n"
