"""`bundler list`: what is published."""

from __future__ import annotations

from bundler import bundles
from bundler.cli import options, output, results, wiring


def list_(
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """List the versions of a deploy registry, newest first."""
    registry = wiring.deploy_registry(deploy_registry)
    listed = bundles.list_versions(wiring.artifact_registry(plain_http), registry)
    output.show([version.as_dict() for version in listed], results.listed_lines(registry, listed))
