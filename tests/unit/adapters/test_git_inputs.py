"""Ignore patterns, beside git's own answers."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from bundler.adapters.git.inputs import ignored_by
from bundler.adapters.git.repository import GitRepository
from bundler.errors import ProjectFileInvalid
from bundler.model.history import Input
from tests.git_history import NewCommit, git, make_history

NAMES = ("a", "b", "x.md", "docs", "te st", "[q]", ".h")
ATOMS = (*NAMES, "*", "**", "*.md", "?", "d*s", "[ab]", "\\[q]", "\\*", ".?", "[!a]")
PATHS = ["/".join(parts) for depth in (1, 2, 3) for parts in itertools.product(NAMES, repeat=depth)]


def generated(chosen: random.Random) -> list[str]:
    return [
        chosen.choice(["", "", "/"])
        + "/".join(chosen.choice(ATOMS) for _ in range(chosen.randint(1, 3)))
        + chosen.choice(["", "", "/"])
        for _ in range(chosen.randint(1, 3))
    ]


def gits_answer(root: Path, patterns: list[str]) -> set[str]:
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_text("\n".join(patterns) + "\n")
    ask = ("check-ignore", "--no-index", "-z", "--stdin")  # which fails where nothing is ignored
    return set(git(root, *ask, stdin="\0".join(PATHS).encode()).split("\0")) - {""}


@pytest.mark.requirement("B-18")
def test_files_are_ignored_where_git_ignores_them(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    chosen = random.Random(5)  # noqa: S311  the same patterns every time
    for _ in range(150):
        patterns = [*generated(chosen), "/te st/b"]
        ignored = ignored_by(patterns)
        assert ignored
        assert {path for path in PATHS if ignored(path)} == gits_answer(tmp_path, patterns), (
            patterns
        )


def test_a_file_that_is_taken_back_counts() -> None:
    ignored = ignored_by(("*.md", "docs/", "!docs/api.md"))
    assert ignored
    assert [path for path in ("a.md", "docs/x", "docs/api.md") if ignored(path)] == [
        "a.md",
        "docs/x",
    ]


@pytest.mark.parametrize("pattern", ["!", "a\\", "[z-a]"])
def test_a_pattern_that_means_nothing_is_named(tmp_path: Path, pattern: str) -> None:
    commit = make_history(tmp_path, [NewCommit({"f": "0"})])[0]
    with pytest.raises(ProjectFileInvalid, match="under `ignore`") as raised:
        GitRepository(tmp_path).history(commit, [Input("f", (pattern,))])
    assert pattern in str(raised.value.hint)
