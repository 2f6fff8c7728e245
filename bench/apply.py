"""Applying to a real control plane, beside the bare requests and the peers on PATH, in one run.

`python bench/apply.py [--only CASE …] [--rounds N]` starts a control plane (tools/control_plane.py,
whose controllers are not throttled), applies, and prints the median of each figure, what it may be
at most, and whether it is. Programs take turns within a round, in namespaces that are gone before
the next begins. Each run is a process of its own, from its start to its end.

The cases:

- first: 1,001 objects into a namespace that is not there. None of them has to be waited for, as
  peers do not wait either: 200 ServiceAccounts, ConfigMaps, Services, NetworkPolicies and suspended
  CronJobs, and the Namespace. The limit is bench/bare_apply.py: the same requests, in their order.
- again: the same once more, with nothing to do.
- one-image: one of 200 Deployments of two pods gets another image; waited for.
- rollout: all 200 do. For both the cluster's own time is that of the bare requests and one watch.
- targets: 20 targets of 100 objects, beside one target of 2,000.
- sizes: 1,000 to 10,000 objects: the time of each, and our memory.
- requests: what a plan and an apply ask for with nothing to do, through a counting proxy.

Peers that are not on PATH are left out: helm (or that of tools/build.py), kapp, kubectl. timoni is
left out always: its modules are CUE, and plain manifests would have to be written anew in it. No
registry is asked for images, as no peer does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.apply_inputs import (  # noqa: E402
    Input,
    config_maps,
    make_input,
    quiet_services,
    running_services,
)

from tests.e2e.releases import Releases  # noqa: E402
from tests.faults.api_proxy import ApiProxy  # noqa: E402
from tests.memory import MEBIBYTE, measured  # noqa: E402
from tools.build import binary_path  # noqa: E402
from tools.control_plane import ControlPlane  # noqa: E402
from tools.server_process import wait_until  # noqa: E402

SERVICES = 200
SIZES = (1_000, 2_000, 5_000, 10_000)
TARGETS, AT_ONCE = 20, 8
OURS = (sys.executable, "-m", "bundler")
BARE = (sys.executable, str(ROOT / "bench/bare_apply.py"))
MOST_MEMORY = 400.0
SECONDS = 900


# --- what is told -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A figure, and what it may be at most."""

    what: str
    value: float
    limit: float | None = None
    of: str = ""
    """Where the limit comes from."""
    unit: str = "s"

    def __str__(self) -> str:
        told = f"{self.what:52} {self.value:8.2f} {self.unit:3}"
        if self.limit is None:
            return told
        verdict = "ok" if self.value <= self.limit else "OVER"
        share = f"{self.value / self.limit:5.2f} x" if self.limit else ""
        return f"{told} {self.limit:8.2f} {share:>7}  {verdict:4}  {self.of}"


class Limit(NamedTuple):
    """So many times what another program takes, and seconds more."""

    factor: float = 0.0
    program: str = ""
    more: float = 0.0

    def words(self, own: float) -> str:
        times = f"{self.factor:g} x {self.program} ({own:.2f} s)" if self.program else ""
        return " + ".join(filter(None, (times, f"{self.more:g} s" if self.more else "")))


@dataclass
class Times:
    """Seconds of each run, by what was run."""

    of: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, what: str, seconds: float) -> None:
        self.of[what].append(seconds)

    def median(self, what: str) -> float:
        return statistics.median(self.of[what])

    def rows(self, what: str, *limits: Limit) -> Iterator[Row]:
        """Ours beside each limit; those of programs that did not run are left out."""
        ours = self.median("ours")
        told = [each for each in limits if each.program in ("", *self.of)]
        for limit in told:
            own = self.median(limit.program) if limit.program else 0.0
            yield Row(what, ours, own * limit.factor + limit.more, limit.words(own))


