"""`bundler history`: what ran in a target, or which releases a repository has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from bundler.cli import connections, deployments, options, output, revisions, wiring
from bundler.cli.connections import ConnectionFlags
from bundler.cli.output import short, table
from bundler.develop.releases import ReleaseHistory, release_history
from bundler.errors import UsageError


def history(
    environment: options.OnlyEnvironment = None,
    target: options.OnlyTarget = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    namespace: options.Namespace = None,
    repo: Annotated[
        Path | None,
        typer.Option("--repo", help="A git repository: list its releases instead."),
    ] = None,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """List the revisions of every target, newest first: what, when, by whom, with which outcome.

    With --repo, list the releases of a repository instead: every release tag in main's order,
    with its commit and the release before it. That takes no connection.
    """
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace)
    if repo is not None:
        _refuse_targets(flags, environment, target)
        parts = wiring.developing(repo)
        found = release_history(parts.source, parts.parse_project)
        output.show(_value(found), _lines(found))
        return
    reached = connections.reached(flags, environment, target)
    output.show(
        revisions.history_value(reached.targets) | revisions.unreached_value(reached.errors),
        revisions.history_lines(reached.targets),
    )
    deployments.note_all(reached.errors.values())
    raise typer.Exit(deployments.most_serious(error.exit_code for error in reached.errors.values()))


def _refuse_targets(flags: ConnectionFlags, environment: str | None, target: str | None) -> None:
    """$KUBECONFIG alone is no wish to look at a cluster."""
    given = {
        "--context": flags.context,
        "--directory": flags.directory,
        "--targets": flags.targets_file,
        "--namespace": flags.state_namespace,
        "--env": environment,
        "--target": target,
    }
    named = [flag for flag, value in given.items() if value]
    if named:
        raise UsageError(
            f"--repo and {' and '.join(named)} contradict each other",
            hint="a repository has releases, a target has revisions: name one",
        )


def _value(found: ReleaseHistory) -> dict[str, Any]:
    return {
        "releases": [release.as_dict() for release in found.releases],
        "leftOut": {"noReleases": found.ignored, "offBranch": found.off_branch},
    }


def _lines(found: ReleaseHistory) -> Iterator[str]:
    rows = [
        (each.tag, short(each.commit), each.date, each.predecessor or "-", each.subject)
        for each in found.releases
    ]
    if rows:
        yield from table(rows, ("RELEASE", "COMMIT", "DATE", "AFTER", "SUBJECT"))
    else:
        yield "no releases yet"
    if found.ignored:
        yield f"{_tags(found.ignored)} left out: the project counts no such tag as a release"
    if found.off_branch:
        yield f"{_tags(found.off_branch)} left out: on no branch that releases are allowed on"


def _tags(count: int) -> str:
    return "1 tag" if count == 1 else f"{count} tags"
