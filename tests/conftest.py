"""Fixtures of all tests: the real parts, and an environment without anyone's settings."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.real_parts"]

_PRIVATE = ("BUNDLER_", "DOCKER_", "GITHUB_", "CI_", "KUBE", "REGISTRY_AUTH")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees the home, the CI variables or the credentials of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(_PRIVATE) and name != "BUNDLER_TOOLS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path_factory.mktemp("docker")))
    monkeypatch.setenv("BUNDLER_CACHE", str(tmp_path_factory.mktemp("cache")))