# --- running ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    cluster: ControlPlane
    folder: Path
    environment: Mapping[str, str]
    rounds: int

    def seconds(self, *command: str) -> float:
        """How long a program runs, which must succeed."""
        started = time.perf_counter()
        self.output(*command)
        return time.perf_counter() - started

    def output(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command[:4])} failed: {done.stdout}{done.stderr}"[-4000:])
        return done.stdout

    def own_time(self, work: Input) -> float:
        """The cluster's own time to take the objects and to be ready: no start-up is in it."""
        return float(self.output(*BARE, str(work.requests), "--wait"))

    def apply(self, reference: str, *options: str) -> tuple[str, ...]:
        chosen = ("--env", "stage", "--yes", "--kubeconfig", str(self.cluster.kubeconfig))
        return (*OURS, "apply", reference, *chosen, "--no-image-check", *options)

    @contextmanager
    def input(self, name: str, objects: Sequence[dict[str, object]]) -> Iterator[Input]:
        """Objects for one namespace, that is gone afterwards."""
        yield make_input(self.folder, name, objects)
        self.remove(name)

    def remove(self, *namespaces: str) -> None:
        for name in namespaces:
            self.cluster.request("DELETE", f"/api/v1/namespaces/{name}")
        for name in namespaces:
            path = f"/api/v1/namespaces/{name}"
            wait_until(partial(self._is_gone, path), name, (), 120)

    def _is_gone(self, path: str) -> bool:
        return not self.cluster.has(path)

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self.environment["PATH"]) is not None


# --- 1,001 objects ------------------------------------------------------------------------------

_LIMITS = (Limit(1.3, "bare"), Limit(0.75, "helm"), Limit(0.5, "kapp"), Limit(0.12, "kubectl"))


def first(bench: Bench) -> Iterator[Row]:
    times = Times()
    for number in range(bench.rounds):
        for program in ("bare", "ours", *_peers(bench, "helm", "kapp", "kubectl")):
            with bench.input(f"first-{program}-{number}", list(quiet_services(SERVICES))) as work:
                times.note(program, bench.seconds(*_first_command(bench, program, work)))
    yield from times.rows("first apply of 1,001 objects", *_LIMITS)


def again(bench: Bench) -> Iterator[Row]:
    times = Times()
    for number in range(bench.rounds):
        for program in ("ours", *_peers(bench, "kapp")):
            with bench.input(f"again-{program}-{number}", list(quiet_services(SERVICES))) as work:
                command = _first_command(bench, program, work)
                bench.output(*command)
                times.note(program, bench.seconds(*command))
    yield from times.rows("again with nothing changed", Limit(more=1.0), Limit(0.3, "kapp"))


def _peers(bench: Bench, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if bench.has(name))


def _first_command(bench: Bench, program: str, work: Input) -> tuple[str, ...]:
    name, files = work.namespace, str(work.files)
    commands: Mapping[str, tuple[str, ...]] = {
        "ours": bench.apply(work.reference),
        "bare": (*BARE, str(work.requests)),
        "helm": ("helm", "install", name, str(work.chart), "-n", name, "--create-namespace"),
        "kapp": (
            *("kapp", "deploy", "-a", name, "-n", "default"),
            "-f",
            files,
            "-y",
            "--wait=false",
        ),
        "kubectl": ("kubectl", "apply", "--server-side", "-f", files),
    }
    return commands[program]


# --- 200 services that run ----------------------------------------------------------------------


def one_image(bench: Bench) -> Iterator[Row]:
    times = Times()
    with _running(bench, "one-image") as publish:
        for number in range(bench.rounds):
            times.note("cluster", bench.own_time(publish({7: f"bare-{number}"})))
            work = publish({7: f"ours-{number}"})
            times.note("ours", bench.seconds(*bench.apply(work.reference)))
    limit = Limit(1.0, "cluster", 1.5)
    yield from times.rows("one image of 200 services, waited for", limit)


def rollout(bench: Bench) -> Iterator[Row]:
    times = Times()
    with _running(bench, "rollout") as publish:
        for number in range(bench.rounds):
            # Each rollout leaves ReplicaSets, and is slower than the one before: they take turns.
            for program in ("cluster", "ours")[:: 1 if number % 2 == 0 else -1]:
                work = publish(dict.fromkeys(range(SERVICES), f"{program}-{number}"))
                if program == "ours":
                    times.note("ours", bench.seconds(*bench.apply(work.reference)))
                else:
                    times.note("cluster", bench.own_time(work))
    yield from times.rows("200 Deployments changed, waited for", Limit(1.05, "cluster"))


