"""`bundler status`: what runs in a target, since when, and whether it is still so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from bundler.cli import connections, deployments, options, output
from bundler.cli.connections import ConnectionFlags
from bundler.cli.drift import DRIFT, told
from bundler.cli.examining import Examination, Examined
from bundler.cli.output import error_value, printable, short, table
from bundler.cli.revisions import last_word, remarks, unreached_value

_HEADS = (
    "PROJECT", "TARGET", "CURRENT", "OUTCOME", "SINCE", "DIGEST", "COMMIT", "LAST APPLY", "DRIFT",
)  # fmt: skip


def status(
    environment: options.OnlyEnvironment = None,
    target: options.OnlyTarget = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    directory: options.Directory = None,
    targets: options.TargetsFile = None,
    namespace: options.Namespace = None,
    with_drift: Annotated[
        bool, typer.Option("--drift/--no-drift", help="Compare with the release, which is pulled.")
    ] = True,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help=f"Exit with {DRIFT} if there is drift or the last apply failed."
        ),
    ] = False,
    sops: options.Sops = None,
    deploy_registry: options.RecordedRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Show the current release of every target, how the last apply ended, drift, and the lock."""
    flags = ConnectionFlags(context, kubeconfig, directory, targets, namespace)
    examination = Examination(deploy_registry, plain_http, sops, with_drift, with_lock=True)
    reached = connections.reached(flags, environment, target)
    examined = examination.of(reached.targets)
    output.show(
        {"targets": [_value(each) for each in examined]} | unreached_value(reached.errors),
        _lines(examined),
    )
    deployments.note_all(reached.errors.values())
    codes = [error.exit_code for error in reached.errors.values()]
    raise typer.Exit(
        deployments.most_serious([*codes, *(map(_code, examined) if exit_code else ())])
    )


def _code(each: Examined) -> int:
    """What cannot be vouched for counts as its error."""
    if each.target.state.current and each.drift_error:
        return each.drift_error.exit_code
    latest = each.target.state.latest
    is_good = latest is not None and latest.status == "succeeded"
    has_drift = each.drift is not None and each.drift.objects
    return 0 if is_good and not has_drift else DRIFT


def _value(each: Examined) -> dict[str, Any]:
    current, latest = each.target.state.current, each.target.state.latest
    return {
        "project": each.target.project,
        "environment": each.target.environment,
        "target": each.target.target,
        "current": current.as_dict() if current else None,
        "latest": latest.as_dict() if latest else None,
        "lock": each.holder._asdict() if each.holder else None,
        "drift": _drift_value(each),
    }


def _drift_value(each: Examined) -> dict[str, Any] | None:
    """The objects that differ; null where it was not looked."""
    drift, error = each.drift, each.drift_error
    if drift is None and error is None:
        return None
    return {
        "objects": [{"ref": str(o.ref), "drift": o.kind} for o in drift.objects] if drift else [],
        "notCompared": [str(ref) for ref in drift.not_compared] if drift else [],
        "error": error_value(error) if error else None,
    }


def _lines(examined: Sequence[Examined]) -> list[str]:
    if not examined:
        return ["nothing was applied here"]
    notes = (
        printable(f"{each.target.place}: {note}") for each in examined for note in _notes(each)
    )
    return [*table([_row(each) for each in examined], _HEADS), *notes]


def _row(each: Examined) -> tuple[str, ...]:
    current, latest = each.target.state.current, each.target.state.latest
    now = ("-", "-", "-", "-", "-")
    if current:
        identity = (short(current.digest), short(current.commit))
        now = (current.tag, current.outcome, current.finished or "-", *identity)
    last = f"{latest.tag} {last_word(latest)}" if latest else "-"
    return (each.target.project, each.target.place, *now, last, _drift_word(each))


def _drift_word(each: Examined) -> str:
    if each.drift is None:
        return "-" if each.target.state.current is None else "not checked"
    count = len(each.drift.objects)
    return "none" if count == 0 else "1 object" if count == 1 else f"{count} objects"


def _notes(each: Examined) -> Iterator[str]:
    if each.holder:
        renewed = f", renewed {each.holder.renewed}" if each.holder.renewed else ""
        yield f"locked by {each.holder.name} since {each.holder.since}{renewed}"
    if each.lock_error:
        yield f"the lock cannot be read: {each.lock_error.message}"
    if each.target.state.current:
        yield from remarks(each.target.state.current)
    if each.drift and each.drift.objects:
        yield f"{told(each.drift)}; bundler drift shows each field"
    if each.drift and each.drift.not_compared:
        yield f"{len(each.drift.not_compared)} not compared; bundler drift says why"
    if each.drift_error and each.target.state.current:
        yield f"drift was not checked: {each.drift_error.message}"
