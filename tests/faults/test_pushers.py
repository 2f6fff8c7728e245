"""Twenty who push one version at the same time, as threads and as processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.registry.registries import Registries
from bundler.errors import VersionExists
from bundler.model.artifact import Artifact
from bundler.model.reference import Repository
from bundler.publish.push import push
from tests.faults import pusher
from tests.faults.scenarios import VERSION, artifact_of, bundle
from tools.registries import Distribution, ReferrersRegistry

PUSHERS = 20
EXISTS = VersionExists.exit_code
ROOT = Path(__file__).resolve().parents[2]
Race = Callable[[Path, Sequence[Artifact], Repository], list[int]]


@pytest.fixture(params=["folder", "distribution", "referrers"])
def target(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    distribution: Distribution,
    referrers_registry: ReferrersRegistry,
) -> Repository:
    hosts = {"distribution": distribution.host, "referrers": referrers_registry.host}
    if request.param == "folder":
        return Repository("ocidir", str(tmp_path / "registry"))
    return Repository("oci", f"{hosts[request.param]}/race/{secrets.token_hex(6)}")


def threads(folder: Path, artifacts: Sequence[Artifact], target: Repository) -> list[int]:
    """The exit codes; all begin at the same moment, and know nothing of each other."""
    start = threading.Barrier(len(artifacts))

    def one(artifact: Artifact) -> int:
        registries = Registries(folder)
        start.wait()
        try:
            push(registries, target, artifact, VERSION)
        except VersionExists:
            return EXISTS
        return 0

    with ThreadPoolExecutor(len(artifacts)) as pool:
        return list(pool.map(one, artifacts))


def processes(folder: Path, artifacts: Sequence[Artifact], target: Repository) -> list[int]:
    sources = {}
    for artifact in artifacts:
        source = Repository("ocidir", str(folder / artifact.digest.hex))
        if artifact.digest not in sources:
            push(OciLayout(folder), source, artifact, VERSION)
        sources[artifact.digest] = source.path
    running = [
        subprocess.Popen(
            [sys.executable, pusher.__file__, sources[each.digest], str(target), VERSION],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in artifacts
    ]
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [int(process.communicate(timeout=120)[0].split()[0]) for process in running]


@pytest.mark.requirement("B-92")
@pytest.mark.parametrize("race", [threads, processes])
def test_twenty_who_push_the_same_bytes_all_succeed(
    tmp_path: Path, artifact: Artifact, target: Repository, race: Race
) -> None:
    assert race(tmp_path, [artifact] * PUSHERS, target) == [0] * PUSHERS
    assert Registries(tmp_path).resolve(target, VERSION) == artifact.digest


@pytest.mark.requirement("B-92")
@pytest.mark.parametrize("race", [threads, processes])
def test_of_twenty_who_push_different_bytes_only_the_one_at_the_tag_succeeds(
    tmp_path: Path, target: Repository, race: Race
) -> None:
    artifacts = [bundle(tmp_path, str(number)) for number in range(PUSHERS)]
    codes = race(tmp_path, artifacts, target)
    registries = Registries(tmp_path)
    digest = registries.resolve(target, VERSION)
    assert digest
    artifact_of(registries, target, digest)
    assert codes == [0 if each.digest == digest else EXISTS for each in artifacts]
