"""`bundler inspect`: what a published release is made of."""

from __future__ import annotations

from typing import Any, cast

from bundler import bundles
from bundler.cli import options, output, results, wiring


def inspect(
    reference: options.ReferenceArgument,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Show a published release: its images, commits, environments and targets.

    Fetches the manifest and the release document only.
    """
    reader = wiring.artifact_registry(plain_http)
    manifest = bundles.find(reader, wiring.artifact_reference(reference, deploy_registry))
    document = bundles.release_document(reader, manifest, wiring.document_schemas())
    release = cast("dict[str, Any]", document.value)
    output.show(
        {
            "reference": str(manifest.reference),
            "digest": str(manifest.digest),
            "release": release,
        },
        results.release_lines(str(manifest.reference), release),
    )
