"""A plan that was reviewed: made into a document, and compared with what is so by now.

What counts: the bundle, the environment and its targets, each target's cluster or folder, the time,
the action of every object, and of those that are touched who they are (UID), how they stand
(`state_of`) and which fields would change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bundler.deploy.apply import uid_of
from bundler.deploy.field_changes import state_of
from bundler.deploy.preview import Preview, reason_of
from bundler.errors import PlanChanged
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Change, Plan
from bundler.model.connection import Identity
from bundler.model.finding import Finding
from bundler.model.frozen_plan import FrozenPlan, PlannedObject, PlannedTarget
from bundler.model.objects import ObjectRef

_AGAIN = "make a new plan, and look at it"
_SAME_FLAGS = "name --delete and --no-prune as for the plan, or make a new one"
_TOUCHED = ("created", "configured", "deleted")


class Previewed(NamedTuple):
    """A preview, and which cluster or folder it is of."""

    preview: Preview
    identity: Identity


class Place(NamedTuple):
    """Where a target is, and where there its state is kept."""

    target: str
    identity: Identity
    state_namespace: str


def freeze(
    bundle: VerifiedBundle,
    environment: str,
    previews: Iterable[Previewed],
    *,
    made_at: str,
    good_until: str,
) -> FrozenPlan:
    """The document of previews without errors. No value of a Secret is in it."""
    return FrozenPlan(
        str(bundle.release.value["tag"]),
        str(bundle.digest),
        environment,
        bundle.image_registry,
        made_at,
        good_until,
        tuple(
            PlannedTarget(
                preview.target,
                identity,
                preview.state_namespace,
                preview.plan.replaces,
                _objects(preview.plan),
            )
            for preview, identity in previews
            if preview.plan
        ),
    )


def _objects(plan: Plan) -> tuple[PlannedObject, ...]:
    return tuple(map(_object, plan.changes))


def _object(change: Change) -> PlannedObject:
    planned = PlannedObject(
        change.ref, change.action, change.recreate, reason_of(change), fields=change.fields
    )
    if change.live is None or change.action not in _TOUCHED:
        return planned
    return replace(
        planned,
        uid=uid_of(change.live) or None,
        resource_version=change.live["metadata"].get("resourceVersion"),
        state=str(state_of(change.live)),
    )


class ReviewedPlan:
    """The plan that somebody agreed to; each check raises PlanChanged with all differences."""

    def __init__(self, plan: FrozenPlan, clock: Callable[[], str]) -> None:
        self._plan = plan
        self._targets = {each.target: each for each in plan.targets}
        self._clock = clock

    def check_bundle(
        self, bundle: VerifiedBundle, environment: str, targets: Sequence[str]
    ) -> None:
        """Before any target is asked."""
        now = FrozenPlan(
            str(bundle.release.value["tag"]), str(bundle.digest), environment,
            bundle.image_registry, "", "", (),
        )  # fmt: skip
        _raise([*self._outdated(), *self._about(now), *self._other_targets(targets)])

    def check_places(self, places: Iterable[Place]) -> None:
        """Where the connections lead, before any plan is made."""
        environment = self._plan.environment
        _raise(
            [
                finding
                for place in places
                for finding in _other_place(environment, self._targets[place.target], place)
            ]
        )

    def check_targets(self, previews: Iterable[Preview]) -> None:
        """All targets, before the first is changed. Raises a preview's own error, too."""
        found = list(previews)
        _raise([each for preview in found if preview.plan for each in self._changed(preview.plan)])
        for preview in found:
            if preview.error:
                raise preview.error

    def check(self, plan: Plan, made: Collection[ObjectRef]) -> None:
        """A plan as it was just made for one of the targets, but for what we made meanwhile."""
        _raise([*self._outdated(), *self._changed(plan, made)])

    def _outdated(self) -> Iterator[Finding]:
        if self._clock() > self._plan.good_until:
            yield Finding(
                "plan-outdated", f"the plan was good until {self._plan.good_until}", hint=_AGAIN
            )

    def _about(self, now: FrozenPlan) -> Iterator[Finding]:
        plan = self._plan
        if plan.digest != now.digest:
            yield Finding(
                "plan-bundle",
                f"the plan is for {plan.release} ({plan.digest}), not for {now.release} "
                f"({now.digest})",
                hint=f"apply @{plan.digest}, or make a new plan",
            )
        if plan.environment != now.environment:
            yield Finding(
                "plan-environment",
                f"the plan is for {plan.environment}, not for {now.environment}",
                hint=f"--env {plan.environment}, or make a new plan",
            )
        if plan.image_registry != now.image_registry:
            yield Finding(
                "plan-image-registry",
                f"the plan has {_images(plan)}, not {_images(now)}",
                hint="name the same --image-registry, or make a new plan",
            )

    def _other_targets(self, targets: Sequence[str]) -> Iterator[Finding]:
        for target in sorted(self._targets.keys() - set(targets)):
            yield Finding(
                "plan-targets",
                f"the plan has target {target}, which is not to be applied to",
                hint="name the same targets as in the plan",
            )
        for target in sorted(set(targets) - self._targets.keys()):
            yield Finding(
                "plan-targets",
                f"the plan does not have target {target}",
                hint="name the same targets as in the plan (--target), or make a new plan",
            )

    def _changed(self, plan: Plan, made: Collection[ObjectRef] = ()) -> Iterator[Finding]:
        if plan.is_empty:  # it was applied already: a job that is repeated has nothing to do
            return
        place = f"{plan.environment}/{plan.target}"
        both = (self._targets[plan.target].objects, _objects(plan))
        reviewed, now = (
            {each.ref: each for each in objects if each.ref not in made} for objects in both
        )
        yield from _differences(place, reviewed, now)


