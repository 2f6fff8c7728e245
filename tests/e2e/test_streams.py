"""Output that nobody reads, cannot be written or was never opened changes no outcome."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Bundler
from tools.sample_shop import SampleShop

UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


def shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash where `bundler` is this one."""
    function = f'bundler() {{ "{sys.executable}" -m bundler "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", function + command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@UNBUFFERED
def test_a_reader_that_has_seen_enough_is_no_failure(shop: SampleShop, unbuffered: str) -> None:
    line = "bundler list 2>&1 | true; exit ${PIPESTATUS[0]}"
    done = shell(line, shop.repository, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


@UNBUFFERED
def test_a_result_that_cannot_be_written_is_a_failure(shop: SampleShop, unbuffered: str) -> None:
    if not Path("/dev/full").exists():
        return
    done = shell("bundler list > /dev/full", shop.repository, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the result cannot be written: no space left")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_closed_streams_change_nothing(shop: SampleShop, closed: str) -> None:
    done = shell(f"bundler list {closed}", shop.repository)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_standard_input_nobody_is_asked(shop: SampleShop) -> None:
    done = shell("bundler apply v1.0.0 --env stage --directory out <&-", shop.repository)
    assert done.returncode == 2
    assert "--yes applies without asking" in done.stderr


def test_a_terminal_that_knows_few_letters_gets_all_findings(
    shop: SampleShop, bundler: Bundler
) -> None:
    result = bundler(
        "publish", "v1.1.0", "--repo", "shop", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert result.exit_code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_does_not_wait_for_a_silent_registry(
    shop: SampleShop, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.settimeout(60)
        place = f"oci://127.0.0.1:{registry.getsockname()[1]}/deploy"
        process = subprocess.Popen(
            [sys.executable, "-m", "bundler", "list", "--deploy-registry", place],
            cwd=shop.repository,
            stderr=subprocess.PIPE,
        )
        connection, _ = registry.accept()
        with connection:
            process.send_signal(number)
            _, words = process.communicate(timeout=20)
    assert process.returncode == code
    assert words.startswith(b"error: interrupted\n")
