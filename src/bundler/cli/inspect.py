"""`bundler inspect`: what a published release is made of."""

from __future__ import annotations

from typing import Any, cast

from bundler import bundles
from bundler.bundles import Manifest
from bundler.cli import options, output, results, wiring
from bundler.errors import TryAgain
from bundler.model.replacement import Replacement
from bundler.ports import ContentReader, DocumentSchemas
from bundler.publish.replaced import replacements


def inspect(
    reference: options.ReferenceArgument,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Show a published release: its images, commits, environments and targets.

    Fetches the manifest, the release document and the record of what it replaced only.
    """
    reader, schemas = wiring.content_registry(plain_http), wiring.document_schemas()
    manifest = bundles.find(reader, wiring.artifact_reference(reference, deploy_registry))
    document = bundles.release_document(reader, manifest, schemas)
    release = cast("dict[str, Any]", document.value)
    replaced = _replaced(reader, manifest, schemas)
    output.show(
        {
            "reference": str(manifest.reference),
            "digest": str(manifest.digest),
            "release": release,
            "replaced": None if replaced is None else [results.replaced_value(r) for r in replaced],
        },
        [
            *results.release_lines(str(manifest.reference), release),
            *results.replacement_lines(replaced or ()),
        ],
    )


def _replaced(
    reader: ContentReader, manifest: Manifest, schemas: DocumentSchemas
) -> tuple[Replacement, ...] | None:
    """None where it is not known, which is no reason not to show the rest."""
    try:
        return replacements(reader, manifest.reference.repository, manifest.digest, schemas)
    except TryAgain as error:
        output.note(f"whether it replaced another is not known: {output.printable(error.message)}")
        return None
