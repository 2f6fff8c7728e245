"""What the programs that render have in common: how they are found, started and quoted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bundler.adapters import programs

SECONDS = 120.0
MAX_OUTPUT = 64 * 1024 * 1024
_LONGEST_WORDS = 4_000


def find(names: Iterable[str]) -> str | None:
    """The first of these programs that is there."""
    found = next((found for name in names if (found := shutil.which(name))), None)
    return str(Path(found).absolute()) if found else None


def run(
    arguments: Sequence[str],
    *,
    home: Path,
    folder: Path,
    seconds: float,
    more: Mapping[str, str] | None = None,
) -> programs.Completed:
    """Run without network, credentials or a home. Raises as `programs.run` does.

    `more` is put into the otherwise empty environment.
    """
    return programs.run(
        arguments,
        environment=_environment(home) | dict(more or {}),
        folder=folder,
        seconds=seconds,
        max_output=MAX_OUTPUT,
    )


def _environment(home: Path) -> dict[str, str]:
    """PATH and nothing else of ours; what could reach the network is pointed at nothing."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        # Both are Go: they end before their memory matters, and a third of their time is its care.
        "GOGC": "1000",
        "GOMEMLIMIT": "1GiB",
    }


def without_root(words: str, root: Path) -> str:
    """What the program said, with the tree's paths as its author knows them."""
    return words.replace(f"{root}/", "").replace(str(root), ".")


def shortened(words: str) -> str:
    return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + " …"
