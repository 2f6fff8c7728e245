"""What is installed somewhere, found by the connections alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bundler.cli import output
from bundler.cli.connections import ConnectionFlags, Deployed, Reached, reached
from bundler.deploy.result import TargetResult
from bundler.errors import UsageError


class Installed(NamedTuple):
    """The targets of an environment that have a history, and those that tell none."""

    targets: list[Deployed]
    unreached: list[TargetResult]
    """Failed already, because no connection leads there."""


def installed(
    flags: ConnectionFlags, environment: str, target: str | None, *, keep_going: bool = False
) -> Installed:
    """Raises UsageError for none with a history, and where it is not clear whose they are;
    NoConnection; and the error of connections that lead nowhere, unless others are to go on.
    """
    answers = reached(flags, environment, target)
    unreached = _unreached(answers, keep_going=keep_going)
    found = [each for each in answers.targets if each.state.revisions]
    if not found:
        raise UsageError(
            f"nothing is installed as {environment}{'/' + target if target else ''} there",
            hint="bundler status shows what is",
        )
    projects = sorted({each.project for each in found})
    if len(projects) > 1:
        raise UsageError(
            f"{environment} is there of several projects: {', '.join(projects)}",
            hint="--namespace names the one whose state is meant",
        )
    for place, count in Counter(each.place for each in found).items():
        if count > 1:
            where = sorted(each.state.namespace or "" for each in found if each.place == place)
            raise UsageError(
                f"{place} has a history in each of the namespaces {', '.join(where)}",
                hint="--namespace names the one that is meant",
            )
    return Installed(found, unreached)


def _unreached(answers: Reached, *, keep_going: bool) -> list[TargetResult]:
    if not answers.errors:
        return []
    if not (keep_going and answers.targets):
        place, *others = answers.errors
        error = answers.errors[place]
        hints = [error.hint, "--keep-going goes on without it" if answers.targets else None]
        raise error.reworded(
            f"{place}: {error.message}" + (f"; nor {', '.join(others)}" if others else ""),
            hint="; ".join(filter(None, hints)),
        )
    for place, error in answers.errors.items():
        output.note(f"{place}: going on without it: {error.message}")
    return [
        TargetResult(place.partition("/")[2], "failed", outcome=error.message, error=error)
        for place, error in answers.errors.items()
    ]


def state_namespace(found: Sequence[Deployed], own: Sequence[str]) -> str | None:
    """The one namespace that has the states; None where each lies in its target's `own`.

    Raises UsageError where neither is so.
    """
    kept_in = [each.state.namespace for each in found]
    if all(where in (None, namespace) for where, namespace in zip(kept_in, own, strict=True)):
        return None
    if len(set(kept_in)) > 1:
        raise UsageError(
            "the targets keep their history in different namespaces",
            hint="--target names one of them",
        )
    return kept_in[0]
