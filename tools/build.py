#!/usr/bin/env python3
"""Build the programs that the tests and the demo run for real, each at one pinned version.

    python3 tools/build.py test               everything that the test-suite needs
    python3 tools/build.py kustomize kwok     these two
    python3 tools/build.py --list             the programs, their versions and groups
    python3 tools/build.py --path kustomize   where a program is

A program is taken from the cache, else from PATH if it has exactly the pinned version, else built
with Go from its module, else (without Go) downloaded as the official release and checked.
The cache is ~/.cache/release-bundler/tools; $BUNDLER_TOOLS names another folder.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST_GO = (1, 26)
FIRST_GO_THAT_FETCHES_NEWER = (1, 21)
OWN_SOURCE = "."
"""The package of a program whose main.go is here; its version is the one of the module it wraps."""


@dataclass(frozen=True)
class Release:
    """An official download of a program, for machines without Go."""

    url: str
    sha256: Mapping[str, str]
    """The checksum for each of Go's names of a Linux architecture."""
    member: str | None = None
    """The binary's path in the archive; without it, the download is the binary itself."""


@dataclass(frozen=True)
class Program:
    name: str
    version: str
    package: str
    binary: str
    pinned_in: str | None = None
    """The folder beside this file whose go.mod and go.sum pin the build; else the package's own."""
    module: str | None = None
    """The module that this folder's go.mod must require at our version."""
    linker_values: tuple[str, ...] = ()
    version_arguments: tuple[str, ...] = ("--version",)
    release: Release | None = None


def kubernetes(component: str) -> Program:
    version = "v1.36.3"
    major, minor, _ = version.removeprefix("v").split(".")
    stamp = "k8s.io/component-base/version."
    return Program(
        name=component,
        version=version,
        package=f"k8s.io/kubernetes/cmd/{component}",
        binary=component,
        pinned_in="kubernetes",
        module="k8s.io/kubernetes",
        linker_values=(
            f"{stamp}gitVersion={{version}}",
            f"{stamp}gitMajor={major}",
            f"{stamp}gitMinor={minor}",
        ),
    )


