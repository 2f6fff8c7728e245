"""Generated histories with a service's inputs, and an oracle that compares every tree."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bundler.model.history import Input
from tests.git_history import NewCommit

# --- generated histories ------------------------------------------------------------------------

FILES = (
    "a/f", "a/sub/g", "a/README.md", "a/docs/x", "b/f", "b/docs", "lib/x/f", "lib/y/f",
    "go.mod", "a2/f", "old/a/f", "old/a/sub/g", "old/a/README.md",
)  # fmt: skip
MOVES = (("a", "old/a"), ("old/a", "a"), ("a/sub", "a/docs"), ("b", "a"), ("lib/x", "b"))
ODD = ("a", "a/sub", "b", "old/a", "lib", "go.mod/f")
"""Files where others have folders, and the other way round."""
MODES = ("100644", "100644", "100755", "120000")
PATTERNS: Mapping[str, Callable[[str], bool]] = {
    "*.md": lambda path: path.endswith(".md"),
    "docs/": lambda path: "docs" in path.split("/")[:-1],
    "docs": lambda path: "docs" in path.split("/"),
    "/a/sub": lambda path: f"{path}/".startswith("a/sub/"),
    "a/**/g": lambda path: path.startswith("a/") and path.endswith("/g"),
}
"""Patterns and, in words of python, what they match."""
INPUTS = tuple(
    Input(path, ignore, former)
    for path in ("a", "b", "lib/x", "lib", "go.mod", "a/sub/g", ".")
    for ignore in ((), ("*.md",), ("docs/", "/a/sub"), ("docs", "a/**/g"))
    for former in ((), ("old/a",), ("old/a", "b"))
)

Tree = dict[str, tuple[str, str]]
"""Path → mode, content."""


class Case(NamedTuple):
    """A history, and the inputs of a service and of the libraries that it uses."""

    trees: list[Tree]
    parents: list[list[int]]
    inputs: tuple[Input, ...]
    services: list[tuple[Input, ...]]

    def commits(self) -> list[NewCommit]:
        return [
            NewCommit(
                {path: text for path, (_, text) in tree.items()},
                parents,
                {path: mode for path, (mode, _) in tree.items()},
            )
            for tree, parents in zip(self.trees, self.parents, strict=True)
        ]


def generated(chosen: random.Random) -> Case:
    """Few files and few contents, so that reverts and equal trees are common."""
    trees: list[Tree] = [{path: ("100644", "0") for path in FILES if not path.startswith("old/")}]
    parents: list[list[int]] = [[]]
    for number in range(1, chosen.randint(3, 14)):
        count = chosen.choice((1, 1, 1, 2, 2, 3))
        above = chosen.sample(range(number), min(count, number))
        if chosen.randrange(3):  # mostly from the newest, so that the history is deep
            above = [number - 1, *(each for each in above if each != number - 1)][:count]
        tree = dict(trees[above[0]])
        for side in above[1:]:
            for path in chosen.sample(FILES, chosen.randrange(len(FILES))):
                _take(tree, path, trees[side])
        for _ in range(chosen.choice((0, 1, 1, 2))):
            tree = _changed(chosen, tree, trees)
        trees.append(tree or {"a/f": ("100644", "0")})
        parents.append(above)
    inputs = tuple(chosen.sample(INPUTS, chosen.randint(1, 6)))
    services = [tuple(chosen.sample(inputs, chosen.randint(1, len(inputs)))) for _ in range(3)]
    return Case(trees, parents, inputs, services)


def _changed(chosen: random.Random, tree: Tree, former: Sequence[Tree]) -> Tree:
    kind = chosen.randrange(10)
    if kind == 0:
        return dict(chosen.choice(former))  # a revert of all since
    if kind == 1:
        source, target = chosen.choice(MOVES)
        return _moved(tree, source, target)
    made = dict(tree)
    path = chosen.choice(FILES if kind > 2 else ODD)
    if kind == 3:
        made.pop(path, None)
    else:
        _put(made, path, (chosen.choice(MODES), chosen.choice("012")))
    return made


def _put(tree: Tree, path: str, entry: tuple[str, str]) -> None:
    """A file takes the place of a folder, and of files where its own folders must be."""
    for other in [each for each in tree if each != path and _is_below(each, path)]:
        del tree[other]
    for other in [each for each in tree if each != path and _is_below(path, each)]:
        del tree[other]
    tree[path] = entry


def _take(tree: Tree, path: str, side: Tree) -> None:
    tree.pop(path, None)
    if path in side:
        _put(tree, path, side[path])


def _moved(tree: Tree, source: str, target: str) -> Tree:
    kept = {path: entry for path, entry in tree.items() if not _is_below(path, source)}
    for path, entry in tree.items():
        if _is_below(path, source):
            _put(kept, target + path.removeprefix(source), entry)
    return kept


def _is_below(path: str, folder: str) -> bool:
    return folder == "." or f"{path}/".startswith(f"{folder}/")


# --- the oracle ---------------------------------------------------------------------------------


def held(tree: Tree, each: Input, place: str) -> Tree:
    """What is at a place: path below it → mode, content."""
    found = {}
    for path, entry in tree.items():
        if _is_below(path, place):
            below = f"/{path}" if place == "." else path.removeprefix(place)
            shown = below[1:] if each.path == "." else each.path + below
            if not any(PATTERNS[pattern](shown) for pattern in each.ignore):
                found[below] = entry
    return found


def is_same(tree: Tree, tagged: Tree, each: Input) -> bool:
    wanted = held(tagged, each, each.path)
    return any(held(tree, each, place) == wanted for place in (each.path, *each.former))


def introduced(case: Case, has: Sequence[bool]) -> int:
    """Down the first parents as long as the trees are the same."""
    commit = len(case.trees) - 1
    while case.parents[commit] and has[case.parents[commit][0]]:
        commit = case.parents[commit][0]
    return commit


def simplified(case: Case, has: Sequence[bool]) -> int:
    """To the first parent with the same tree, of each commit in turn."""
    commit = len(case.trees) - 1
    while same := [parent for parent in case.parents[commit] if has[parent]]:
        commit = same[0]
    return commit


def ancestors(case: Case) -> set[int]:
    found: set[int] = set()
    todo = [len(case.trees) - 1]
    while todo:
        commit = todo.pop()
        if commit not in found:
            found.add(commit)
            todo += case.parents[commit]
    return found
