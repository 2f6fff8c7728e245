"""Several targets of one environment: all plans, one question, then waves over the targets.

Each target has a thread that runs the same flow as if it were alone. The flow stops where it shows
its plan until every target has come that far and somebody has agreed. Then the canaries go on, one
after the other, and the rest of them, so many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread

from bundler.deploy.progress import Progress
from bundler.deploy.result import Runner, TargetResult
from bundler.errors import BundlerError, PlanChanged
from bundler.model.changeset import Plan

_GRACE = 2.0
"""Seconds that an interruption waits for targets in which nothing was changed yet."""
_STEP = 0.5

Act = Callable[[str, Runner], TargetResult]
"""Runs a flow in one target. It shows its plan (`Runner.on_plan`) before it changes anything."""


@dataclass(frozen=True)
class Order:
    """Which targets come first, how many are under way together, and what a failure stops."""

    at_once: int = 1
    canaries: frozenset[str] = frozenset()
    """Alone and before the others, which do not begin where one of these fails."""
    keep_going: bool = False
    """Whether the others begin although a target failed that is no canary."""


def over_targets(
    names: Sequence[str],
    act: Act,
    runner_of: Callable[[str], Runner],
    agreed: Callable[[Sequence[Plan]], bool],
    order: Order,
    on_end: Callable[[TargetResult], None] = lambda _: None,
) -> list[TargetResult]:
    """Act on all targets; the results in the targets' order. Errors are part of them.

    `agreed` is asked once, with the plans of all targets; where a plan is another when its turn
    comes, the target's own `Runner.on_plan` is asked, and no is PlanChanged. A target that
    fails lets those that are under way go on to their end; those not begun are `skipped`.
    What interrupts the caller interrupts every target, and is raised when all have recorded it.
    """
    if len(names) == 1:
        runner = replace(runner_of(names[0]), on_plan=lambda plan: agreed([plan]))
        return [act(names[0], runner)]
    changed = Condition()
    turns = [_Turn(name, act, runner_of(name), changed, on_end) for name in names]
    try:
        _each(turns, changed, _Turn.start, _Turn.is_planned, order.at_once, past_failures=True)
        if _may_change(turns, agreed, order):
            _in_waves(turns, changed, order)
        _end(turns, changed)
    except BaseException:
        _interrupt(turns, changed)
        raise
    return [turn.ended() for turn in turns]


def _may_change(
    turns: Sequence[_Turn], agreed: Callable[[Sequence[Plan]], bool], order: Order
) -> bool:
    """Whether anything is changed at all: not where a target could not even be planned."""
    failed = [turn for turn in turns if turn.has_failed()]
    if any(not order.keep_going or turn.name in order.canaries for turn in failed):
        return False
    plans = [turn.plan for turn in turns if turn.plan and turn not in failed]
    return bool(plans) and agreed(plans)


def _in_waves(turns: Sequence[_Turn], changed: Condition, order: Order) -> None:
    waiting = [turn for turn in turns if not turn.is_over()]
    canaries = [turn for turn in waiting if turn.name in order.canaries]
    others = [turn for turn in waiting if turn not in canaries]
    _each(canaries, changed, _Turn.go, _Turn.is_over, 1)
    if not any(turn.has_failed() for turn in canaries):
        _each(
            others, changed, _Turn.go, _Turn.is_over, order.at_once, past_failures=order.keep_going
        )


def _each(
    turns: Iterable[_Turn],
    changed: Condition,
    begin: Callable[[_Turn], None],
    is_over: Callable[[_Turn], bool],
    at_once: int,
    *,
    past_failures: bool = False,
) -> None:
    """Begin one after the other, and return when all that began are over."""
    begun: list[_Turn] = []
    with changed:
        for turn in turns:
            _until(changed, lambda: sum(not is_over(each) for each in begun) < at_once)
            if not past_failures and any(each.has_failed() for each in begun):
                break
            begin(turn)
            begun.append(turn)
        _until(changed, lambda: all(map(is_over, begun)))


def _end(turns: Sequence[_Turn], changed: Condition) -> None:
    """Nothing begins any more."""
    with changed:
        for turn in turns:
            turn.stay()
        _until(changed, lambda: all(turn.is_over() for turn in turns))


def _until(changed: Condition, is_so: Callable[[], bool]) -> None:
    """Wait, in steps: a signal that comes as a wait begins is heard when it ends only."""
    while not changed.wait_for(is_so, _STEP):
        pass


def _interrupt(turns: Sequence[_Turn], changed: Condition) -> None:
    """Return when every target under way has recorded that it was interrupted."""
    with changed:
        sent = [turn for turn in turns if turn.goes_on]
        for turn in turns:
            turn.interrupt()
        changed.wait_for(lambda: all(turn.is_over() for turn in sent), _GRACE)
        _until(changed, lambda: all(turn.is_over() for turn in sent if turn.is_under_way))


class _Turn:
    """One target: planned, waiting for its turn, under way, over.

    What is said of it is read and changed while `changed` is held.
    """

    def __init__(
        self,
        name: str,
        act: Act,
        runner: Runner,
        changed: Condition,
        on_end: Callable[[TargetResult], None],
    ) -> None:
        self.name = name
        self.plan: Plan | None = None
        self.goes_on: bool | None = None
        """Whether it is to change anything; None while nobody has said."""
        self.is_under_way = False
        """Whether it may have the lock, or have changed something."""
        self._act = act
        self._runner = runner
        self._changed = changed
        self._on_end = on_end
        self._is_interrupted = False
        self._result: TargetResult | None = None
        self._raised: BaseException | None = None

    # --- as the others see it -------------------------------------------------------------------

    def start(self) -> None:
        Thread(target=self._run, name=self.name, daemon=True).start()

    def go(self) -> None:
        self._decide(True)

    def stay(self) -> None:
        """Change nothing, unless it is under way."""
        self._decide(False)

    def interrupt(self) -> None:
        self._is_interrupted = bool(self.goes_on) or self.plan is None
        self._decide(False)

    def is_planned(self) -> bool:
        return self.plan is not None or self.is_over()

    def is_over(self) -> bool:
        return self._result is not None or self._raised is not None

    def has_failed(self) -> bool:
        return self._raised is not None or (self._result is not None and bool(self._result.error))

    def ended(self) -> TargetResult:
        """Its result. Raises what is no error of the target."""
        if self._result is None:
            raise self._raised or AssertionError(f"{self.name} is not over")
        return self._result

    def _decide(self, goes_on: bool) -> None:
        if self.goes_on is None:
            self.goes_on = goes_on
            self._changed.notify_all()

    # --- in its own thread ----------------------------------------------------------------------

    def _run(self) -> None:
        result: TargetResult | None = None
        raised: BaseException | None = None
        try:
            result = self._act(self.name, self._watched())
            self._on_end(result)
        except BundlerError as error:
            result = TargetResult(self.name, "failed", outcome=error.message, error=error)
        except KeyboardInterrupt as error:
            raised = error
            self._on_end(TargetResult(self.name, "interrupted"))
        except BaseException as error:  # told to whoever started it
            raised = error
        with self._changed:
            self._result, self._raised = (None, raised) if raised else (result, None)
            self._changed.notify_all()

    def _watched(self) -> Runner:
        """A runner whose calls are where an interruption gets hold of this thread."""

        def monotonic() -> float:
            self._go_on()
            return self._runner.monotonic()

        def on_progress(progress: Progress) -> None:
            self._runner.on_progress(progress)
            self._go_on()

        return replace(
            self._runner, on_plan=self._shown, monotonic=monotonic, on_progress=on_progress
        )

    def _shown(self, plan: Plan) -> bool:
        with self._changed:
            if self.plan is None:
                self.plan = plan
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.goes_on is not None)
                return bool(self.goes_on)
        if not self._runner.on_plan(plan):
            raise PlanChanged(
                f"{plan.environment}/{plan.target}: the plan is not the one that was agreed to",
                hint="nothing was changed there; run it again and look at the new plan",
            )
        return True

    def _go_on(self) -> None:
        """Raises KeyboardInterrupt, once: what records it asks for the time as well."""
        with self._changed:
            if self._is_interrupted:
                self._is_interrupted = False
                raise KeyboardInterrupt
            self.is_under_way = self.is_under_way or bool(self.goes_on)