PROGRAMS = (
    Program(
        name="kustomize",
        version="v5.8.2",
        package="sigs.k8s.io/kustomize/kustomize/v5",
        binary="kustomize",
        version_arguments=("version",),
        release=Release(
            url="https://github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2F"
            "{version}/kustomize_{version}_linux_{arch}.tar.gz",
            sha256={
                "amd64": "06af0a202c2b831207d0173f9c9cdb1b30abceca0747cb3fbb72792d26055c95",
                "arm64": "0991957191951cb7dddd142403b5bb98a1fcd6378ba0079dddc1e2c309080a7f",
            },
            member="kustomize",
        ),
    ),
    Program(
        name="helm",
        version="v3.22.0",
        package="helm.sh/helm/v3/cmd/helm",
        binary="helm",
        linker_values=("helm.sh/helm/v3/internal/version.version={version}",),
        version_arguments=("version", "--short"),
        release=Release(
            url="https://get.helm.sh/helm-{version}-linux-{arch}.tar.gz",
            sha256={
                "amd64": "1e4ab49e429626cf6c6958d914248b78c9730803c2751b87627e171dc800e7bb",
                "arm64": "f14e804dfee240f55525b667488fe9adca349e63e00c9af634c0beb1421ac310",
            },
            member="linux-{arch}/helm",
        ),
    ),
    Program(
        name="helm4",
        version="v4.3.1",
        package="helm.sh/helm/v4/cmd/helm",
        binary="helm",
        linker_values=("helm.sh/helm/v4/internal/version.version={version}",),
        version_arguments=("version", "--short"),
    ),
    Program(
        name="kwok",
        version="v0.8.0",
        package="sigs.k8s.io/kwok/cmd/kwok",
        binary="kwok",
        linker_values=("sigs.k8s.io/kwok/pkg/consts.Version={version}",),
        release=Release(
            url="https://github.com/kubernetes-sigs/kwok/releases/download/"
            "{version}/kwok-linux-{arch}",
            sha256={
                "amd64": "f5a4385a2ae1b9dd7f8acae18e002a75c0ebba124ae9d7259aa8dadb50711f46",
                "arm64": "628f7d277860f524a2a775c217adcc58828e7b59ab0933680315784f1b8b0e37",
            },
        ),
    ),
    Program(
        name="distribution",
        version="v3.1.2",
        package="github.com/distribution/distribution/v3/cmd/registry",
        binary="registry",
        linker_values=("github.com/distribution/distribution/v3/version.version={version}",),
        release=Release(
            url="https://github.com/distribution/distribution/releases/download/"
            "{version}/registry_{number}_linux_{arch}.tar.gz",
            sha256={
                "amd64": "40df2224d410f72ae425c3371873b078bbdbda3b8b612be9571f0e6751f3acc8",
                "arm64": "09d26f88d2c0f161bd1b8bfc6c123571cc3d291dcca8af5477b3cacc4ec95e73",
            },
            member="registry",
        ),
    ),
    Program(
        name="referrers-registry",
        version="v0.22.1",
        package=OWN_SOURCE,
        binary="referrers-registry",
        pinned_in="referrers-registry",
        module="github.com/google/go-containerregistry",
        version_arguments=(),
    ),
    Program(
        name="docker-registry",
        version="v2.8.3+incompatible",
        package=OWN_SOURCE,
        binary="docker-registry",
        pinned_in="docker-registry",
        module="github.com/docker/distribution",
        version_arguments=(),
    ),
    Program(
        name="oras",
        version="v1.2.3",
        package="oras.land/oras/cmd/oras",
        binary="oras",
        pinned_in="oras",
        module="oras.land/oras",
        linker_values=("oras.land/oras/internal/version.BuildMetadata=",),
        version_arguments=("version",),
    ),
    Program(
        name="crane",
        version="v0.22.1",
        package="github.com/google/go-containerregistry/cmd/crane",
        binary="crane",
        pinned_in="crane",
        module="github.com/google/go-containerregistry",
        linker_values=("github.com/google/go-containerregistry/cmd/crane/cmd.Version={version}",),
        version_arguments=("version",),
    ),
    Program(
        name="etcd",
        version="v3.7.3",
        package="go.etcd.io/etcd/server/v3",
        binary="etcd",
        pinned_in="etcd",
        module="go.etcd.io/etcd/server/v3",
    ),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    Program(
        name="cosign",
        version="v3.1.3",
        package="github.com/sigstore/cosign/v3/cmd/cosign",
        binary="cosign",
        linker_values=("sigs.k8s.io/release-utils/version.gitVersion={version}",),
        version_arguments=("version",),
    ),
    Program(
        name="sops",
        version="v3.13.3",
        package="github.com/getsops/sops/v3/cmd/sops",
        binary="sops",
        version_arguments=("--version", "--disable-version-check"),
    ),
    Program(
        name="age-keygen",
        version="v1.3.2",
        package="filippo.io/age/cmd/age-keygen",
        binary="age-keygen",
    ),
)
PROGRAM = {program.name: program for program in PROGRAMS}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "demo": ("kustomize",),
    "cluster": ("kustomize", *CONTROL_PLANE),
    "test": (
        "kustomize",
        "helm",
        "helm4",
        "distribution",
        "referrers-registry",
        "docker-registry",
        "oras",
        "crane",
        "sops",
        "age-keygen",
        *CONTROL_PLANE,
    ),
    "all": tuple(name for name in PROGRAM if name != "cosign"),
    "all-optional": tuple(PROGRAM),
}


class MissingProgramError(Exception):
    """A program is not there, or cannot be had; the message says what to do."""


def binary_path(name: str) -> Path:
    """Where a program is that `ensure` has built before."""
    program = PROGRAM[name]
    path = cached(program)
    if not is_present(program, path):
        raise MissingProgramError(
            f"{name} {program.version} is not built: run python3 tools/build.py {name}"
        )
    return path


def ensure(program: Program) -> str:
    """Have the program in the cache; returns how it got there."""
    path = cached(program)
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent.with_name(f"{path.parent.name}.lock")):
        if is_present(program, path):
            return "cached"
        new = path.parent.with_name(f".building-{path.parent.name}")
        for leftover in (new, path.parent):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir()
        how = obtain(program, new / path.name)
        new.rename(path.parent)
        return how


def obtain(program: Program, path: Path) -> str:
    if installed := find_on_path(program):
        path.symlink_to(installed)
        return f"linked to {installed}"
    if go := find_go():
        build(program, path, go)
        how = "built"
    elif (archive := program.release) and (checksum := archive.sha256.get(linux_architecture())):
        download(program, archive, checksum, path)
        how = "downloaded"
    else:
        raise MissingProgramError(
            f"{program.name}: install Go {'.'.join(map(str, OLDEST_GO))} or newer (go.dev/dl), "
            f"or put {program.binary} {program.version} on PATH"
        )
    if not has_version(program, path):
        raise MissingProgramError(f"{program.name}: {how}, but it is not {program.version}")
    return how


