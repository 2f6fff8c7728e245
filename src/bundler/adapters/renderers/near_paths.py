"""Paths that were most likely meant, for hints: asked for only where a path is wrong."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path, PurePosixPath


def near_folder(root: Path, path: str, marks: Collection[str]) -> str | None:
    """The folder of the tree that `path` may have meant: one with one of these files in it."""
    found = {
        Path(folder).relative_to(root).as_posix()
        for folder, _, names in os.walk(root)
        if not set(marks).isdisjoint(names)
    }
    around = str(PurePosixPath(path).parent)
    if around in found and not (root / path).is_dir():
        return around  # a file was named for the folder that it is in
    close = get_close_matches(path, sorted(found), n=1)
    same = sorted(each for each in found if PurePosixPath(each).name == PurePosixPath(path).name)
    return next(iter([*close, *same]), None)


def near_sibling(place: Path) -> str | None:
    """The name beside a place that is not there, which it may have meant."""
    names = [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
    return next(iter(get_close_matches(place.name, sorted(names), n=1)), None)
