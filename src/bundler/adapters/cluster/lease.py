"""A target's lock: a Lease that its holder renews, and that others may take when he does not.

Whether a lease has expired is judged by the waiter's own clock since its renewTime last changed:
the clocks of two machines need not agree (as in client-go's leader election).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from bundler.adapters.cluster.connection import Answer, KubernetesConnection, path_of
from bundler.adapters.cluster.errors import refusal
from bundler.errors import BundlerError, Locked, Unreachable
from bundler.ports import Holder

LEASE_SECONDS = 30
RENEW_SECONDS = 5.0
_REQUEST_SECONDS = 10.0
"""How long a request may be on its way before the server acts on it."""
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
"""How long an interrupted command waits for the answers to what it has sent."""


def _running_clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class KubernetesLease:
    """One holder's view of one Lease."""

    def __init__(
        self,
        connection: KubernetesConnection,
        *,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        timeout: float = 0.0,
        duration: int | None = None,
        clock: Callable[[], float] = _running_clock,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._collection = path_of(
            "apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases"
        )
        self._path = f"{self._collection}/{name}"
        self._place = f"{namespace}/{name}"
        self._metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
        self._timeout = timeout
        self._duration = duration or LEASE_SECONDS
        self._clock = clock
        self._tell = tell
        self._renewed_at: float | None = None
        """When the request was sent that last renewed the lease; None while it is not held."""
        self._taken_by: str | None = None
        """Who took it from us."""
        self._is_given_back = False
        """A thread that was left alone by an interruption may still be about to send."""

    def check(self) -> None:
        """Raise Locked where the lease was held and may belong to somebody else by now."""
        if self._is_given_back:
            raise self._lost("it was given back")
        if self._taken_by is not None:
            raise self._lost(f"{self._taken_by} has it")
        renewed_at = self._renewed_at
        if renewed_at is not None:
            age = self._clock() - renewed_at
            if age > self._duration - min(_REQUEST_SECONDS, self._duration / 3):
                raise self._lost(f"it could not be renewed for {age:.0f} s")

    def _lost(self, why: str) -> Locked:
        return Locked(
            f"lost the lock {self._place}: {why}", hint="apply again; it goes on where it stopped"
        )

    @contextmanager
    def held(self, holder: str) -> Iterator[None]:
        try:
            lease = self._acquire(holder)
        except (Unreachable, KeyboardInterrupt, SystemExit):
            self._release(holder)  # it may be ours without our knowing
            raise
        stop = threading.Event()
        renewer = _Renewer(self, lease, stop)
        try:
            renewer.start()
            yield
        finally:
            stop.set()
            try:
                if renewer.ident is not None:
                    renewer.join()
                self._release(holder)
            except (KeyboardInterrupt, SystemExit):
                self._release(holder)
                raise

    def locked_by(self) -> Holder | None:
        spec = (self._read() or {}).get("spec") or {}
        if not spec.get("holderIdentity"):
            return None
        since, renewed = spec.get("acquireTime"), spec.get("renewTime")
        return Holder(spec["holderIdentity"], str(since or ""), str(renewed or ""))

    # --- taking ---------------------------------------------------------------------------------

    def _acquire(self, holder: str) -> Mapping[str, Any]:
        """Take the lease when it is free, or when its holder has not renewed it for too long.

        Nobody can say at first sight whether a holder is alive, so his next renewal is waited
        for, whatever the timeout; with it the timeout counts. So it does for a lease that says
        of itself that it is for longer than ours.
        """
        started = seen_at = self._clock()
        seen: tuple[Any, ...] | None = None
        is_alive = False
        while True:
            lease = self._read()
            spec = (lease or {}).get("spec") or {}
            other, now = spec.get("holderIdentity"), self._clock()
            mark = (other, spec.get("acquireTime"), spec.get("renewTime"))
            if mark != seen:
                is_alive = seen is not None
                if other and not is_alive:
                    self._tell(
                        f"{self._place} is locked by {other}: waiting up to "
                        f"{self._duration:.0f} s to see whether that one is still at work"
                    )
                seen, seen_at = mark, now
            duration = float(spec.get("leaseDurationSeconds") or self._duration)
            if not other or now - seen_at >= duration:
                if taken := self._take(lease, holder):
                    return taken
                continue
            patience = self._timeout if is_alive else max(self._timeout, self._duration)
            if now - started >= patience:
                raise Locked(
                    f"{self._place} is locked by {other} since {spec.get('acquireTime')}",
                    hint="wait until it is done, or give --lock-timeout",
                )
            time.sleep(_POLL_SECONDS)

    def _read(self) -> Mapping[str, Any] | None:
        answer = self._connection.request("GET", self._path)
        if answer.status == 404:
            return None
        if not answer.is_ok:
            raise refusal(answer, f"lock {self._place}")
        return answer.document

    def _take(self, lease: Mapping[str, Any] | None, holder: str) -> Mapping[str, Any] | None:
        """The lease as it is now ours; None where somebody else was faster."""
        now = _timestamp()
        transitions = ((lease or {}).get("spec") or {}).get("leaseTransitions", -1) + 1
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._duration,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        sent_at = self._clock()
        answer = self._write(lease, spec)
        if answer.is_ok:
            self._hold_since(sent_at)
            return answer.document
        is_removed = answer.status == 404 and lease is not None
        if answer.status != 409 and not is_removed:
            raise refusal(answer, f"lock {self._place}")
        current = self._read()  # 409 also answers a request that was sent twice
        if current and current["spec"].get("holderIdentity") == holder:
            self._hold_since(sent_at)
            return current
        return None

    def _hold_since(self, moment: float) -> None:
        self._renewed_at, self._taken_by, self._is_given_back = moment, None, False

    def _write(
        self, lease: Mapping[str, Any] | None, spec: Mapping[str, Any], *, attempts: int = 3
    ) -> Answer:
        metadata = dict(self._metadata)
        method, path = "POST", self._collection
        if lease is not None:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
            method, path = "PUT", self._path
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        return self._connection.request(
            method, path, body=body, attempts=attempts, seconds=_REQUEST_SECONDS
        )

    # --- keeping --------------------------------------------------------------------------------

    def renew(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        """The renewed lease; the old one where the server cannot be asked or says no.

        Either may pass: `check` decides by the time since the last renewal.
        """
        sent_at = self._clock()
        with suppress(BundlerError):
            answer = self._write(lease, {**lease["spec"], "renewTime": _timestamp()}, attempts=1)
            if answer.is_ok:
                self._renewed_at = sent_at
                return answer.document
            if answer.status in (404, 409):
                current = self._read()
                other = ((current or {}).get("spec") or {}).get("holderIdentity")
                if current and other == lease["spec"]["holderIdentity"]:
                    return current
                self._taken_by = other or "nobody"
        return lease

    @property
    def is_taken(self) -> bool:
        return self._taken_by is not None

    def _release(self, holder: str) -> None:
        """Give it up; where that fails it expires by itself.

        So it does where a request was sent that has no answer: it may be late.
        """
        self._is_given_back = True
        self._renewed_at = self._taken_by = None
        if not self._connection.is_answered(self.check, within=_ANSWER_SECONDS):
            return
        with suppress(BundlerError):
            lease = self._read()
            if lease and lease["spec"].get("holderIdentity") == holder:
                self._write(lease, {**lease["spec"], "holderIdentity": ""})


class _Renewer(threading.Thread):
    """Renews a lease until it is stopped or the lease is lost."""

    def __init__(self, owner: KubernetesLease, lease: Mapping[str, Any], stop: threading.Event):
        super().__init__(name="lease", daemon=True)
        self._owner = owner
        self._stop_requested = stop
        self.lease = lease
        self._pause = RENEW_SECONDS * lease["spec"]["leaseDurationSeconds"] / LEASE_SECONDS

    def run(self) -> None:
        pause = self._pause
        while not self._stop_requested.wait(pause) and not self._owner.is_taken:
            renewed = self._owner.renew(self.lease)
            pause = self._pause if renewed is not self.lease else self._pause / 5
            self.lease = renewed


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