def build(program: Program, path: Path, go: str) -> None:
    values = [f"-X {value.format(version=program.version)}" for value in program.linker_values]
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *values])]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    if program.pinned_in:
        folder = HERE / program.pinned_in
        if f"{program.module} {program.version}" not in (folder / "go.mod").read_text():
            raise MissingProgramError(
                f"{program.name}: {folder.name}/go.mod does not require "
                f"{program.module} {program.version}"
            )
        target = ["-mod=readonly", "-o", str(path), program.package]
        command = [go, "build", "-C", str(folder), *flags, *target]
    else:
        environment["GOBIN"] = str(path.parent)
        command = [go, "install", *flags, f"{program.package}@{program.version}"]
    run = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        last_lines = "\n".join(run.stdout.splitlines()[-20:])
        raise MissingProgramError(f"{program.name}: the build failed\n{last_lines}")


def download(program: Program, release: Release, checksum: str, path: Path) -> None:
    names = {
        "version": program.version,
        "number": program.version.removeprefix("v"),
        "arch": linux_architecture(),
    }
    url = release.url.format(**names)
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content: bytes = response.read()
    except OSError as error:
        raise MissingProgramError(f"{program.name}: downloading {url}: {error}") from error
    received = hashlib.sha256(content).hexdigest()
    if received != checksum:
        raise MissingProgramError(
            f"{program.name}: {url} has sha256 {received}, expected {checksum}"
        )
    if release.member is None:
        path.write_bytes(content)
    else:
        archive = path.with_name("archive")
        archive.write_bytes(content)
        with tarfile.open(archive) as tar:
            member = tar.extractfile(release.member.format(**names))
            if member is None:
                raise MissingProgramError(f"{program.name}: {release.member} is not a file")
            path.write_bytes(member.read())
        archive.unlink()
    path.chmod(0o755)


def find_on_path(program: Program) -> Path | None:
    if not program.version_arguments:
        return None
    found = shutil.which(program.binary)
    return Path(found).resolve() if found and has_version(program, Path(found)) else None


def find_go() -> str | None:
    go = shutil.which("go")
    if go is None:
        return None
    run = subprocess.run(
        [go, "env", "-json", "GOVERSION", "GOTOOLCHAIN"],
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        return None
    settings: dict[str, str] = json.loads(run.stdout)
    number = re.match(r"go(\d+)\.(\d+)", settings["GOVERSION"])
    version = tuple(map(int, number.groups())) if number else (0, 0)
    fetches_newer = settings["GOTOOLCHAIN"] != "local" and version >= FIRST_GO_THAT_FETCHES_NEWER
    return go if version >= OLDEST_GO or fetches_newer else None


def is_present(program: Program, path: Path) -> bool:
    # What a link points to can have been upgraded since; what was built here cannot.
    return path.is_file() and (not path.is_symlink() or has_version(program, path))


def has_version(program: Program, path: Path) -> bool:
    if not program.version_arguments:
        return True
    try:
        run = subprocess.run(
            [path, *program.version_arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    number = re.escape(program.version.removeprefix("v"))
    return re.search(rf"(?<![\w.])v?{number}(?![\w.-])", run.stdout) is not None


def cached(program: Program) -> Path:
    folder = f"{program.name}-{program.version}"
    if program.package == OWN_SOURCE and program.pinned_in:
        source = HERE / program.pinned_in / "main.go"
        folder += f"-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"
    return cache_root() / folder / program.binary


def cache_root() -> Path:
    if chosen := os.environ.get("BUNDLER_TOOLS"):
        return Path(chosen).absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "release-bundler" / "tools"


def linux_architecture() -> str:
    if platform.system() != "Linux":
        return "none"
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock, so that of two builds of a program the second finds the first's."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def select(names: Sequence[str]) -> list[Program]:
    chosen = dict.fromkeys(member for name in names for member in GROUPS.get(name, (name,)))
    if unknown := [name for name in chosen if name not in PROGRAM]:
        raise MissingProgramError(
            f"unknown: {', '.join(unknown)}; there are {', '.join([*PROGRAM, *GROUPS])}"
        )
    return [PROGRAM[name] for name in chosen]


def print_programs() -> None:
    for program in PROGRAMS:
        state = "present" if is_present(program, cached(program)) else "-"
        groups = " ".join(group for group, members in GROUPS.items() if program.name in members)
        print(f"{program.name:24} {program.version:20} {state:8} {groups}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a program or a group of them")
    parser.add_argument("--list", action="store_true", help="show the programs")
    parser.add_argument("--path", metavar="NAME", help="print where a program is")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            print_programs()
        elif options.path:
            select([options.path])
            print(binary_path(options.path))
        elif options.names:
            for program in select(options.names):
                started = time.monotonic()
                print(f"{program.name:24} {program.version:20} ", end="", flush=True)
                how = ensure(program)
                print(f"{how} in {time.monotonic() - started:.1f} s")
        else:
            parser.print_help()
            return 2
    except MissingProgramError as error:
        print(f"\n{error}" if options.names else error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
