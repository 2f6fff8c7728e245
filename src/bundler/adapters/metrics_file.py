"""Metrics of a run in the text format of Prometheus, for node_exporter's textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bundler.adapters.files import write_file
from bundler.errors import UsageError

_ENDS = {"success", "unchanged", "failure", "interrupted", "refused"}
_GOOD = {"success", "unchanged"}
_FAMILIES = {
    "bundler_apply_success": "Whether the last run ended well.",
    "bundler_apply_timestamp_seconds": "When the last run ended.",
    "bundler_apply_duration_seconds": "How long the last run took from its first change.",
    "bundler_apply_objects": "Objects by what the last run did with them.",
    "bundler_apply_info": "The release of the last run, and how it ended.",
}


class MetricsFile:
    """Remembers how each target's run ended; `close` replaces the file, whole.

    Never raises once it is made; `tell` gets a failure.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Raises UsageError where the file cannot be in that folder."""
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(
                f"{path}: metrics cannot be written there", hint="name a file in a folder that is"
            )
        self._path = path
        self._tell = tell
        self._began: dict[tuple[str, ...], float] = {}
        self._ended: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def __call__(self, event: Mapping[str, Any]) -> None:
        target = tuple(event[key] for key in ("project", "environment", "target"))
        if event["event"] in ("start", "rollback"):
            self._began.setdefault(target, _seconds(event["at"]))
        if event["event"] in _ENDS:
            failed = self._ended.get(target)
            # That the former release was restored does not make a success of the one that failed.
            self._ended[target] = {**event, **_restored(failed)} if failed else event

    def close(self) -> None:
        if not self._ended:
            return
        try:
            write_file(self._path, "".join(f"{line}\n" for line in self._lines()).encode())
            self._path.chmod(0o644)
        except (UsageError, OSError) as error:
            self._tell(f"{self._path}: metrics are lost: {error}")

    def _lines(self) -> Iterator[str]:
        samples = [each for event in self._ended.values() for each in self._samples(event)]
        for family, words in _FAMILIES.items():
            yield f"# HELP {family} {words}"
            yield f"# TYPE {family} gauge"
            for name, labels, value in samples:
                if name == family:
                    yield f"{name}{{{labels}}} {value:.15g}"

    def _samples(self, event: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
        keys = ("project", "environment", "target")
        target, ended = tuple(event[key] for key in keys), _seconds(event["at"])
        place = dict(zip(keys, target, strict=True))
        yield "bundler_apply_success", _labels(place), float(event["event"] in _GOOD)
        yield "bundler_apply_timestamp_seconds", _labels(place), ended
        took = ended - self._began.get(target, ended)
        yield "bundler_apply_duration_seconds", _labels(place), took
        for action, count in event["changes"].items():
            yield "bundler_apply_objects", _labels({**place, "action": action}), count
        release = {key: event[key] for key in ("release", "digest")}
        yield "bundler_apply_info", _labels({**place, **release, "outcome": event["event"]}), 1


def _restored(failed: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: failed[key] for key in ("event", "release", "digest")}


def _labels(values: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in values.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
