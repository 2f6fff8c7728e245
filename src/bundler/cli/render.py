"""`bundler render`: what a release would install, as files or on stdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import differences, options, output, wiring
from bundler.cli.opening import open_release
from bundler.errors import UsageError, ValidationFailed
from bundler.model.bundle import RenderedBundle
from bundler.publish import flow
from bundler.publish.examine.comparing import compare
from bundler.publish.examine.places import narrowed, only_target
from bundler.publish.flow import OpenedRelease, Parts
from bundler.publish.render import files
from bundler.publish.rules import by_policy


def render(
    tag: options.TagArgument = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only this environment.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only this target.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", help="Write files into this new folder.")
    ] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff", metavar="ENV[/TARGET] ENV[/TARGET]", help="How these two differ, instead."
        ),
    ] = None,
    repo: options.Repo = Path(),
    kustomize: options.Kustomize = None,
    helm: options.Helm = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Resolve, pin and render every environment of a release tag."""
    parts = wiring.publishing(repo, kustomize, helm, plain_http=plain_http)
    opened = open_release(tag, parts)
    if opened is None:
        return
    if diff:
        _compare(opened, parts, *diff)
        return
    rendered = flow.render_release(opened, parts)
    chosen = _chosen(rendered, environment, target)
    findings = tuple(by_policy(rendered.findings, opened.project.environments))
    output.show_findings((*rendered.lock.warnings, *findings))
    if directory:
        wiring.write_tree(directory, chosen)
        output.note(f"wrote {len(chosen)} files to {directory}")
    elif output.FORMAT.get() is output.Format.text:
        output.write("".join(content.decode() for content in chosen.values()))
    else:
        output.show_value({path: content.decode() for path, content in chosen.items()})
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise ValidationFailed(f"{len(errors)} findings", findings=errors)


def _compare(opened: OpenedRelease, parts: Parts, one: str, other: str) -> None:
    places = [only_target(opened.project, place) for place in (one, other)]
    opened = replace(opened, project=narrowed(opened.project, *places))
    rendered = flow.render_release(opened, parts)
    targets = {target.place: target for target in rendered.targets}
    comparison = compare(*(targets[place] for place in places))
    output.show(differences.value(comparison), differences.lines(comparison))


def _chosen(
    rendered: RenderedBundle, environment: str | None, target: str | None
) -> dict[str, bytes]:
    chosen = {
        path: content
        for path, content in files(rendered).items()
        if environment in (None, path.split("/")[0]) and target in (None, path.split("/")[1])
    }
    if not chosen:
        places = ", ".join(rendered_target.place for rendered_target in rendered.targets)
        raise UsageError("no such environment or target", hint=f"there is {places}")
    return chosen