def _images(plan: FrozenPlan) -> str:
    return f"images from {plan.image_registry}" if plan.image_registry else "the release's images"


def _other_place(environment: str, reviewed: PlannedTarget, now: Place) -> Iterator[Finding]:
    place = f"{environment}/{reviewed.target}"
    if reviewed.identity != now.identity:
        yield Finding(
            "plan-place",
            f"the plan is for {reviewed.identity}, the connection leads to {now.identity}",
            environment=place,
            hint="correct the connection, or make a new plan",
        )
    if reviewed.state_namespace != now.state_namespace:
        yield Finding(
            "plan-state-namespace",
            f"the plan keeps its state in {reviewed.state_namespace}, not {now.state_namespace}",
            environment=place,
            hint="name the same --state-namespace, or make a new plan",
        )


def _differences(
    place: str,
    reviewed: Mapping[ObjectRef, PlannedObject],
    now: Mapping[ObjectRef, PlannedObject],
) -> Iterator[Finding]:
    for ref in sorted(reviewed.keys() | now.keys()):
        before, after = reviewed.get(ref), now.get(ref)
        rule, message = _difference(before, after) or ("", "")
        if rule:
            actions = {each.action for each in (before, after) if each}
            hint = _SAME_FLAGS if actions == {"deleted", "skipped"} else _AGAIN
            yield Finding(rule, message, object=str(ref), environment=place, hint=hint)


def _difference(
    reviewed: PlannedObject | None, now: PlannedObject | None
) -> tuple[str, str] | None:
    """The rule and what is the matter, the first that tells all; None where nothing is."""
    if reviewed is None or now is None or _what(reviewed) != _what(now):
        was = _what(reviewed) if reviewed else "not in the plan"
        return "plan-action", f"was {was}, would be {_what(now) if now else 'left alone'} now"
    if reviewed.uid != now.uid:
        return "plan-object", "is another object by now: somebody made it anew"
    if reviewed.state != now.state:
        return "plan-object", "was changed by somebody since the plan was made"
    paths = [{field.path for field in each.fields} for each in (reviewed, now)]
    if paths[0] != paths[1]:
        others = ", ".join(sorted(paths[0] ^ paths[1]))
        return "plan-fields", f"other fields than in the plan would change: {others}"
    return None


def _what(planned: PlannedObject) -> str:
    return f"{planned.action} anew" if planned.recreate else planned.action


def _raise(findings: Sequence[Finding]) -> None:
    if not findings:
        return
    is_one = len(findings) == 1
    raise PlanChanged(
        f"the plan does not hold any more: {findings[0] if is_one else f'{len(findings)} reasons'}",
        hint="nothing was changed; make a new plan with bundler plan --out",
        findings=findings,
    )
