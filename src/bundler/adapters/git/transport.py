"""git on other repositories: over its own transports, bounded in time, never asking a person.

git runs outside of any repository but the one that it is given, so that no other's settings count,
and logs in as the user's own settings say.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from bundler.adapters.git.errors import failure_of, git_missing, without_userinfo
from bundler.adapters.git.process import environment, settings
from bundler.adapters.programs import Completed, OutputLimit, TimeLimit, run
from bundler.errors import CouldNotCheck, SourceInvalid, Unreachable

_CONNECT_SECONDS = 15
_MAX_OUTPUT = 64 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TRANSPORTS = {"https": "https:ssh", "ssh": "https:ssh", "http": "http", "file": "file"}
"""Scheme → what git may use: the user's settings may put ssh in the place of https and back."""
_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9][A-Za-z0-9.-]*:(?!:)[^\s]+")
_NO_PROMPT = {
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
}


def run_on(url: str, folder: Path, seconds: float, *arguments: str) -> Completed:
    """Run a git command that talks to the repository at `url`.

    Raises SourceInvalid for a URL that may not be asked, Unreachable, CouldNotCheck.
    """
    transports = _TRANSPORTS[_scheme(url)]
    quiet = _NO_PROMPT | {
        "GIT_ALLOW_PROTOCOL": transports,
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    if "ssh" in transports:
        quiet |= _ssh(folder)
    try:
        return run(
            ["git", *settings(), *arguments],
            environment=environment(quiet),
            folder=folder,
            seconds=seconds,
            max_output=_MAX_OUTPUT,
        )
    except FileNotFoundError as error:
        raise git_missing() from error
    except TimeLimit as error:
        raise Unreachable(
            f"{without_userinfo(url)} does not answer: {error}", hint="run it again later"
        ) from error
    except OutputLimit as error:
        raise CouldNotCheck(f"{without_userinfo(url)} says too much: {error}") from error


def is_address(text: str) -> bool:
    """Whether it is a URL or `user@host:path`, and no path of a folder."""
    return "://" in text or bool(_SCP.fullmatch(text))


def _scheme(url: str) -> str:
    """How git would reach a URL. Raises SourceInvalid for one that is not allowed."""
    if _SCP.fullmatch(url):
        return "ssh"
    if url.startswith("/") and url.isprintable():
        return "file"
    try:
        parts = urlsplit(url)
        password, host, _ = parts.password, parts.hostname or "", parts.port
    except ValueError as error:
        raise _not_allowed(url) from error
    if password is not None:
        raise SourceInvalid(
            f"{without_userinfo(url)} is given with a password",
            hint="leave it out: git asks the credential helpers of your settings",
        )
    is_plain = url.isprintable() and " " not in url and "::" not in url.partition("://")[0]
    is_host = bool(host) and not host.startswith("-")
    allowed = {
        "https": is_host,
        "ssh": is_host and not (parts.username or "").startswith("-"),
        "http": host in _LOOPBACK,
        "file": parts.path.startswith("/"),
    }
    if not is_plain or not allowed.get(parts.scheme) or not url.startswith(f"{parts.scheme}://"):
        raise _not_allowed(url)
    return parts.scheme


def _not_allowed(url: str) -> SourceInvalid:
    return SourceInvalid(
        f"{url.rpartition('@')[2]!r} is no URL of a repository that may be asked",
        hint="write https://host/path, ssh://host/path, git@host:path or an absolute path",
    )


def _ssh(folder: Path) -> dict[str, str]:
    """The user's own way to run ssh, told not to ask and not to wait."""
    command = os.environ.get("GIT_SSH_COMMAND")
    if not command and os.environ.get("GIT_SSH"):
        return {}  # an own program, which may know no options
    if not command:
        asked = ["git", "config", "--get", "core.sshCommand"]
        with suppress(FileNotFoundError):
            done = subprocess.run(
                asked,
                cwd=folder,
                env=environment({"GIT_CEILING_DIRECTORIES": str(folder.parent)}),
                capture_output=True,
                check=False,
            )
            command = done.stdout.decode(errors="replace").strip()
    options = f"-o BatchMode=yes -o ConnectTimeout={_CONNECT_SECONDS}"
    return {"GIT_SSH_COMMAND": f"{command or 'ssh'} {options}"}


@contextmanager
def new_repository(object_format: str = "sha1") -> Iterator[Path]:
    """A bare repository that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="bundler-") as name:
        folder = Path(name).resolve() / "git"
        folder.mkdir()
        made = [
            "git",
            "init",
            "--quiet",
            "--bare",
            "--template=",
            f"--object-format={object_format}",
        ]
        try:
            done = subprocess.run(
                [*made, str(folder)], env=environment(), capture_output=True, check=False
            )
        except FileNotFoundError as error:
            raise git_missing() from error
        if done.returncode:
            raise failure_of("git init", done.stderr)
        yield folder
