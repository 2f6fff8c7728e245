"""The requests of an apply and nothing else: how fast a cluster lets Python be at it.

`python bench/bare_apply.py FILE [--wait]` sends the objects of a JSON file, stage by stage, as
server-side applies by threads, to the cluster of $KUBECONFIG; then it waits, by one watch, until
the Deployments among them are rolled out. Prints the seconds from the first request to the end.
No plan, lock, record, retry or check is made.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

THREADS = 16
STAGES = (("Namespace",), (), ("CronJob", "Deployment"))
"""Kinds of the first and the last stage; all others are between."""
PLURALS = {"NetworkPolicy": "networkpolicies"}

Object = dict[str, Any]


class Cluster:
    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._pool = urllib3.PoolManager(
            maxsize=THREADS, ca_certs=cluster["certificate-authority"], retries=False
        )
        self._headers = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}

    def apply(self, obj: Object) -> Object:
        answer = self._pool.request(
            "PATCH",
            f"{self._server}{path_of(obj)}/{obj['metadata']['name']}"
            "?fieldManager=bundler&fieldValidation=Strict",
            body=json.dumps(obj).encode(),
            headers={**self._headers, "Content-Type": "application/apply-patch+yaml"},
        )
        if answer.status >= 300:
            raise SystemExit(f"{answer.status}: {answer.data.decode()}")
        return dict(json.loads(answer.data))

    def changes(self, path: str, version: int) -> Iterator[Object]:
        query = f"?watch=true&resourceVersion={version}"
        answer = self._pool.request(
            "GET", self._server + path + query, headers=self._headers, preload_content=False
        )
        rest = b""
        for chunk in answer.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line)["object"] for line in lines)


def path_of(obj: Object) -> str:
    """Of the collection that an object is in."""
    version, kind = obj["apiVersion"], obj["kind"]
    namespace = obj["metadata"].get("namespace")
    place = f"/namespaces/{namespace}" if namespace else ""
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    return f"{'/apis' if '/' in version else '/api'}/{version}{place}/{plural}"


def stages(objects: list[Object]) -> Iterator[list[Object]]:
    first, _, last = STAGES
    yield [each for each in objects if each["kind"] in first]
    yield [each for each in objects if each["kind"] not in (*first, *last)]
    yield [each for each in objects if each["kind"] in last]


def is_rolled_out(deployment: Object) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    is_observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return is_observed and counts == [wanted] * 3


def wait(cluster: Cluster, applied: list[Object]) -> None:
    """Until the Deployments are rolled out that were not when the server answered."""
    deployments = [each for each in applied if each["kind"] == "Deployment"]
    waiting = {
        each["metadata"]["name"]: each["metadata"]["generation"]
        for each in deployments
        if not is_rolled_out(each)
    }
    if not waiting:
        return
    first = min(int(each["metadata"]["resourceVersion"]) for each in deployments)
    for found in cluster.changes(path_of(deployments[0]), first):
        name = found["metadata"]["name"]
        is_new = found["metadata"]["generation"] >= waiting.get(name, 0)
        if is_new and is_rolled_out(found):
            waiting.pop(name, None)
        if not waiting:
            return


def main(file: str, *options: str) -> None:
    objects = json.loads(Path(file).read_text())
    cluster = Cluster(Path(os.environ["KUBECONFIG"]))
    started = time.perf_counter()
    applied: list[Object] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for stage in stages(objects):
            applied += threads.map(cluster.apply, stage)
    if "--wait" in options:
        wait(cluster, applied)
    print(time.perf_counter() - started, flush=True)
    os._exit(0)  # the watch is still open


if __name__ == "__main__":
    main(*sys.argv[1:])
