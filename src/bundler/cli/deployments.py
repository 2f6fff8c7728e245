"""Plans, applies and revisions, as values (docs/results.md) and as lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bundler.cli import output
from bundler.cli.output import coloured, error_value, printable, table
from bundler.deploy.preview import Preview
from bundler.deploy.progress import Progress
from bundler.deploy.readiness import UNNOTICED, UNSEEN
from bundler.deploy.result import TargetResult
from bundler.errors import BundlerError, Refused
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Change, ChangeSet, Plan
from bundler.model.objects import ObjectRef

_SERIOUSNESS = (5, 4, 1, 6, 2, 3, 0)
UNINSTALL = "uninstall"
"""What is done, where it is not known which release a target has."""
_COLOURS = {"created": "green", "configured": "yellow", "deleted": "red", "skipped": "dim"}


# --- apply --------------------------------------------------------------------------------------


def note_plan(plan: Plan, tag: str) -> None:
    """The plan, without what stays as it is."""
    _note(plan, f"{plan.replaces} → {tag}" if plan.replaces else f"{tag}, the first")


def note_removal(plan: Plan) -> None:
    """The plan of an uninstall."""
    _note(plan, f"{UNINSTALL} {plan.replaces}" if plan.replaces else UNINSTALL)


def _note(plan: Plan, step: str) -> None:
    place = f"{plan.environment}/{plan.target}"
    for line in plan_lines(place, step, ChangeSet(plan.changes), coloured):
        output.note(line)
    note_warnings(plan)


def note_warnings(plan: Plan) -> None:
    for line in warning_lines(plan):
        output.note(line)


def warning_lines(plan: Plan) -> Iterator[str]:
    for warning in plan.warnings:
        yield f"warning: {printable(str(warning))}"


def plan_lines(
    place: str,
    step: str,
    changes: ChangeSet,
    paint: Callable[[str, str], str] = lambda text, _: text,
) -> Iterator[str]:
    yield f"plan for {place}: {step}: {counted(changes.counts())}"
    for change in changes.changes:
        if change.action != "unchanged":
            reason = f" ({printable(why(change))})" if why(change) else ""
            action = paint(f"{change.action:<10}", _COLOURS[change.action])
            yield f"  {action} {printable(str(change.ref))}{reason}"


def why(change: Change) -> str:
    """What is said beside the action, if anything."""
    anew = "deleted and made anew" if change.recreate else ""
    return ", ".join(filter(None, (change.reason, anew)))


def counted(counts: Mapping[Any, int]) -> str:
    shown = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
    return shown or "no changes"


class ProgressLines:
    """A line for each change, and for whatever is waited for until it is ready.

    `place` says in each of them which target it is of, where several are under way.
    """

    def __init__(self, place: str = "") -> None:
        self._start = f"{place}: " if place else "  "
        self._waited_for: set[ObjectRef] = set()

    def __call__(self, progress: Progress) -> None:
        if progress.word == "waiting":
            self._waited_for.add(progress.ref)
            if progress.message in (UNSEEN, UNNOTICED):  # everything's first moment
                return
        elif progress.word == "unchanged" or (
            progress.word == "ready" and progress.ref not in self._waited_for
        ):
            return
        output.note(f"{self._start}{printable(str(progress))}")


def apply_value(
    bundle: VerifiedBundle, environment: str, results: Iterable[TargetResult | Preview]
) -> dict[str, Any]:
    """What was done to each target, or what would be."""
    return {
        "release": bundle.release.value["tag"],
        "digest": str(bundle.digest),
        "environment": environment,
        "imageRegistry": bundle.image_registry,
        "images": dict(bundle.images),
        "targets": target_values(results),
    }


def target_values(results: Iterable[TargetResult | Preview]) -> list[dict[str, Any]]:
    return [
        result.as_dict() | {"error": error_value(result.error) if result.error else None}
        for result in results
    ]


def apply_lines(
    bundle: VerifiedBundle, environment: str, results: Sequence[TargetResult]
) -> Iterator[str]:
    """What became of a target; of several as one table."""
    tag = str(bundle.release.value["tag"])
    applied = [result for result in results if result.status != "planned"]
    for result in results:
        if result.status == "planned":
            yield from plan_lines(f"{environment}/{result.target}", tag, result.changes)
        elif len(results) == 1:
            yield result_line(tag, environment, result)
    if len(results) > 1 and applied:
        rows = [_result_row(environment, result) for result in applied]
        yield from table(rows, ("TARGET", tag.upper(), "REVISION", "CHANGES", "SECONDS"))
        yield _summary(applied)
    for result in results:
        yield from failure_lines(environment, result)


def failure_lines(environment: str, result: TargetResult) -> Iterator[str]:
    """What an apply that failed half-way did and left, and what became of the way back."""
    place = f"{environment}/{result.target}"
    done = [
        str(change.ref)
        for change in result.changes.changes
        if change.action not in ("unchanged", "skipped") and str(change.ref) not in result.failed
    ]
    not_started = [str(change.ref) for change in result.not_started]
    if result.error:
        for word, refs in (("done", done), ("failed", result.failed), ("not started", not_started)):
            if refs:
                yield f"{place}: {word}: {', '.join(refs)}"
    back = result.rollback
    if back and back.result:
        yield result_line(f"{back.release}, the former release,", environment, back.result)
        yield from failure_lines(environment, back.result)
    elif back:
        yield f"{place}: {back.message}"


def result_line(tag: str, environment: str, result: TargetResult) -> str:
    numbered = f", revision {result.revision}" if result.revision else ""
    seconds = f" in {result.seconds:.1f} s" if result.seconds is not None else ""
    changes = counted(result.changes.counts())
    return f"{environment}/{result.target}: {tag} {_ended(result)}{numbered}: {changes}{seconds}"


def _ended(result: TargetResult) -> str:
    if result.status == "skipped":
        return "not applied"
    if result.revision is None and isinstance(result.error, Refused):
        return "refused"
    if result.status == "succeeded" and result.outcome != "uninstalled":
        return f"{result.status} and {result.outcome}"
    return result.status


def _result_row(environment: str, result: TargetResult) -> tuple[object, ...]:
    return (
        f"{environment}/{result.target}",
        _ended(result),
        result.revision or "-",
        counted(result.changes.counts()),
        "-" if result.seconds is None else f"{result.seconds:.1f}",
    )


def _summary(results: Sequence[TargetResult]) -> str:
    """How many targets have the release, how many failed, and how many remain as they were."""
    failed = sum(bool(result.error) for result in results)
    remaining = sum(result.status == "skipped" for result in results)
    done = len(results) - failed - remaining
    return f"{len(results)} targets: {done} succeeded, {failed} failed, {remaining} remaining"


def note_errors(environment: str, results: Sequence[TargetResult | Preview]) -> None:
    """Each with its target's name, where there are several."""
    for result in results:
        if result.error:
            if len(results) > 1 and output.FORMAT.get() is output.Format.text:
                output.note(f"{environment}/{result.target}:")
            note_all([result.error])


def note_all(errors: Iterable[BundlerError]) -> None:
    """Errors of targets; in other formats than text they are part of the value."""
    if output.FORMAT.get() is output.Format.text:
        for error in errors:
            output.show_error(error)


def exit_code(results: Iterable[TargetResult]) -> int:
    """The most serious of the targets' exit codes; a plan that was turned down failed."""
    results = list(results)
    errors = [result.error.exit_code for result in results if result.error]
    turned_down = any(result.status == "skipped" for result in results)
    return most_serious(errors or [int(turned_down)])


def most_serious(codes: Iterable[int]) -> int:
    found = set(codes)
    return next((code for code in _SERIOUSNESS if code in found), 0)