@contextmanager
def _running(bench: Bench, namespace: str) -> Iterator[Callable[[Mapping[int, str]], Input]]:
    """200 services are up; what is given publishes them with other tags of some images.

    Only the Deployments of these are sent by bench/bare_apply.py.
    """
    count = 0

    def publish(tags: Mapping[int, str]) -> Input:
        nonlocal count
        count += 1
        objects = list(running_services(SERVICES, tags, "start"))
        changed = {f"s{number:04}" for number in tags}
        return make_input(bench.folder, namespace, objects, f"v1.0.{count}", changed)

    bench.output(*bench.apply(publish({}).reference))
    yield publish
    bench.remove(namespace)


# --- targets and sizes --------------------------------------------------------------------------


def targets(bench: Bench) -> Iterator[Row]:
    if "--at-once" not in bench.output(*OURS, "apply", "--help"):
        yield Row("targets at once: not there yet", 0.0)
        return
    times = Times()
    for number in range(bench.rounds):
        with bench.input(f"one-{number}", list(config_maps(TARGETS * 100 - 1))) as work:
            times.note("one target of 2,000", bench.seconds(*bench.apply(work.reference)))
        names = {f"t{each:02}": f"many-{number}-{each}" for each in range(TARGETS)}
        many = Releases(bench.folder / "registry", names, project=f"many-{number}")
        many.publish("v1.0.0", *config_maps(100))
        options = ("--at-once", str(AT_ONCE))
        times.note("ours", bench.seconds(*bench.apply(many("v1.0.0"), *options)))
        bench.remove(*names.values())
    yield from times.rows("20 targets of 100 objects", Limit(2.5, "one target of 2,000"))


def sizes(bench: Bench) -> Iterator[Row]:
    """Once: the largest takes as long as all others together."""
    per_thousand: dict[int, float] = {}
    for size in SIZES:
        with bench.input(f"size-{size}", list(config_maps(size - 1))) as work:
            started = time.perf_counter()
            done, peak = measured(
                bench.apply(work.reference),
                env=bench.environment,
                cwd=bench.folder,
                capture_output=True,
            )
            took = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr.decode())
        per_thousand[size] = took / size * 1000
        limit = MOST_MEMORY if size == SIZES[-1] else None
        yield Row(f"{size:,} objects: time", took)
        yield Row(f"{size:,} objects: memory", peak / MEBIBYTE, limit, "", "MiB")
    few = per_thousand[SIZES[0]]
    words = f"linear: 1.2 x those of {SIZES[0]:,}"
    yield Row(f"a thousand of {SIZES[-1]:,}", per_thousand[SIZES[-1]], few * 1.2, words)


# --- requests -----------------------------------------------------------------------------------


def requests(bench: Bench) -> Iterator[Row]:
    with (
        ApiProxy(bench.cluster) as proxy,
        bench.input("requests", list(quiet_services(SERVICES))) as work,
    ):
        bench.output(*bench.apply(work.reference))
        through = ("--kubeconfig", str(proxy.kubeconfig(bench.folder)))
        for command, most, more in (("plan", 4, ()), ("apply", 12, ("--yes", "--no-image-check"))):
            proxy.clear()
            bench.output(*OURS, command, work.reference, "--env", "stage", *through, *more)
            words = f"{most} + a list for each of 6 kinds"
            yield Row(
                f"requests of {command}, nothing changed", len(proxy.asked), most + 6, words, ""
            )


# --- all ----------------------------------------------------------------------------------------

CASES: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "first": first,
    "again": again,
    "one-image": one_image,
    "rollout": rollout,
    "targets": targets,
    "sizes": sizes,
    "requests": requests,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made_folder, ControlPlane() as cluster:
        folder = Path(made_folder)
        # Compiled modules, as an installed program has them, whatever this shell says of that.
        environment = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "PATH": f"{os.environ['PATH']}:{binary_path('helm').parent}",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
            "BUNDLER_CACHE": str(folder / "cache"),
        }
        bench = Bench(cluster, folder, environment, chosen.rounds)
        bench.output(*OURS, "apply", "--help")
        missing = [each for each in ("helm", "kapp", "kubectl") if not bench.has(each)]
        print(f"peers that are not on PATH: {', '.join(missing) or 'none'}", flush=True)
        for name in chosen.only:
            for row in CASES[name](bench):
                print(row, flush=True)


if __name__ == "__main__":
    main()
