"""What is wrong with a pod, by its containers and the warnings about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bundler.deploy.limits import FOREVER, Limits
from bundler.deploy.readiness import condition, told
from bundler.deploy.surroundings import Surroundings, event_words, is_ready
from bundler.model.objects import KubernetesObject, ObjectRef

_PULLING = frozenset(
    {
        "ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff",
        "RegistryUnavailable", "SignatureValidationFailed",
    }
)  # fmt: skip
_MAKING = frozenset(
    {
        "CreateContainerConfigError", "CreateContainerError", "CreatePodSandboxError",
        "PostStartHookError", "RunContainerError",
    }
)  # fmt: skip
_STARTING = frozenset({"ContainerCannotRun", "CreateContainerError", "StartError"})
"""Why a container ended that never ran: what is said then is no program's own output."""
_ABSENT = ("not found", "notfound", "manifest unknown", "no such image", "does not exist")
_AWAY = (
    "connection refused", "connection reset", "deadline exceeded", "i/o timeout",
    "handshake timeout", "no route to host", "network is unreachable", "server misbehaving",
    "too many requests", "toomanyrequests", "internal server error", "bad gateway",
    "service unavailable",
)  # fmt: skip
_DENIED = ("denied", "unauthorized", "forbidden", "authentication required", "no basic auth")


class Log(NamedTuple):
    """Whose last lines may say more."""

    pod: ObjectRef
    container: str
    previous: bool
    """Whether it is the container's former run that failed."""


class Trouble(NamedTuple):
    """Something that is wrong now; it has failed for good when `sort` lasts for `patience`."""

    sort: str
    message: str
    patience: float = FOREVER
    log: Log | None = None


class Container(NamedTuple):
    pod: KubernetesObject
    status: Mapping[str, Any]
    is_init: bool

    def __str__(self) -> str:
        word = "init container" if self.is_init else "container"
        return f"{ObjectRef.of(self.pod)}, {word} {self.status.get('name')}"

    @property
    def restarts(self) -> int:
        return int(self.status.get("restartCount") or 0)

    @property
    def waiting(self) -> Mapping[str, Any]:
        return self._state("state", "waiting")

    @property
    def ended(self) -> Mapping[str, Any]:
        """How it ended last; empty where it never did, or well."""
        ended = self._state("state", "terminated") or self._state("lastState", "terminated")
        is_over = self.is_init or self.status.get("state", {}).get("terminated")
        return {} if is_over and ended.get("exitCode") == 0 else ended

    @property
    def log(self) -> Log:
        is_running = bool(self._state("state", "running"))
        previous = is_running and bool(self._state("lastState", "terminated"))
        return Log(ObjectRef.of(self.pod), str(self.status.get("name")), previous)

    def _state(self, which: str, sort: str) -> Mapping[str, Any]:
        return (self.status.get(which) or {}).get(sort) or {}


def containers(pod: KubernetesObject) -> Iterator[Container]:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(key) or ():
            yield Container(pod, each, key.startswith("init"))


def pod_troubles(pod: KubernetesObject, around: Surroundings, limits: Limits) -> Iterator[Trouble]:
    """What is wrong with a pod that is not ready, the worst first."""
    if is_ready(pod):
        return
    for container in containers(pod):
        yield from _not_started(container, around, limits)
    for container in containers(pod):
        if container.ended:
            yield Trouble("ended", crash_words(container, around), log=container.log)
    place, status = ObjectRef.of(pod), pod.get("status") or {}
    if status.get("reason"):  # Evicted, NodeLost, OutOfcpu…
        yield Trouble("pod", f"{place}: {told(status)}")
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        yield Trouble("unscheduled", f"{place}: {told(scheduled)}")
    elif warnings := around.warnings(pod):
        yield _warned(pod, warnings[-1])


def crash_words(container: Container, around: Surroundings) -> str:
    restarts = container.restarts
    words = (
        f"{container}: restarted {restarts} time{'s' if restarts > 1 else ''}"
        if restarts
        else str(container),
        exit_words(container.ended) if container.ended else "",
        told(container.waiting) if container.waiting else "",
        around.last_warning(container.pod),
    )
    return "; ".join(part for part in words if part)


def exit_words(ended: Mapping[str, Any]) -> str:
    """An exit code with the signal and the reason that it stands for."""
    code, reason = int(ended.get("exitCode") or 0), str(ended.get("reason") or "")
    signal = ended.get("signal") or (code - 128 if 128 < code <= 192 else 0)
    words = [f"signal {signal}"] if signal else []
    if reason in _STARTING:
        words.append(told(ended))
    elif reason not in ("", "Error", "Completed"):
        words.append(reason)
    return f"exit code {code}" + (f" ({', '.join(words)})" if words else "")


def _not_started(container: Container, around: Surroundings, limits: Limits) -> Iterator[Trouble]:
    waiting = container.waiting
    reason = waiting.get("reason")
    warning = around.last_warning(container.pod)
    words = "; ".join(part for part in (told(waiting), warning) if part)
    if reason == "InvalidImageName":
        yield Trouble("image-name", f"{container}: {words}", 0.0)
    elif reason in _PULLING:
        why = _pull_failure(waiting, around.warnings(container.pod))
        is_away = why == "its registry cannot be reached"
        yield Trouble(
            "registry" if is_away else "image",
            f"{container}: {why}: {words}",
            FOREVER if is_away else limits.image,
        )
    elif reason in _MAKING:
        yield Trouble("container", f"{container}: {words}")


def _pull_failure(waiting: Mapping[str, Any], warnings: list[KubernetesObject]) -> str:
    """Why an image does not come; while the kubelet backs off, only its events may say so."""
    pulls = [text for text in map(event_words, warnings) if "pull" in text]
    said = " ".join([str(waiting.get("message") or ""), *pulls]).lower()
    if any(word in said for word in _ABSENT):
        return "image not found"
    if any(word in said for word in _AWAY):
        return "its registry cannot be reached"
    if any(word in said for word in _DENIED):
        return "its registry does not let the node pull it"
    return "its image cannot be pulled"


def _warned(pod: KubernetesObject, event: KubernetesObject) -> Trouble:
    """An event, and the container that it is about, as probes have it."""
    path = str((event.get("involvedObject") or event.get("regarding") or {}).get("fieldPath") or "")
    name = path.partition("{")[2].rstrip("}")
    found = [each for each in containers(pod) if each.status.get("name") == name]
    unready = [each for each in containers(pod) if not each.status.get("ready")]
    container = next(iter(found or unready), None)
    place = str(container) if found else str(ObjectRef.of(pod))
    log = container.log if container and container.status.get("started") else None
    return Trouble("warning", f"{place}: event {event_words(event)}", log=log)
