#!/usr/bin/env python3
"""A Kubernetes control plane on 127.0.0.1: the real servers, and nodes that kwok plays.

    python3 tools/control_plane.py run -- kubectl get nodes   run a command with KUBECONFIG set
    python3 tools/control_plane.py up --directory /tmp/cluster   run until ctrl-c

The programs come from `python3 tools/build.py cluster`; tools/kwok/ says what pods do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

if not __package__:  # run as a command
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.build import CONTROL_PLANE, MissingProgramError, binary_path
from tools.server_process import (
    ServerError,
    ServerProcess,
    end_on_sigterm,
    free_port,
    wait_until,
)

STAGES = Path(__file__).resolve().parent / "kwok"
NODES = ("node-1", "node-2", "node-3")
CAPACITY = {"cpu": "1k", "memory": "1Ti", "pods": "10k"}
STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "kwok",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kwok.x-k8s.io/volume",
}
LOG = ("it starts", "it reads its settings", "it fails: no settings \x1b[31mhere")
"""What every container writes in each of its runs, as the runtime stores it."""
CERTIFICATE_PROFILES = """
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class ControlPlane:
    """A control plane that runs inside `with`, and everything that a client of it needs.

        with ControlPlane() as cluster:
            cluster.request("GET", "/api/v1/nodes")

    What is known of it lies in `directory`, so that other processes can use it: `running_in`.
    """

    def __init__(self, directory: Path | None = None, extra_stages: Iterable[Path] = ()) -> None:
        self._is_temporary = directory is None
        self.directory = (directory or Path(tempfile.mkdtemp(prefix="control-plane-"))).absolute()
        self._stages = [*sorted(STAGES.glob("**/*.yaml")), *extra_stages]
        self._servers: list[ServerProcess] = []

    @classmethod
    def running_in(cls, directory: Path) -> ControlPlane:
        """The control plane that another process runs in that directory."""
        return cls(directory)

    @property
    def kubeconfig(self) -> Path:
        """Of `admin`, who is in system:masters."""
        return self.directory / "kubeconfig"

    @property
    def limited_kubeconfig(self) -> Path:
        """Of the user `limited`, who may do nothing until a test binds a role."""
        return self.directory / "kubeconfig-limited"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def server(self) -> str:
        cluster = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        return str(cluster["server"])

    @property
    def token(self) -> str:
        return token_in(self.kubeconfig)

    @property
    def limited_token(self) -> str:
        return token_in(self.limited_kubeconfig)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        token: str | None = None,
    ) -> dict[str, Any]:
        """Send one request, as admin unless a token is given, and return the answered object."""
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.token}",
                "Content-Type": content_type,
            },
        )
        try:
            with self._opener.open(request, timeout=30) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode(errors="replace")) from None
        return dict(json.loads(answer)) if answer.startswith(b"{") else {}

    def has(self, path: str) -> bool:
        """Whether there is something to read at that path."""
        try:
            self.request("GET", path)
        except ApiError:
            return False
        return True

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> tuple[Path, Path]:
        """A certificate that the API server takes as that user, and its key."""
        name = f"client-{secrets.token_hex(4)}"
        return self._issue(name, "client", distinguished_name(user, groups))

    def service_account_token(self, namespace: str, name: str, seconds: int = 3600) -> str:
        """A token of an existing service account; the API server's minimum is 600 seconds."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds},
            },
        )
        return str(answer["status"]["token"])

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        return urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca)),
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        programs = {name: binary_path(name) for name in CONTROL_PLANE}
        self._write_files()
        arguments = self._arguments()
        for name in ("etcd", "kube-apiserver"):
            self._run(name, programs[name], arguments[name])
        # The others give up when this takes long on a busy machine.
        self._wait_until(lambda: self.has("/livez/etcd"), "the API server")
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self._run(name, programs[name], arguments[name])
        self._wait_until(lambda: self.has("/readyz"), "the API server")
        self.request("POST", "/apis/storage.k8s.io/v1/storageclasses", STORAGE_CLASS)
        for name in NODES:
            self.request("POST", "/api/v1/nodes", node(name))
        self._wait_until(self._are_nodes_ready, "the nodes")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait_until(lambda: self.has(account), "the default service account")

    def stop(self) -> None:
        for server in reversed(self._servers):
            server.stop()
        self._servers.clear()
        if self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, name: str, program: Path, arguments: Sequence[str]) -> None:
        log = self.directory / f"{name}.log"
        self._servers.append(ServerProcess(name, [program, *arguments], log))

    def _wait_until(self, is_ready: Callable[[], bool], waiting_for: str) -> None:
        wait_until(is_ready, waiting_for, self._servers)

    def _are_nodes_ready(self) -> bool:
        return all(is_ready(node) for node in self.request("GET", "/api/v1/nodes")["items"])

    def _write_files(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)
        self._write("openssl.cnf", CERTIFICATE_PROFILES)
        self._issue("ca", "authority", "/CN=control-plane")
        self._issue("server", "server", "/CN=kube-apiserver")
        self._issue("service-accounts", "client", "/CN=service-accounts")
        admin, limited = secrets.token_hex(16), secrets.token_hex(16)
        self._write(
            "tokens.csv", f"{admin},admin,admin,system:masters\n{limited},limited,limited\n"
        )
        server = f"https://127.0.0.1:{free_port()}"
        for path, user, token in (
            (self.kubeconfig, "admin", admin),
            (self.limited_kubeconfig, "limited", limited),
        ):
            self._write(path.name, json.dumps(kubeconfig(server, self.ca, user, token), indent=2))
        stages = [stage.read_text() for stage in self._stages]
        self._write("stages.yaml", "\n---\n".join([*stages, json.dumps(self._logs())]))

    def _logs(self) -> dict[str, Any]:
        """Where kwok finds the log of each container, and of its run before."""
        files = {}
        for key, run in (("logsFile", "now"), ("previousLogsFile", "before")):
            lines = [f"2026-01-01T00:00:00.0Z stderr F {run}: {line}\n" for line in LOG]
            self._write(f"{key}.log", "".join(lines))
            files[key] = str(self.directory / f"{key}.log")
        return {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "logs"},
            "spec": {"logs": [files]},
        }

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _issue(self, name: str, profile: str, subject: str) -> tuple[Path, Path]:
        """Make a key and a certificate; of this control plane's authority unless it is that."""
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        authority: list[str | Path] = []
        if name != "ca":
            authority = ["-CA", self.ca, "-CAkey", self.directory / "ca.key"]
        command: list[str | Path] = ["openssl", "req", "-x509", "-days", "30", "-noenc"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *authority]
        command += ["-config", self.directory / "openssl.cnf", "-extensions", profile]
        command += ["-subj", subject, "-out", certificate, "-keyout", key]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise MissingProgramError("openssl: install version 3 or newer") from None
        if run.returncode:
            raise ServerError(f"openssl: making the certificate {name}\n{run.stderr}")
        return certificate, key

    def _arguments(self) -> dict[str, list[str]]:
        """The command line of each server."""
        etcd, kubelet = f"http://127.0.0.1:{free_port()}", free_port()
        folder = self.directory
        clients = [
            f"--kubeconfig={self.kubeconfig}",
            # At their default of 20 requests a second they are what a roll-out waits for.
            "--kube-api-qps=2000",
            "--kube-api-burst=4000",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        return {
            "etcd": [
                f"--data-dir={folder}/etcd",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                "--listen-peer-urls=http://127.0.0.1:0",
                "--unsafe-no-fsync",
            ],
            "kube-apiserver": [
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self.server.rpartition(':')[2]}",
                f"--tls-cert-file={folder}/server.crt",
                f"--tls-private-key-file={folder}/server.key",
                f"--client-ca-file={self.ca}",
                f"--token-auth-file={folder}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={folder}/service-accounts.crt",
                f"--service-account-signing-key-file={folder}/service-accounts.key",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--endpoint-reconciler-type=none",
                "--allow-privileged",
                "--kubelet-preferred-address-types=InternalIP",
            ],
            "kube-controller-manager": [
                *clients,
                # Nobody hands out addresses to nodes that only kwok plays.
                "--controllers=*,-nodeipam",
                # At its default of 15 s it is what tests with an autoscaler wait for.
                "--horizontal-pod-autoscaler-sync-period=1s",
                f"--root-ca-file={self.ca}",
                f"--service-account-private-key-file={folder}/service-accounts.key",
            ],
            "kube-scheduler": clients,
            "kwok": [
                f"--kubeconfig={self.kubeconfig}",
                f"--config={folder}/stages.yaml",
                "--manage-all-nodes",
                "--cidr=10.244.0.1/16",
                "--node-lease-duration-seconds=40",
                # Where the API server asks for logs.
                "--node-ip=127.0.0.1",
                f"--node-port={kubelet}",
                f"--server-address=127.0.0.1:{kubelet}",
                f"--tls-cert-file={folder}/server.crt",
                f"--tls-private-key-file={folder}/server.key",
            ],
        }


