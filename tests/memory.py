"""The most memory that a program had, or that we have had for a while.

A process begins with its parent's peak as its own (`ru_maxrss` outlives exec), so a program is
started by a small one, and our own peak is forgotten before it is asked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_WATCH = """
import os, resource, sys
file, *command = sys.argv[1:]
status = os.waitpid(os.posix_spawnp(command[0], command, os.environ), 0)[1]
open(file, "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
MEBIBYTE = 1024 * 1024


def measured(
    command: Sequence[str], **settings: Any
) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """A program that ran to its end, and its peak in bytes. `settings` are those of `run`."""
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder) / "peak"
        watch = [sys.executable, "-S", "-c", _WATCH, str(peak), *command]
        done = subprocess.run(watch, check=False, **settings)
        return done, int(peak.read_text()) * 1024


def peak_of(work: Callable[[], object]) -> int:
    """By how many bytes our memory grows at most while `work` is done."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{key}:")[2].split()[0]) * 1024
