"""`bundler` where a name is one of this machine: `python named_here.py NAME ARGUMENTS`.

Without a name of its own, a registry on this machine would be asked without TLS.
"""

from __future__ import annotations

import socket
import sys
from typing import Any


def name_here(name: str) -> None:
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == name else host, *arguments, **named)

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]


if __name__ == "__main__":
    name_here(sys.argv.pop(1))
    from bundler.__main__ import main

    main()