def kubeconfig(server: str, ca: Path, user: str, token: str) -> dict[str, Any]:
    """JSON is YAML, so clients read it as they read any kubeconfig."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": user,
        "contexts": [{"name": user, "context": {"cluster": "local", "user": user}}],
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
    }


def token_in(path: Path) -> str:
    return str(json.loads(path.read_text())["users"][0]["user"]["token"])


def distinguished_name(user: str, groups: Iterable[str]) -> str:
    """As openssl reads it (`/` and `+` separate): for the API server, CN is the user, O a group."""
    parts = [*(("O", group) for group in groups), ("CN", user)]
    return "".join(f"/{key}=" + re.sub(r"([\\/+])", r"\\\1", value) for key, value in parts)


def node(name: str) -> dict[str, Any]:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": CAPACITY, "allocatable": CAPACITY},
    }


def is_ready(node: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
    # A taint outlives the condition that it stands for by a moment, and keeps pods away.
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a command beside a control plane")
    run.add_argument("program", nargs="+", metavar="-- COMMAND")
    up = commands.add_parser("up", help="run a control plane until ctrl-c")
    for command in (run, up):
        command.add_argument("--directory", type=Path, help="for its files; kept afterwards")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, end_on_sigterm)
    try:
        with ControlPlane(options.directory) as control_plane:
            if options.command == "run":
                environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)}
                return subprocess.run(options.program, env=environment, check=False).returncode
            print(control_plane.kubeconfig, flush=True)
            signal.pause()
    except (MissingProgramError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
