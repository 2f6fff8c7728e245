"""What is installed somewhere, found by the connections alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bundler.cli.connections import ConnectionFlags, Deployed, reached
from bundler.errors import UsageError


def installed(flags: ConnectionFlags, environment: str, target: str | None) -> list[Deployed]:
    """The targets of an environment that have a history.

    Raises UsageError for none, and where it is not clear whose they are; NoConnection, and the
    error of a connection that leads nowhere.
    """
    answers = reached(flags, environment, target)
    for error in answers.errors.values():
        raise error
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
    return found


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
