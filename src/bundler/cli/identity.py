"""Who runs a command, and when."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bundler.model.revision import Who


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def claimed() -> Who:
    """What the environment claims: the CI system's actor and job, or the user and machine."""
    from bundler.model.revision import Who

    variables = os.environ
    actor = variables.get("GITHUB_ACTOR") or variables.get("GITLAB_USER_LOGIN")
    job = variables.get("CI_JOB_URL")
    if run := variables.get("GITHUB_RUN_ID"):
        server, repository = variables.get("GITHUB_SERVER_URL"), variables.get("GITHUB_REPOSITORY")
        job = f"{server}/{repository}/actions/runs/{run}"
    return Who(claimed=actor or f"{_user()}@{socket.gethostname()}", job=job)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())
