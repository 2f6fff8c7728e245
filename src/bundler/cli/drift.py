"""`bundler drift`: what of a target is not as its current release has it; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from bundler.cli import connections, deployments, options, output
from bundler.cli.connections import ConnectionFlags
from bundler.cli.examining import Examination, Examined
from bundler.cli.output import error_value, printable, short
from bundler.cli.revisions import newer, unreached_value
from bundler.cli.values import cut, cut_where_they_differ, one_line
from bundler.model.differences import ABSENT
from bundler.model.drift import KINDS, Drift, FieldDrift, ObjectDrift

DRIFT = 3
"""The exit code of --exit-code where there is drift."""


def drift(
    environment: options.OnlyEnvironment = None,
    target: options.OnlyTarget = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    namespace: options.Namespace = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with {DRIFT} if there is drift.")
    ] = False,
    sops: options.Sops = None,
    deploy_registry: options.RecordedRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Show what was changed in a target since its current release was applied, and by whom.

    Fields that the release does not have are others' and no drift. Nothing is changed; the values
    of Secrets are not shown.
    """
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace)
    examination = Examination(deploy_registry, plain_http, sops)
    reached = connections.reached(flags, environment, target)
    examined = examination.of(reached.targets)
    output.show(
        {"targets": [_value(each) for each in examined]} | unreached_value(reached.errors),
        [line for each in examined for line in _lines(each)] or ["nothing was applied here"],
    )
    errors = [each.drift_error for each in examined if each.drift_error]
    deployments.note_all([*errors, *reached.errors.values()])
    has_drift = any(each.drift and each.drift.objects for each in examined)
    codes = [error.exit_code for error in (*errors, *reached.errors.values())]
    raise typer.Exit(deployments.most_serious([*codes, DRIFT * int(exit_code and has_drift)]))


def _value(each: Examined) -> dict[str, Any]:
    target, drift = each.target, each.drift
    current, latest = target.state.current, target.state.latest
    status = "failed" if drift is None else "drifted" if drift.objects else "clean"
    return {
        "project": target.project,
        "environment": target.environment,
        "target": target.target,
        "status": status,
        "current": current.as_dict() if current else None,
        "latest": latest.as_dict() if latest else None,
        "compared": drift.compared if drift else 0,
        "counts": dict(drift.counts() if drift else dict.fromkeys(KINDS, 0)),
        "objects": [obj.as_dict() for obj in drift.objects] if drift else [],
        "notCompared": [
            {"ref": str(ref), "reason": reason} for ref, reason in drift.not_compared.items()
        ]
        if drift
        else [],
        "error": error_value(each.drift_error) if each.drift_error else None,
    }


def _lines(each: Examined) -> Iterator[str]:
    target, current = each.target, each.target.state.current
    release = f"{current.tag} ({short(current.digest)})" if current else "no release"
    found = told(each.drift) if each.drift else "could not be compared"
    yield f"{target.place}: {release}: {found}"
    if remark := newer(target.state):
        yield f"  {remark}"
    for obj in each.drift.objects if each.drift else ():
        yield from _object(obj)
    for ref, reason in each.drift.not_compared.items() if each.drift else ():
        yield printable(f"  not compared {ref} ({reason})")


def told(drift: Drift) -> str:
    """How much drift there is, in words."""
    counts = ", ".join(f"{count} {kind}" for kind, count in drift.counts().items() if count)
    objects = "1 object" if drift.compared == 1 else f"{drift.compared} objects"
    return f"drift: {counts}" if counts else f"no drift in {objects}"


def _object(drift: ObjectDrift) -> Iterator[str]:
    reason = f" ({drift.reason})" if drift.reason else ""
    yield printable(f"  {drift.kind:<8} {drift.ref}{reason}")
    for field in drift.fields:
        by = ", ".join(filter(None, (field.manager, field.since)))
        yield printable(f"      {field.path} ({by})" if by else f"      {field.path}")
        yield from _sides(field)


def _sides(field: FieldDrift) -> Iterator[str]:
    sides = {"wanted": field.wanted, "found": field.found}
    texts = {name: one_line(value) for name, value in sides.items() if value is not ABSENT}
    shown: Iterable[str] = map(cut, texts.values())
    if len(texts) == len(sides):
        shown = cut_where_they_differ(*texts.values())
    by_name = dict(zip(texts, shown, strict=True))
    for name in sides:
        yield f"        {name:<6} {by_name.get(name, 'not there')}"
