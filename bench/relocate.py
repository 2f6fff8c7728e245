"""Push, pull and copy of a large bundle beside oras, and 200 images beside imgpkg and oras.

`python bench/relocate.py [push] [pull] [copy]` starts two registries on loopback and prints medians
of five runs, in turn, near and with 25 ms added to each request: our time, theirs, and our peak
memory; and the same without what is no work: starting up (until a program first connects to a
registry) and, of ours, the settling delay (what was just published is read again after half a
second; `settled` counts it).
`python` is a bare interpreter that makes the same requests: no Python program is faster. The
bundle has 2,500 objects for each of three targets. The images have five layers each; half of all
their layers are shared. Push is a copy out of an image layout for all. oras and crane are those of
`tools/build.py`; imgpkg is left out where it is not on PATH.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.slow_line import slow_line  # noqa: E402

from bundler.adapters.registry.docker_credentials import DockerCredentials  # noqa: E402
from bundler.adapters.registry.oci_registry import OciRegistry  # noqa: E402
from bundler.adapters.registry.patience import Patience  # noqa: E402
from bundler.model.artifact import CONTENT_LAYER, IMAGE_CONFIG, MANIFEST, Artifact, Blob  # noqa: E402
from bundler.model.bundle import RenderedBundle, ValidatedBundle  # noqa: E402
from bundler.model.lock import ImageLock, ResolvedImage  # noqa: E402
from bundler.model.project import Lookup, Project  # noqa: E402
from bundler.model.reference import Digest, Repository  # noqa: E402
from bundler.model.release import ReleaseTag, SourceRevision  # noqa: E402
from bundler.publish.pack import compact_json, pack  # noqa: E402
from tests.e2e.releases import Releases, config_map  # noqa: E402
from tools.build import binary_path  # noqa: E402
from tools.registries import Distribution  # noqa: E402

OBJECTS, TARGETS = 2_500, ("dev", "stage", "prod")
IMAGES, LAYERS, LAYER_BYTES, BASES = 200, 5, 256 * 1024, 10
RUNS = 5
LATENCY = 0.025
PARALLEL = 8
"""Copies that oras and crane, which copy one image, are let do at one time."""
VERSION = "v1.0.0"
OURS = (sys.executable, "-m", "bundler")
BARE = (sys.executable, "-S", str(ROOT / "bench/bare.py"))
SETTLING = Patience().settling


# --- what is copied -----------------------------------------------------------------------------


def make_bundle(folder: Path) -> Path:
    """An image layout with a bundle."""
    releases = Releases(folder / "deploy", {name: f"shop-{name}" for name in TARGETS})
    objects = [
        config_map(f"settings-{number:04}", **{f"key-{n}": f"{number}-{n}" for n in range(8)})
        for number in range(OBJECTS)
    ]
    releases.publish(VERSION, *objects)
    return folder / "deploy" / releases.project


def make_image(number: int) -> Artifact:
    """An image with layers of its own and, by turns two or three, layers that others have too."""
    chosen = Random(number)  # noqa: S311  the same bytes every time
    own = [chosen.randbytes(LAYER_BYTES) for _ in range(2 + number % 2)]
    base = number % BASES
    shared = [Random(-1 - base * LAYERS - n).randbytes(LAYER_BYTES) for n in range(LAYERS)]  # noqa: S311
    contents = [*shared[: LAYERS - len(own)], *own]
    layers = tuple(Blob.of(CONTENT_LAYER.removesuffix("+gzip"), content) for content in contents)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(each.descriptor.digest) for each in layers]},
    }
    described = Blob.of(IMAGE_CONFIG, compact_json(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.descriptor.as_dict(),
        "layers": [layer.descriptor.as_dict() for layer in layers],
    }
    return Artifact(Blob.of(MANIFEST, compact_json(manifest)), described, layers)


def push_images(host: str) -> dict[str, Digest]:
    """Image name → digest."""
    registry = OciRegistry(credentials=DockerCredentials([]), patience=Patience(settling=0))

    def push(number: int) -> tuple[str, Digest]:
        repository, artifact = Repository("oci", f"{host}/shop/s{number:03}"), make_image(number)
        registry.push(repository, artifact)
        registry.tag(repository, artifact, VERSION)
        return repository.path, artifact.digest

    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(push, range(IMAGES)))


def push_release(host: str, images: Mapping[str, Digest]) -> str:
    """A release that pins the images; its reference."""
    repository = Repository("oci", f"{host}/deploy/shop")
    commit = "1" * 40
    services = {
        name.rpartition("/")[2]: ResolvedImage(name, VERSION, digest, commit, "first-parent")
        for name, digest in images.items()
    }
    lock = ImageLock(SourceRevision(ReleaseTag(VERSION), commit, 1_750_000_000), services, {})
    project = Project("shop", {}, {}, {}, repository, Lookup({}))
    bundle = ValidatedBundle(RenderedBundle(lock, (), {}), {}, {})
    artifact = pack(project, bundle)
    registry = OciRegistry(credentials=DockerCredentials([]))
    registry.push(repository, artifact)
    registry.tag(repository, artifact, VERSION)
    return f"{repository}:{VERSION}"


def images_lock(folder: Path, images: Mapping[str, Digest]) -> Path:
    """What imgpkg reads."""
    lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock", "images:"]
    lines += [f"- image: {name}@{digest}" for name, digest in images.items()]
    path = folder / "images.yml"
    path.write_text("\n".join(lines) + "\n")
    return path


# --- measuring ----------------------------------------------------------------------------------


LAUNCHER = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
taken = time.perf_counter() - started
print(taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
"""A small process that starts a program: a program's peak memory counts that of who started it."""


