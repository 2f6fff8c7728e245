"""`bundler explain`: where a value of a target comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bundler.cli import options, output, wiring
from bundler.cli.opening import open_release
from bundler.publish import flow
from bundler.publish.examine.origins import Explanation, Origin
from bundler.publish.examine.places import narrowed, only_target
from bundler.publish.examine.tracing import Tracing, trace

_LONGEST = 100


def explain(
    place: Annotated[
        str, typer.Argument(metavar="ENV[/TARGET]", help="The environment, and target.")
    ],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="values.cart.replicas, or Deployment/cart.spec.replicas; "
            "in lists a name: containers[cart].image.",
        ),
    ],
    tag: options.TagOption = None,
    repo: options.Repo = Path(),
    kustomize: options.Kustomize = None,
    helm: options.Helm = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Where a value comes from: a layer, a pin, an overlay's patch, a chart; and over what."""
    parts = wiring.publishing(repo, kustomize, helm, plain_http=plain_http)
    opened = open_release(tag, parts)
    if opened is None:
        return
    project = narrowed(opened.project, only_target(opened.project, place))
    opened = replace(opened, project=project)
    rendered = flow.render_release(opened, parts)
    commit = opened.revision.commit
    with parts.source.exported(commit) as tree:
        tracing = Tracing(
            project,
            rendered,
            tree,
            parts.renderers,
            lambda paths: parts.source.contents(commit, paths),
            parts.objects.newest(),
        )
        found = trace(tracing, path)
    output.show(_value(found), _lines(found))


def _value(found: Explanation) -> dict[str, Any]:
    return {
        "target": found.place,
        "path": found.path,
        "object": found.object,
        "value": found.value,
        "origins": [_origin(origin) for origin in found.origins],
    }


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "kind": origin.kind,
        "what": origin.what,
        "file": origin.file,
        "line": origin.line,
        "value": origin.value,
    }


def _lines(found: Explanation) -> Iterator[str]:
    yield f"{found.place} {found.path}: {_shown(found.value)}"
    for number, origin in enumerate(found.origins):
        words = f"over {_shown(origin.value)} from" if number else "from"
        what = f" ({origin.what})" if origin.file else ""
        yield f"  {words} {origin.place}{what}"
    if not found.origins:
        yield "  what it comes from cannot be told"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
