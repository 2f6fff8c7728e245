"""tools/build.py takes a program from the right place, and never a wrong one."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tools.build import (
    GROUPS,
    HERE,
    PROGRAM,
    PROGRAMS,
    MissingProgramError,
    Program,
    Release,
    binary_path,
    cached,
    download,
    ensure,
    main,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUNDLER_TOOLS", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH: there is no Go."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_program(folder: Path, version_line: str) -> Path:
    program = folder / "kustomize"
    program.write_text(f"#!/bin/sh\necho '{version_line}'\n")
    program.chmod(0o755)
    return program


def test_program_of_the_right_version_on_path_is_used(path: Path) -> None:
    installed = write_program(path, PROGRAM["kustomize"].version)
    assert ensure(PROGRAM["kustomize"]) == f"linked to {installed}"
    assert binary_path("kustomize").resolve() == installed


@pytest.mark.parametrize("version_line", ["v5.8.1", "v5.8.20", "v15.8.2", "v5.8.2-rc.1"])
def test_other_versions_are_not_used(
    path: Path, version_line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(path, version_line)
    monkeypatch.setattr("tools.build.linux_architecture", lambda: "none")
    with pytest.raises(MissingProgramError, match="install Go"):
        ensure(PROGRAM["kustomize"])


def test_a_linked_program_that_was_upgraded_is_not_used(path: Path) -> None:
    write_program(path, PROGRAM["kustomize"].version)
    ensure(PROGRAM["kustomize"])
    write_program(path, "v9.9.9")
    with pytest.raises(MissingProgramError, match=r"run python3 tools/build\.py kustomize"):
        binary_path("kustomize")


def test_without_go_a_program_without_a_release_says_what_to_install(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kube-apiserver"]) == 1
    assert "kube-apiserver: install Go 1.26 or newer" in capsys.readouterr().err


def test_a_failed_build_shows_the_compiler_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text("module broken\n// wraps example.org/thing v1.0.0\n")
    (source / "main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    program = Program(
        name="broken",
        version="v1.0.0",
        package=".",
        binary="broken",
        pinned_in=str(source),
        module="example.org/thing",
    )
    with pytest.raises(MissingProgramError, match=r"main\.go:3:15: undefined: nothing"):
        ensure(program)
    assert not cached(program).exists()


def test_two_builds_at_once_build_once(cache: Path) -> None:
    command = [sys.executable, str(HERE / "build.py"), "referrers-registry"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(line.split()[2] for line in lines) == ["built", "cached"]
    left = [found.name for found in cache.iterdir() if not found.name.endswith(".lock")]
    assert left == [cached(PROGRAM["referrers-registry"]).parent.name]


def test_modules_here_pin_the_versions_of_the_table() -> None:
    for program in PROGRAMS:
        if program.pinned_in:
            required = (HERE / program.pinned_in / "go.mod").read_text()
            assert f"{program.module} {program.version}" in required


def test_groups_are_of_known_programs() -> None:
    assert {name for members in GROUPS.values() for name in members} == set(PROGRAM)


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[str]:
    """A server that has bin/tool in an archive."""
    with tarfile.open(tmp_path / "tool.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("bin/tool")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"#!bin"))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    handler = partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/tool.tar.gz"
        server.shutdown()
        thread.join()


def test_a_download_is_unpacked_when_its_checksum_is_right(tmp_path: Path, downloads: str) -> None:
    checksum = hashlib.sha256((tmp_path / "tool.tar.gz").read_bytes()).hexdigest()
    binary = tmp_path / "tool"
    release = Release(url=downloads, sha256={}, member="bin/tool")
    download(PROGRAM["kustomize"], release, checksum, binary)
    assert binary.read_bytes() == b"#!bin"
    assert os.access(binary, os.X_OK)


def test_a_download_with_another_checksum_is_refused(tmp_path: Path, downloads: str) -> None:
    binary = tmp_path / "tool"
    release = Release(url=downloads, sha256={}, member="bin/tool")
    with pytest.raises(MissingProgramError, match="has sha256"):
        download(PROGRAM["kustomize"], release, "0" * 64, binary)
    assert not binary.exists()


def test_a_release_has_a_checksum_for_the_usual_machines() -> None:
    for program in PROGRAMS:
        if program.release:
            assert {"amd64", "arm64"} == set(program.release.sha256)