@dataclass
class Measured:
    """Runs of one program."""

    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    """The most in MB; 0 where several processes ran at the same time."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def run(self, environment: Mapping[str, str], *commands: Sequence[str]) -> None:
        """One run: commands at the same time, some of them."""
        if len(commands) == 1:
            command = [sys.executable, "-S", "-c", LAUNCHER, *commands[0]]
            said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            taken, memory = said.stdout.split()
            self.seconds.append(float(taken))
            self.memory = max(self.memory, int(memory))
            return
        started = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda each: _run(each, environment), commands))
        self.seconds.append(time.perf_counter() - started)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    nowhere = subprocess.DEVNULL
    subprocess.run(command, env=environment, check=True, stdout=nowhere, stderr=nowhere)


@dataclass(frozen=True)
class Place:
    folder: Path
    environment: Mapping[str, str]
    layout: Path
    near: str
    release: str
    images: Mapping[str, Digest]
    lock: Path

    def fresh(self, host: str) -> str:
        """A repository that nobody knows."""
        return f"{host}/{secrets.token_hex(6)}"

    def out(self) -> str:
        return str(self.folder / secrets.token_hex(6))


Commands = dict[str, list[Sequence[str]]]


def work(place: Place, host: str) -> dict[str, Commands]:
    """What is measured on a host → program → its commands; all to fresh places."""
    bundle = f"{place.near}/bundle:{VERSION}"
    there = f"{host}/bundle:{VERSION}"
    copied = Path(place.layout)
    return {
        "push": {
            "ours": [[*OURS, "copy", f"ocidir://{copied}:{VERSION}", f"oci://{place.fresh(host)}"]],
            "oras": [_oras_cp(f"{copied}:{VERSION}", place.fresh(host), "--from-oci-layout")],
            "python": [[*BARE, "push", str(copied), *place.fresh(host).split("/")]],
        },
        "pull": {
            "ours": [[*OURS, "pull", f"oci://{there}", "-d", place.out()]],
            "oras": [["oras", "pull", "--plain-http", there, "-o", place.out()]],
            "python": [[*BARE, "pull", host, "bundle", place.out()]],
        },
        "copy": {
            "ours": [[*OURS, "copy", f"oci://{bundle}", f"oci://{place.fresh(host)}"]],
            "oras": [_oras_cp(bundle, place.fresh(host), "--from-plain-http")],
            "python": [[*BARE, "copy", place.near, "bundle", *place.fresh(host).split("/")]],
        },
        f"copy {IMAGES} images": {
            "ours": [[*OURS, "copy", place.release, f"oci://{place.fresh(host)}", "--images"]],
            "oras": [
                _oras_cp(f"{name}@{digest}", place.fresh(host), "--from-plain-http")
                for name, digest in place.images.items()
            ],
            "crane": [
                [
                    "crane",
                    "copy",
                    "--insecure",
                    f"{name}@{digest}",
                    f"{place.fresh(host)}:{VERSION}",
                ]
                for name, digest in place.images.items()
            ],
            "imgpkg": [
                ["imgpkg", "copy", "--lock", str(place.lock), "--to-repo", place.fresh(host)]
            ],
        },
    }


def _oras_cp(source: str, to: str, *flags: str) -> list[str]:
    return ["oras", "cp", *flags, "--to-plain-http", source, f"{to}:{VERSION}"]


def start_up(place: Place, what: str, program: str) -> float:
    """How long a program takes until it first connects to a registry."""
    nowhere = subprocess.DEVNULL
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        [command] = work(replace(place, near=host), host)[what][program]
        started = time.perf_counter()
        with subprocess.Popen(
            command, env=place.environment, stdout=nowhere, stderr=nowhere
        ) as process:
            connection, _ = listener.accept()
            taken = time.perf_counter() - started
            process.kill()
            connection.close()
    return taken


BUNDLES = ("push", "pull", "copy")
"""The work in which each program is one process."""


def start_ups(place: Place, what: str) -> dict[str, float]:
    """Program → the median of its start-ups; none where many processes do the work."""
    programs = ("ours", "oras", "python") if what in BUNDLES else ()
    return {
        program: statistics.median(start_up(place, what, program) for _ in range(RUNS))
        for program in programs
    }


def measured(environment: Mapping[str, str], runs: Sequence[Commands]) -> dict[str, Measured]:
    """Each program that is here, in turn."""
    found: dict[str, Measured] = {}
    for commands in runs:
        for name, each in commands.items():
            if shutil.which(each[0][0]):
                found.setdefault(name, Measured()).run(environment, *each)
    return found


def report(what: str, found: Mapping[str, Measured], starting: Mapping[str, float]) -> None:
    """A line for each program."""
    settling = 0 if what.startswith("pull") else SETTLING
    ours = found["ours"].median
    for name, theirs in found.items():
        took = theirs.median
        line = f"{what:<34} {name:<7} {took:>7.3f}s {theirs.memory or '-':>5} MB"
        if name != "ours":
            line += f"  ours/{name} {ours / took:>5.2f}"
        if starting:
            work = took - starting[name] - (settling if name == "ours" else 0)
            line += f"  start-up {starting[name]:.3f}s, work {work:.3f}s"
            own = ours - starting["ours"] - settling
            if name != "ours":
                line += f", ours/{name} {own / work:>5.2f}, {(own + settling) / work:>6.2f} settled"
        print(line, flush=True)


def main() -> None:
    tools = [str(binary_path(name).parent) for name in ("oras", "crane")]
    os.environ["PATH"] = os.pathsep.join([*tools, os.environ["PATH"]])
    with (
        tempfile.TemporaryDirectory() as folder,
        Distribution() as source,
        Distribution() as target,
        slow_line(target.host, LATENCY) as far,
    ):
        place = _place(Path(folder), source.host)
        for host in (source.host, target.host):
            there = f"oci://{host}/bundle"
            Measured().run(
                place.environment, [*OURS, "copy", f"ocidir://{place.layout}:{VERSION}", there]
            )
        for host, line in ((target.host, ""), (far, f", {LATENCY * 1000:.0f} ms a request")):
            runs = [work(place, host) for _ in range(RUNS)]
            for what in [
                name for name in runs[0] if name.split()[0] in (sys.argv[1:] or name.split())
            ]:
                starting = start_ups(place, what)
                found = measured(place.environment, [each[what] for each in runs])
                report(what + line, found, starting)


def _place(folder: Path, near: str) -> Place:
    images = push_images(near)
    # Compiled modules, as an installed program has them, whatever this shell says of that.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment = {**os.environ, **compiled, "DOCKER_CONFIG": str(folder)}
    return Place(
        folder,
        environment,
        make_bundle(folder),
        near,
        push_release(near, images),
        images,
        images_lock(folder, images),
    )


if __name__ == "__main__":
    main()
