"""What every command of the develop flow begins with: a whole history, and a project file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bundler.errors import ProjectFileInvalid, SourceInvalid
from bundler.model.project import PROJECT_FILE, Project
from bundler.ports import SourceReader

ParseProject = Callable[[bytes], Project]


class Clone(Protocol):
    def is_shallow(self) -> bool:
        """Whether history was cut off when the repository was cloned."""
        ...


def refuse_shallow(source: Clone) -> None:
    if source.is_shallow():
        raise SourceInvalid(
            "this clone is shallow: its history is cut off",
            hint="git fetch --unshallow --tags; in CI, check out with full history "
            "(GitHub: fetch-depth: 0, GitLab: GIT_DEPTH: 0)",
        )


def read_project(source: SourceReader, commit: str, parse: ParseProject) -> Project | None:
    """The project file of a commit; None where it has none. Raises ProjectFileInvalid."""
    text = source.read(commit, PROJECT_FILE)
    return None if text is None else parse(text)


def need_project(source: SourceReader, commit: str, parse: ParseProject) -> Project:
    """Raises ProjectFileInvalid, also where there is none."""
    project = read_project(source, commit, parse)
    if project is None:
        raise ProjectFileInvalid(
            f"no {PROJECT_FILE} at {commit[:12]}",
            hint="commit one to the root of the repository",
        )
    return project
