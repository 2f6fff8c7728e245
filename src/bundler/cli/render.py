"""`bundler render`: what a release would install, as files or on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, wiring
from bundler.cli.opening import open_release
from bundler.errors import UsageError, ValidationFailed
from bundler.model.bundle import RenderedBundle
from bundler.publish import flow
from bundler.publish.render import files


def render(
    tag: options.TagArgument = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only this environment.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only this target.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", help="Write files into this new folder.")
    ] = None,
    repo: options.Repo = Path(),
    kustomize: options.Kustomize = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Resolve, pin and render every environment of a release tag."""
    parts = wiring.publishing(repo, kustomize, plain_http=plain_http)
    opened = open_release(tag, parts)
    if opened is None:
        return
    lock = flow.resolve_release(opened, parts)
    rendered = flow.render_release(opened, lock, parts)
    chosen = _chosen(rendered, environment, target)
    output.show_findings((*lock.warnings, *rendered.findings))
    if directory:
        wiring.write_tree(directory, chosen)
        output.note(f"wrote {len(chosen)} files to {directory}")
    elif output.FORMAT.get() is output.Format.text:
        output.write("".join(content.decode() for content in chosen.values()))
    else:
        output.show_value({path: content.decode() for path, content in chosen.items()})
    errors = [finding for finding in rendered.findings if finding.severity == "error"]
    if errors:
        raise ValidationFailed(f"{len(errors)} findings", findings=errors)


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
