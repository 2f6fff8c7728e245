"""`bundler init`: a first bundler.yaml, from what the repository holds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, wiring
from bundler.draft.flow import Draft, Wishes, draft
from bundler.draft.parts import legal_name
from bundler.errors import UsageError
from bundler.model.project import PROJECT_FILE
from bundler.model.reference import ImageReference, InvalidReference


def init(
    repo: options.Repo = Path(),
    name: Annotated[
        str | None, typer.Option("--name", help="The project's name; the folder's by default.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="HOST/NAME",
            help="Where clusters pull the images from; what the manifests say by default.",
        ),
    ] = None,
    deploy_registry: Annotated[
        str | None,
        typer.Option(
            "--deploy-registry",
            metavar="oci://…|ocidir://…",
            help="Where releases are published to.",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="The repository's URL, for annotations.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the file instead of writing it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundler.yaml.")] = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Write a commented bundler.yaml from the Dockerfiles and overlays that git knows.

    What they do not tell is marked in the file by `check:` and listed afterwards.
    """
    wishes = _checked(Wishes(name, images, deploy_registry, source))
    root = wiring.work_tree(repo)
    file = root / PROJECT_FILE
    if os.path.lexists(file) and not (force or dry_run):
        raise UsageError(
            f"{file} exists", hint="--force replaces it; --dry-run shows what would be written"
        )
    drafted = draft(wiring.survey(root), wishes)
    if not drafted.services:
        raise UsageError(
            f"nothing in {root} builds an image: no Dockerfile or Containerfile"
            f"{_left_out(drafted)}",
            hint="add one for each service, or write bundler.yaml by hand: docs/project-file.md",
        )
    if not dry_run:
        wiring.write_file(file, drafted.text.encode())
    _show(drafted, file, written=not dry_run)


def _checked(wishes: Wishes) -> Wishes:
    """Raises UsageError for what bundler.yaml may not hold."""
    if wishes.name is not None and wishes.name != legal_name(wishes.name, ""):
        raise UsageError(
            f"{wishes.name!r} is no name of a project",
            hint="lower-case letters, digits and '-', at most 63",
        )
    if wishes.images is not None:
        try:
            reference = ImageReference.parse(f"{wishes.images.rstrip('/')}/service")
        except InvalidReference as error:
            raise UsageError(
                f"{wishes.images!r} is no place of images",
                hint="HOST/NAME, without https:// and without a tag",
            ) from error
        wishes = Wishes(
            wishes.name,
            reference.name.removesuffix("/service"),
            wishes.deploy_registry,
            wishes.source,
        )
    if wishes.deploy_registry is not None:
        wiring.repository(wishes.deploy_registry)
    if wishes.source is not None and re.search(r"://[^/@]*:[^/@]*@", wishes.source):
        raise UsageError("--source holds a password", hint="name the URL without it")
    return wishes


def _left_out(drafted: Draft) -> str:
    """What was seen and not taken, if anything was."""
    seen = [note for note in drafted.notes if "Dockerfile" in note or "ontainerfile" in note]
    return f" ({'; '.join(seen)})" if seen else ""


def _show(drafted: Draft, file: Path, *, written: bool) -> None:
    value = {
        "path": str(file),
        "written": written,
        "services": [service.name for service in drafted.services],
        "libraries": [library.name for library in drafted.libraries],
        "environments": [environment.name for environment in drafted.environments],
        "notes": list(drafted.notes),
    }
    output.show(value, [f"wrote {file}"] if written else drafted.text.splitlines())
    counts = (
        _counted(len(drafted.services), "service", "services"),
        _counted(len(drafted.libraries), "library", "libraries"),
        _counted(len(drafted.environments), "environment", "environments"),
    )
    output.note(f"found {', '.join(counts)}")
    if drafted.notes:
        output.note("what the files do not tell:")
    for number, note in enumerate(drafted.notes, 1):
        output.note(f"{number:3}. {output.printable(note)}")
    if written:
        output.note(f"next: go through {PROJECT_FILE}, commit and tag it, and run")
        output.note("    bundler resolve TAG")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
