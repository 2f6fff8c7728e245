"""`bundler who-uses`: what refers to a ConfigMap or Secret, in every target of a release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bundler.cli import options, output, wiring
from bundler.cli.opening import open_release
from bundler.publish import flow
from bundler.publish.examine.references import Use, uses


def who_uses(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[/KEY]", help="A ConfigMap or Secret, without kustomize's hash; its key."
        ),
    ],
    tag: options.TagOption = None,
    repo: options.Repo = Path(),
    kustomize: options.Kustomize = None,
    helm: options.Helm = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """What refers to a ConfigMap or Secret: what a change of it reaches."""
    parts = wiring.publishing(repo, kustomize, helm, plain_http=plain_http)
    opened = open_release(tag, parts)
    if opened is None:
        return
    rendered = flow.render_release(opened, parts)
    plain, _slash, key = name.partition("/")
    found = uses(rendered, plain, key or None)
    output.show(
        {"name": plain, "key": key or None, "uses": [_value(use) for use in found]},
        _lines(name, found),
    )


def _value(use: Use) -> dict[str, Any]:
    environment, _, target = use.place.partition("/")
    keys = use.reference.keys
    return {
        "environment": environment,
        "target": target,
        "service": use.service,
        "object": str(use.object),
        "path": use.reference.path,
        "kind": use.reference.kind,
        "name": use.reference.name,
        "keys": None if keys is None else sorted(keys),
    }


def _lines(name: str, found: tuple[Use, ...]) -> list[str]:
    if not found:
        return [f"nothing in this release refers to {name}"]
    rows = [
        (
            use.place,
            use.service or "-",
            use.object,
            use.reference.kind,
            "all" if use.reference.keys is None else ", ".join(sorted(use.reference.keys)),
            use.reference.path,
        )
        for use in found
    ]
    return output.table(rows, ("TARGET", "SERVICE", "OBJECT", "USES", "KEYS", "WHERE"))
