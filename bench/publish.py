"""Publishing 200 services into six environments, beside the bare renders and a shell of peers.

`python bench/publish.py` prints medians of five runs, in turn: the six renders alone, two at a
time (`xargs -P2 kustomize build`); `bundler publish` into a folder, of a release that was never
rendered; the same tag published again; and, where kbld and imgpkg are on PATH, a shell that
renders, resolves and pushes one environment after the other. Each run is a process of its own.
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
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.git_history import NewCommit, git, make_history  # noqa: E402
from tools.sample_shop import File, ImageLayout, image_labels  # noqa: E402

SERVICES = 200
ENVIRONMENTS = tuple(f"env{number}" for number in range(6))
RUNS = 5
TAG = "v1.0.0"
REGISTRY = "registry.example.com/shop"


# --- what is published --------------------------------------------------------------------------


def name(number: int) -> str:
    return f"s{number:03}"


def documents(*objects: Mapping[str, object]) -> str:
    return "".join(f"---\n{json.dumps(obj, indent=2)}\n" for obj in objects)


def service_files(number: int) -> dict[str, str]:
    """A Deployment, a Service and a generated ConfigMap, as a base of its own."""
    own = name(number)
    labels = {"app": own}
    container = {
        "name": "main",
        "image": own,
        "ports": [{"name": "http", "containerPort": 8080}],
        "envFrom": [{"configMapRef": {"name": f"{own}-config"}}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": own},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": own},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    kustomization = {
        "resources": ["deployment.yaml", "service.yaml"],
        "configMapGenerator": [
            {"name": f"{own}-config", "literals": [f"NAME={own}", "LEVEL=info"]}
        ],
    }
    folder = f"overlays/base/{own}"
    return {
        f"{folder}/deployment.yaml": documents(deployment),
        f"{folder}/service.yaml": documents(service),
        f"{folder}/kustomization.yaml": json.dumps(kustomization),
    }


def overlay_files(environment: str) -> dict[str, str]:
    patch = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
    kustomization = {
        "resources": ["../base"],
        "namespace": f"shop-{environment}",
        "labels": [{"pairs": {"environment": environment}}],
        "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(patch)}],
    }
    return {f"overlays/{environment}/kustomization.yaml": json.dumps(kustomization)}


def project_file() -> str:
    names = [name(number) for number in range(SERVICES)]
    document = {
        "apiVersion": "bundler/v1",
        "kind": "Project",
        "name": "shop",
        "deployRegistry": "ocidir://../registry",
        "images": {"registry": REGISTRY, "lookup": "ocidir://../images"},
        "services": {each: {"paths": [f"services/{each}"]} for each in names},
        "environments": {
            each: {"kustomize": f"overlays/{each}", "namespace": f"shop-{each}"}
            for each in ENVIRONMENTS
        },
    }
    return json.dumps(document, indent=1)


def make_repository(folder: Path) -> str:
    """One commit with all; its id."""
    names = [name(number) for number in range(SERVICES)]
    tree = {f"services/{each}/main.go": f"package {each}" for each in names}
    for number in range(SERVICES):
        tree |= service_files(number)
    tree["overlays/base/kustomization.yaml"] = json.dumps({"resources": names})
    for environment in ENVIRONMENTS:
        tree |= overlay_files(environment)
    (commit,) = make_history(folder, [NewCommit({**tree, "bundler.yaml": project_file()})])
    git(folder, "tag", TAG, commit)
    git(folder, "checkout", "--quiet", "--force", "main")
    return commit


def make_images(folder: Path, commit: str) -> None:
    for number in range(SERVICES):
        layout = ImageLayout(folder / name(number))
        made = datetime(2026, 1, 2, tzinfo=UTC)
        layout.add(
            {"app": File(name(number).encode())}, [commit], image_labels(commit, "main"), made
        )
        layout.close()


# --- measuring ----------------------------------------------------------------------------------


def seconds(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.decode()}")
    return time.perf_counter() - started


def measure(folder: Path, repository: Path) -> dict[str, float]:
    """Medians in seconds, by what was run."""
    # Compiled modules, as an installed program has them, whatever this shell says of that.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    cache = folder / "cache"
    environment = {**os.environ, **compiled, "BUNDLER_CACHE": str(cache)}
    publish = [sys.executable, "-m", "bundler", "publish", TAG, "-o", "json"]
    each = " ".join(f"overlays/{environment}" for environment in ENVIRONMENTS)
    renders = f"echo {each} | xargs -n1 -P2 kustomize build >{folder}/rendered"
    one_by_one = (
        f"for o in {each}; do kustomize build $o | kbld -f - --imgpkg-lock-output lock.yml >m.yml "
        "&& imgpkg push --bundle $HOST/shop/$(basename $o):v1 -f m.yml; done"
    )
    times: dict[str, list[float]] = {}
    for _ in range(RUNS):
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(folder / "registry", ignore_errors=True)
        bare = seconds(["sh", "-c", renders], environment, repository)
        times.setdefault("six renders, two at a time", []).append(bare)
        times.setdefault("publish", []).append(seconds(publish, environment, repository))
        times.setdefault("publish again", []).append(seconds(publish, environment, repository))
        if shutil.which("kbld") and shutil.which("imgpkg"):
            took = seconds(["sh", "-c", one_by_one], environment, repository)
            times.setdefault("shell of kustomize, kbld, imgpkg", []).append(took)
    return {what: statistics.median(runs) for what, runs in times.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        repository = folder / "repo"
        commit = make_repository(repository)
        make_images(folder / "images", commit)
        times = measure(folder, repository)
    bare = times["six renders, two at a time"]
    for what, took in times.items():
        print(f"{what:40} {took:6.2f} s  {took / bare:5.2f} x the renders")


if __name__ == "__main__":
    main()
