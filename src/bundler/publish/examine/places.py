"""Environments and targets as a command line names them."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from bundler.errors import UsageError
from bundler.model.project import Project


def narrowed(project: Project, *places: str | None) -> Project:
    """The project with the targets alone that are named: `ENV` for all of one, or `ENV/TARGET`.

    None stands for all. Raises UsageError for a name that there is not.
    """
    if None in places:
        return project
    wanted = {chosen for place in places for chosen in _named(project, str(place))}
    environments = {
        name: replace(
            environment, targets=tuple(t for t in environment.targets if (name, t.name) in wanted)
        )
        for name, environment in project.environments.items()
    }
    return replace(project, environments={n: e for n, e in environments.items() if e.targets})


def only_target(project: Project, place: str) -> str:
    """`ENV/TARGET` of what is named, which must be one. Raises UsageError."""
    found = [f"{environment}/{target}" for environment, target in _named(project, place)]
    if len(found) > 1:
        raise UsageError(f"{place} has {len(found)} targets", hint=f"name one: {', '.join(found)}")
    return found[0]


def _named(project: Project, place: str) -> list[tuple[str, str]]:
    environment, _, target = place.partition("/")
    known = {
        (name, each.name) for name, env in project.environments.items() for each in env.targets
    }
    found = sorted((e, t) for e, t in known if e == environment and target in ("", t))
    if not found:
        spelled = sorted({e for e, _ in known} | {f"{e}/{t}" for e, t in known})
        close = get_close_matches(place, spelled, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(spelled)}"
        raise UsageError(f"no environment or target {place}", hint=hint)
    return found
