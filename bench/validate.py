"""Validation of 2,501 objects, beside kubeconform with the same schemas from a local folder.

`python bench/validate.py` prints medians of runs in turn: reading the YAML, looking for ambiguous
scalars in it, validating what was read; and kubeconform, where it is on PATH, as a whole and beyond
its own reading (the processor time that it takes less with every kind skipped). Each run is a
process of its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bundler.adapters.schemas.definitions import closure, definitions  # noqa: E402
from bundler.adapters.schemas.kubernetes_schemas import KubernetesSchemas  # noqa: E402
from bundler.manifests import read_documents, write_documents  # noqa: E402
from bundler.yaml_scalars import ambiguous_scalars  # noqa: E402

SERVICES = 500
VERSION = "1.36"
RUNS = 7
PROCESSORS = "validating, processors' time"
BEYOND = "kubeconform, beyond reading"


# --- what is validated --------------------------------------------------------------------------


def objects() -> list[dict[str, Any]]:
    """A namespace, and for each service what services have: 2,501 objects."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    return [namespace, *(obj for number in range(SERVICES) for obj in service(f"s{number:03}"))]


def service(name: str) -> list[dict[str, Any]]:
    labels = {"app": name, "app.kubernetes.io/part-of": "shop"}
    return [
        _object("v1", "ConfigMap", name, data={f"KEY_{n}": f"value {n}" for n in range(10)}),
        _object("v1", "Service", name, spec={"selector": labels, "ports": [{"port": 80}]}),
        _object("apps/v1", "Deployment", name, spec=_workload(name, labels)),
        _object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            name,
            spec={
                "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            },
        ),
        _object("networking.k8s.io/v1", "Ingress", name, spec={"rules": [_rule(name)]}),
    ]


def _object(api_version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": {"app": name}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _workload(name: str, labels: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": f"registry.example.com/shop/{name}:{'a' * 40}@sha256:{'b' * 64}",
        "env": [{"name": f"VARIABLE_{n}", "value": f"value {n}"} for n in range(10)],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": 1}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
    }
    volumes = [{"name": "config", "configMap": {"name": name, "defaultMode": 420}}]
    pod = {"containers": [container], "volumes": volumes, "serviceAccountName": "default"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}


def _rule(name: str) -> dict[str, Any]:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {"host": f"{name}.example.com", "http": {"paths": [path]}}


def write_schemas(folder: Path) -> str:
    """The schemas of a version as kubeconform looks for them; the pattern of their places."""
    found = definitions(VERSION)
    for kind, name in found.kinds.items():
        suffix = f"-{kind.group.partition('.')[0]}" if kind.group else ""
        schema = {"$ref": f"#/$defs/{name}", "$defs": closure(found.schemas, name)}
        file = f"{kind.kind}{suffix}-{kind.version}.json".lower()
        (folder / file).write_text(json.dumps(schema))
    return f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"


# --- measuring ----------------------------------------------------------------------------------


def measure_here(file: Path) -> dict[str, float]:
    """Seconds of each step of ours, in this process."""
    times = {}
    schemas = KubernetesSchemas()
    started = time.perf_counter()
    content = file.read_bytes()
    read = read_documents(content)
    times["reading the YAML"] = time.perf_counter() - started
    started = time.perf_counter()
    scalars = ambiguous_scalars(content)
    times["looking for ambiguous scalars"] = time.perf_counter() - started
    started, before = time.perf_counter(), time.process_time()
    findings = schemas.check(VERSION, read)
    times["validating"] = time.perf_counter() - started
    times[PROCESSORS] = time.process_time() - before
    if findings or scalars or len(read) != 5 * SERVICES + 1:
        raise SystemExit(f"{len(findings)} findings, {len(scalars)} scalars, {len(read)} objects")
    return times


def seconds(command: Sequence[str]) -> tuple[float, float]:
    """What a program takes: time, and time of the processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path) -> dict[str, list[float]]:
    file = folder / "objects.yaml"
    file.write_bytes(write_documents(objects()))
    (folder / "schemas").mkdir()
    places = write_schemas(folder / "schemas")
    program = shutil.which("kubeconform")
    theirs = [str(program), "-schema-location", places, "-strict", "-n", "2", str(file)]
    kinds = ",".join(sorted({each["kind"] for each in objects()}))
    times: dict[str, list[float]] = {}
    for _ in range(RUNS):
        own = subprocess.run(
            [sys.executable, __file__, str(file)], capture_output=True, check=True
        ).stdout
        for what, took in json.loads(own).items():
            times.setdefault(what, []).append(took)
        if program:
            whole, processors = seconds(theirs)
            _, reading = seconds([*theirs[:1], "-skip", kinds, *theirs[1:]])
            times.setdefault("kubeconform", []).append(whole)
            times.setdefault(BEYOND, []).append(processors - reading)
    return times


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure_here(Path(sys.argv[1]))))
        return
    with tempfile.TemporaryDirectory() as place:
        times = measure(Path(place))
    for what, runs in times.items():
        print(f"{what:32} {statistics.median(runs):8.3f} s  (best {min(runs):.3f})")
    for ours, theirs in (("validating", "kubeconform"), (PROCESSORS, BEYOND)):
        if theirs in times:
            pairs = zip(times[ours], times[theirs], strict=True)
            ratio = statistics.median(own / other for own, other in pairs)
            print(f"{ours} : {theirs} = {ratio:.2f}")


if __name__ == "__main__":
    main()
