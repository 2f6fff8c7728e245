"""Git's own smart HTTP server, `git http-backend`, behind the scripted one."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.fakes.scripted_server import Answer, Asked
from tests.git_history import ENVIRONMENT


def backend(root: Path, *, newest_protocol: bool = True) -> Callable[[Asked], Answer]:
    """Serves all repositories below a folder; the first protocol knows no commits by id."""

    def answer(asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        headers = {
            "CONTENT_TYPE": asked.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": asked.headers.get("Content-Encoding", ""),
        }
        if newest_protocol:
            headers["GIT_PROTOCOL"] = asked.headers.get("Git-Protocol", "")
        request = {
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": asked.method,
            "CONTENT_LENGTH": str(len(asked.body)),
        }
        done = subprocess.run(
            ["git", "http-backend"],
            input=asked.body,
            capture_output=True,
            check=False,  # it also fails where it has told the client why
            env=ENVIRONMENT | headers | request,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        told = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Answer(int(told.pop("Status", "200").split()[0]), body, told)

    return answer


def needs_login(root: Path, user: str, password: str) -> Callable[[Asked], Answer]:
    """The same for one user alone."""
    served = backend(root)
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def answer(asked: Asked) -> Answer:
        if asked.authorization == expected:
            return served(asked)
        return Answer(401, headers={"WWW-Authenticate": 'Basic realm="git"'})

    return answer
