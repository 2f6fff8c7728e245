"""Fixtures of the tests that apply to the control plane; each has a namespace of its own.

Test modules name this file in `pytest_plugins`, and import nothing from it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.live_objects import CORE, LEASES, Namespace, Status, Untouched
from tests.e2e.machine import Machine
from tests.e2e.releases import Releases
from tools.control_plane import ControlPlane


@pytest.fixture
def place(control_plane: ControlPlane, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


@pytest.fixture
def releases(tmp_path: Path, namespace: str) -> Releases:
    return Releases(tmp_path / "registry", {"default": namespace})


@pytest.fixture
def machine(tmp_path: Path, control_plane: ControlPlane) -> Machine:
    return Machine(tmp_path / "empty", ("--kubeconfig", str(control_plane.kubeconfig)))


@pytest.fixture
def status(machine: Machine, namespace: str) -> Status:
    """Tag of the current release, tag and status of the last one."""

    def look() -> tuple[str | None, str, str]:
        found = machine.look("status", "--namespace", namespace)
        current, latest = found["current"], found["latest"]
        return current and current["tag"], latest["tag"], latest["status"]

    return look


@pytest.fixture
def untouched(place: Namespace) -> Untouched:
    """Whether nothing of ours stands in the namespace."""

    def is_so() -> bool:
        leases = place.listed(LEASES, "leases")
        state = place.listed(CORE, "configmaps", "release-bundler/state")
        return not (place.owned() or leases or state)

    return is_so
