"""`bundler validate`: would this release be accepted?"""

from __future__ import annotations

from pathlib import Path

from bundler.cli import options, output, results, wiring
from bundler.cli.opening import open_release
from bundler.publish import flow


def validate(
    tag: options.TagArgument = None,
    repo: options.Repo = Path(),
    kustomize: options.Kustomize = None,
    helm: options.Helm = None,
    plain_http: options.PlainHttp = False,
    _: options.FindingsFormat = output.Format.text,
) -> None:
    """Resolve, render and validate a release tag; print every finding."""
    parts = wiring.publishing(repo, kustomize, helm, plain_http=plain_http)
    opened = open_release(tag, parts)
    if opened is None:
        return
    rendered = flow.render_release(opened, parts)
    before = flow.release_before(opened, parts, opened.project.deploy_registry)
    bundle = flow.validate_release(opened, rendered, parts, before)
    objects = sum(len(target.objects) for target in bundle.rendered.targets)
    warnings = (*rendered.lock.warnings, *bundle.warnings)
    output.show_findings(warnings)
    output.show(
        results.lock_value(bundle.rendered.lock)
        | {
            "objects": objects,
            "unvalidated": bundle.unvalidated,
            "warnings": [warning.as_dict() for warning in warnings],
        },
        [f"{opened.revision.tag} is valid: {objects} objects in {len(bundle.files)} files"],
        warnings,
    )
