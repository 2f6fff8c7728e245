"""Twenty targets of 100 objects beside one target of 2,000, first and again.

`python bench/targets.py [--at-once N] [--runs N]` starts a control plane and prints the medians of
three runs, in turn. Each run is a process of its own and has namespaces of its own; nothing is
waited for, so that what is measured is what each target costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.releases import Object, Releases, config_map, service  # noqa: E402
from tools.control_plane import ControlPlane  # noqa: E402

TARGETS, OBJECTS = 20, 100


def objects(count: int) -> list[Object]:
    settings = [config_map(f"settings-{number}", colour="red") for number in range(count * 4 // 5)]
    return settings + [service(f"s{number}", 80) for number in range(count - len(settings))]


def seconds_of(reference: str, kubeconfig: Path, at_once: int) -> float:
    command = [sys.executable, "-m", "bundler", "apply", reference, "--env", "stage", "--yes"]
    options = ["--kubeconfig", str(kubeconfig), "--at-once", str(at_once), "-o", "json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    start = time.perf_counter()
    done = subprocess.run(
        [*command, *options], check=False, capture_output=True, text=True, env=environment
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return took


def published(folder: Path, namespaces: Sequence[str], count: int) -> str:
    names = {f"t{number}": namespace for number, namespace in enumerate(namespaces)}
    releases = Releases(folder, names)
    releases.publish("v1.0.0", *objects(count))
    return releases("v1.0.0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    took: dict[str, list[float]] = {}
    with ControlPlane() as plane, tempfile.TemporaryDirectory() as folder:
        for run in range(given.runs):
            many = published(
                Path(folder) / f"many{run}", [f"m{run}-{n}" for n in range(TARGETS)], OBJECTS
            )
            one = published(Path(folder) / f"one{run}", [f"o{run}"], TARGETS * OBJECTS)
            for name, reference in (("one target", one), (f"{TARGETS} targets", many)):
                for when in ("first", "again"):
                    seconds = seconds_of(reference, plane.kubeconfig, given.at_once)
                    took.setdefault(f"{name}, {when}", []).append(seconds)
    for name, each in took.items():
        print(f"{name:<20} {statistics.median(each):6.2f} s   {[round(s, 2) for s in each]}")
    for when in ("first", "again"):
        single = statistics.median(took[f"one target, {when}"])
        several = statistics.median(took[f"{TARGETS} targets, {when}"])
        print(f"{when}: {several / single:.2f} times one target")


if __name__ == "__main__":
    main()
