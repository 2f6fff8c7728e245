"""Plans, applies and revisions, as values (docs/results.md) and as lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bundler.cli import output
from bundler.cli.output import coloured, error_value, printable
from bundler.deploy.preview import Preview
from bundler.deploy.progress import Progress
from bundler.deploy.result import TargetResult
from bundler.errors import BundlerError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import ChangeSet, Plan
from bundler.model.objects import ObjectRef

if TYPE_CHECKING:
    from bundler.deploy.preview import Preview

_SERIOUSNESS = (5, 4, 1, 6, 2, 3, 0)
_COLOURS = {"created": "green", "configured": "yellow", "deleted": "red", "skipped": "dim"}


# --- apply --------------------------------------------------------------------------------------


def note_plan(plan: Plan, tag: str) -> None:
    """The plan, without what stays as it is."""
    step = f"{plan.replaces} → {tag}" if plan.replaces else f"{tag}, the first"
    place = f"{plan.environment}/{plan.target}"
    for line in plan_lines(place, step, ChangeSet(plan.changes), coloured):
        output.note(line)
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
            reason = f" ({printable(change.reason)})" if change.reason else ""
            action = paint(f"{change.action:<10}", _COLOURS[change.action])
            yield f"  {action} {printable(str(change.ref))}{reason}"


def counted(counts: Mapping[Any, int]) -> str:
    shown = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
    return shown or "no changes"


class ProgressLines:
    """A line for each change, and for whatever is waited for until it is ready."""

    def __init__(self) -> None:
        self._waited_for: set[ObjectRef] = set()

    def __call__(self, progress: Progress) -> None:
        if progress.word == "waiting":
            self._waited_for.add(progress.ref)
        elif progress.word == "unchanged" or (
            progress.word == "ready" and progress.ref not in self._waited_for
        ):
            return
        output.note(f"  {printable(str(progress))}")


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
        "targets": [
            result.as_dict() | {"error": error_value(result.error) if result.error else None}
            for result in results
        ],
    }


def apply_lines(
    bundle: VerifiedBundle, environment: str, results: Iterable[TargetResult]
) -> Iterator[str]:
    tag = str(bundle.release.value["tag"])
    for result in results:
        place = f"{environment}/{result.target}"
        if result.status == "planned":
            yield from plan_lines(place, tag, result.changes)
            continue
        numbered = f", revision {result.revision}" if result.revision else ""
        seconds = f" in {result.seconds:.1f} s" if result.seconds is not None else ""
        outcome = "not applied" if result.status == "skipped" else result.status
        ready = f" and {result.outcome}" if result.status == "succeeded" else ""
        changes = counted(result.changes.counts())
        yield f"{place}: {tag} {outcome}{ready}{numbered}: {changes}{seconds}"
        if result.not_started:
            yield f"  not started: {', '.join(str(change.ref) for change in result.not_started)}"


def note_errors(results: Iterable[TargetResult | Preview]) -> None:
    note_all(result.error for result in results if result.error)


def note_all(errors: Iterable[BundlerError]) -> None:
    """Errors of targets; in other formats than text they are part of the value."""
    if output.FORMAT.get() is output.Format.text:
        for error in errors:
            output.show_error(error)


def exit_code(results: Iterable[TargetResult]) -> int:
    """The most serious of the targets' exit codes; a plan that was turned down failed."""
    return most_serious(
        result.error.exit_code if result.error else int(result.status == "skipped")
        for result in results
    )


def most_serious(codes: Iterable[int]) -> int:
    found = set(codes)
    return next((code for code in _SERIOUSNESS if code in found), 0)
