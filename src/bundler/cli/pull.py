"""`bundler pull`: a published release as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, wiring
from bundler.deploy.pull import pull as pull_bundle
from bundler.deploy.verify import verified_files


def pull(
    reference: options.ReferenceArgument,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="The folder to write; new or empty.")
    ],
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Write a published release's manifests and release document into a folder, verified."""
    pulled = pull_bundle(
        wiring.artifact_registry(plain_http),
        wiring.artifact_reference(reference, deploy_registry),
        wiring.document_schemas(),
    )
    files = {**verified_files(pulled), "release.json": pulled.release.content}
    wiring.write_tree(directory, files)
    output.show(
        {
            "reference": str(pulled.manifest.reference),
            "digest": str(pulled.manifest.digest),
            "directory": str(directory),
            "files": sorted(files),
        },
        [f"pulled {pulled.manifest.reference} into {directory}: {len(files)} files"],
    )
