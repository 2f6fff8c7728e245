"""A command over several targets of an environment: in which order, and how that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, cast

import typer

from bundler.cli import deployments, output
from bundler.deploy.result import Runner, TargetResult
from bundler.deploy.targets import Act, Order, over_targets
from bundler.errors import UsageError
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.connection import Destination

AtOnce = Annotated[
    int,
    typer.Option(
        "--at-once",
        envvar="BUNDLER_AT_ONCE",
        min=1,
        max=64,
        metavar="N",
        help="How many targets are under way together.",
    ),
]
Canary = Annotated[
    list[str] | None,
    typer.Option(
        "--canary",
        metavar="TARGET",
        help="Comes first and alone; where it fails the others do not begin. May be repeated.",
    ),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Go on with other targets when one has failed.")
]


@dataclass(frozen=True)
class Consent:
    """Whether plans may be carried out: asked once, for all targets."""

    show: Callable[[Plan], None]
    is_given: bool
    """By a flag, so that nobody is asked."""
    question: str
    """Such as `Apply`."""

    def __call__(self, plans: Sequence[Plan]) -> bool:
        for plan in plans:
            self.show(plan)
        if self.is_given or all(plan.is_empty for plan in plans):
            return True
        where = f" in {len(plans)} targets" if len(plans) > 1 else ""
        return typer.confirm(f"{self.question}{where}?", err=True)

    def again(self, plan: Plan) -> bool:
        """Whether a plan that has changed since may be carried out, without asking."""
        self.show(plan)
        return self.is_given or plan.is_empty


def consent(question: str, tag: str, *, is_agreed: bool, dry_run: bool) -> Consent:
    """To bringing targets to a release. A dry run's result shows the plan itself."""
    show = deployments.note_warnings if dry_run else partial(deployments.note_plan, tag=tag)
    return Consent(show, is_agreed or dry_run, question)


def order(
    bundle: VerifiedBundle,
    destinations: Sequence[Destination],
    at_once: int,
    canaries: Sequence[str],
    keep_going: bool,
) -> Order:
    """The release's canaries, and those that were named. Raises UsageError for unknown ones."""
    names = [destination.target for destination in destinations]
    if unknown := sorted(set(canaries) - set(names)):
        raise UsageError(
            f"--canary {unknown[0]}: it is no target of this command",
            hint=f"they are {', '.join(names)}",
        )
    declared = declared_canaries(bundle, destinations[0].environment).intersection(names)
    return Order(at_once, declared.union(canaries), keep_going)


def declared_canaries(bundle: VerifiedBundle, environment: str) -> frozenset[str]:
    """The targets of an environment that come first, as the release says."""
    release = cast("Mapping[str, Any]", bundle.release.value)
    targets = release["environments"][environment]["targets"]
    return frozenset(name for name, target in targets.items() if target.get("canary"))


def over(
    destinations: Sequence[Destination],
    act: Act,
    runner: Runner,
    consent: Callable[[Sequence[Plan]], bool],
    order: Order,
    tag: str,
) -> list[TargetResult]:
    """`over_targets`, telling of several targets which one each line is of."""
    environment = destinations[0].environment

    def runner_of(target: str) -> Runner:
        if len(destinations) == 1:
            return runner
        return replace(runner, on_progress=deployments.ProgressLines(f"{environment}/{target}"))

    def tell(result: TargetResult) -> None:
        output.note(deployments.result_line(tag, environment, result))

    names = [destination.target for destination in destinations]
    return over_targets(names, act, runner_of, consent, order, tell)
