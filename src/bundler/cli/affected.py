"""`bundler affected`: what a push must build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, wiring
from bundler.cli.output import printable, short, table
from bundler.develop import matrix
from bundler.develop.affected import Affected, AffectedService, Branch
from bundler.develop.affected import affected as find_affected
from bundler.errors import UsageError

SOMETHING = 3
"""The exit code of --exit-code where a service is affected."""


class Matrix(StrEnum):
    github = "github"
    gitlab = "gitlab"


def affected(
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="REF", help="The commit, tag or branch to compare with."),
    ] = None,
    head: Annotated[str, typer.Option("--head", metavar="REF", help="What was pushed.")] = "HEAD",
    branch: Annotated[
        str | None,
        typer.Option(
            "--branch",
            metavar="NAME",
            help="Where it was pushed to; the CI's branch or the checked-out one by default.",
        ),
    ] = None,
    matrix_of: Annotated[
        Matrix | None,
        typer.Option("--matrix", help="Print the services as the matrix of a CI system's jobs."),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {SOMETHING} if a service is affected.")
    ] = False,
    repo: options.Repo = Path(),
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Tell which services the commits since REF affect, with the tags that their images get.

    A service is affected if what it is built from differs from the merge base with REF.
    """
    if not since:
        raise UsageError(
            "since which commit?",
            hint="--since REF: in GitHub ${{ github.event.before }}, in GitLab "
            "$CI_COMMIT_BEFORE_SHA, for a branch of your own origin/main or the like",
        )
    parts = wiring.developing(repo)
    where = Branch(branch) if branch else _ci_branch()
    if where is None:
        where = Branch(parts.source.checked_out() if head == "HEAD" else None)
    found = find_affected(since, head, where, parts.source, parts.parse_project)
    if matrix_of is None:
        output.show(found.as_dict(), _lines(found))
    else:
        _show_matrix(matrix_of, found)
    if exit_code and found.services:
        raise typer.Exit(SOMETHING)


def _ci_branch() -> Branch | None:
    """The branch that a CI system is running for; None where there is no CI or no branch."""
    variables = os.environ
    proposed = variables.get("GITHUB_HEAD_REF") or variables.get(
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"
    )
    if proposed:
        return Branch(proposed, is_proposed=True)
    github = variables.get("GITHUB_REF_TYPE") == "branch" and variables.get("GITHUB_REF_NAME")
    name = github or variables.get("CI_COMMIT_BRANCH")
    return Branch(name) if name else None


def _show_matrix(wanted: Matrix, found: Affected) -> None:
    github = wanted is Matrix.github
    warnings = matrix.github_warnings(found) if github else matrix.gitlab_warnings(found)
    for warning in warnings:
        output.note(f"{output.coloured('warning', 'yellow')}: {printable(warning)}")
    output.write(matrix.github(found) if github else matrix.gitlab(found))


def _lines(found: Affected) -> Iterator[str]:
    if found.everything:
        yield f"every service is affected: {found.everything}"
        yield ""
    rows = [
        (each.name, short(each.commit), ", ".join(map(_tag, each.tags)) or "-", _why(each))
        for each in found.services
    ]
    if rows:
        yield from table(rows, ("SERVICE", "COMMIT", "TAGS", "BECAUSE"))
        yield ""
    yield f"{len(rows)} affected, {found.unaffected} not{_elsewhere(found)}; {_push(found)}"
    if found.removed:
        yield f"removed: {', '.join(found.removed)}"


def _why(service: AffectedService) -> str:
    return ", ".join(service.because)


def _tag(tag: str) -> str:
    """A tag that is a commit id alone is shortened, for people."""
    is_commit = len(tag) in (40, 64) and not tag.strip("0123456789abcdef")
    return short(tag) if is_commit else tag


def _elsewhere(found: Affected) -> str:
    return f", {found.elsewhere} of other repositories" if found.elsewhere else ""


def _push(found: Affected) -> str:
    branch = found.branch
    if branch.name is None:
        return "no branch is known: nothing is to be pushed"
    role = f"a {found.role} branch" if found.role else "a branch without a role"
    if found.push:
        return f"{branch.name} is {role}"
    why = "is only proposed" if branch.is_proposed else f"is {role}"
    return f"{branch.name} {why}: nothing is to be pushed"
