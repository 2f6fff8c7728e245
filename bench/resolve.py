"""The whole `bundler resolve` of 500 services, beside kbld resolving the same images.

`python bench/resolve.py` starts a registry on loopback with one image for each service, and prints
medians of five runs, in turn: with nothing cached, with manifests and configs cached, both again
with 25 ms added to each request, and kbld where it is on PATH. Each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.slow_line import slow_line  # noqa: E402

from bundler.adapters.registry.docker_credentials import DockerCredentials  # noqa: E402
from bundler.adapters.registry.oci_registry import OciRegistry  # noqa: E402
from bundler.model.artifact import REVISION  # noqa: E402
from bundler.model.reference import Repository  # noqa: E402
from tests.fakes.registry import image  # noqa: E402
from tests.git_history import NewCommit, git, make_history  # noqa: E402
from tools.registries import Distribution  # noqa: E402

SERVICES = 500
RUNS = 5
LATENCY = 0.025
NEAR, FAR = "v1.0.0", "v1.0.1"
"""Tags with the same services: one asks the registry itself, the other through the slow line."""


# --- what is resolved ---------------------------------------------------------------------------


def name(number: int) -> str:
    return f"s{number:03}"


def project_file(host: str) -> str:
    """The project file, as JSON, which is YAML."""
    document = {
        "apiVersion": "bundler/v1",
        "kind": "Project",
        "name": "shop",
        "deployRegistry": f"oci://{host}/deploy/shop",
        "images": {"registry": f"{host}/shop"},
        "services": {name(n): {"paths": [f"services/{name(n)}"]} for n in range(SERVICES)},
        "environments": {"prod": {"kustomize": "overlays/prod", "namespace": "shop"}},
    }
    return json.dumps(document, indent=1)


def make_repository(folder: Path, near: str, far: str) -> list[str]:
    """A commit for each service; their ids. Both tags are on top of them."""
    tree: dict[str, str] = {}
    commits = []
    for number in range(SERVICES):
        tree = {**tree, f"services/{name(number)}/main.go": f"package {name(number)}"}
        commits.append(NewCommit(tree, [number - 1] if number else []))
    for host in (near, far):
        commits.append(NewCommit({**tree, "bundler.yaml": project_file(host)}, [len(commits) - 1]))
    ids = make_history(folder, commits)
    for tag, commit in zip((NEAR, FAR), ids[SERVICES:], strict=True):
        git(folder, "tag", tag, commit)
    return ids[:SERVICES]


def push_images(host: str, commits: Sequence[str]) -> None:
    registry = OciRegistry(credentials=DockerCredentials([]))

    def push(number: int) -> None:
        artifact = image(name(number), {REVISION: commits[number]})
        repository = Repository("oci", f"{host}/shop/{name(number)}")
        registry.push(repository, artifact)
        registry.tag(repository, artifact, commits[number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(SERVICES)))


def deployments(host: str, commits: Sequence[str]) -> str:
    """What kbld reads: a Deployment for each service, with the image that resolving must find."""
    documents = []
    for number, commit in enumerate(commits):
        container = {"name": "main", "image": f"{host}/shop/{name(number)}:{commit}"}
        labels = {"app": name(number)}
        spec = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }
        metadata = {"name": name(number)}
        documents.append(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        )
    return "".join(f"---\n{json.dumps(document)}\n" for document in documents)


# --- measuring ----------------------------------------------------------------------------------


def seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started


def measure(folder: Path, kbld_input: Path) -> dict[str, float]:
    """Medians in seconds, by what was run."""
    empty, filled = folder / "empty", folder / "filled"
    resolve = [sys.executable, "-m", "bundler", "resolve", "--repo", str(folder / "shop"), "-o"]
    # Compiled modules, as an installed program has them, whatever this shell says of that.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    caches = {"DOCKER_CONFIG": str(folder), "BUNDLER_CACHE": str(filled)}
    environment = {**os.environ, **compiled, **caches}
    kbld = ["kbld", "-f", str(kbld_input), "--images-annotation=false"]
    times: dict[str, list[float]] = {}
    seconds([*resolve, "json", NEAR], environment)
    for _ in range(RUNS):
        for tag, line in ((NEAR, ""), (FAR, f", {LATENCY * 1000:.0f} ms a request")):
            shutil.rmtree(empty, ignore_errors=True)
            for cache, words in ((filled, "cached"), (empty, "nothing cached")):
                took = seconds(
                    [*resolve, "json", tag], {**environment, "BUNDLER_CACHE": str(cache)}
                )
                times.setdefault(f"resolve, {words}{line}", []).append(took)
        if shutil.which("kbld"):
            times.setdefault("kbld", []).append(seconds(kbld, environment))
    return {what: statistics.median(runs) for what, runs in times.items()}


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        Distribution() as registry,
        slow_line(registry.host, LATENCY) as far,
    ):
        folder = Path(place)
        commits = make_repository(folder / "shop", registry.host, far)
        push_images(registry.host, commits)
        kbld_input = folder / "deployments.yaml"
        kbld_input.write_text(deployments(registry.host, commits))
        medians = measure(folder, kbld_input)
    kbld = medians.get("kbld")
    for what, median in medians.items():
        print(f"{what:<45} {median:>6.2f}s" + (f"  {median / kbld:>5.2f} x kbld" if kbld else ""))


if __name__ == "__main__":
    main()
