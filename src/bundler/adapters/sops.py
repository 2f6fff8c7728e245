"""Decrypts with the `sops` program: from its standard input to its standard output, in memory.

Keys are the runner's: the program has its environment (SOPS_AGE_KEY_FILE, GNUPGHOME, AWS_…). What
it says is never told, as it quotes the hash of the values in clear, and parts of malformed keys.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bundler.adapters import programs
from bundler.errors import CouldNotCheck, KeyNeeded, Refused, ToolMissing, VerificationFailed
from bundler.manifests import read_json
from bundler.model.objects import KubernetesObject

SECONDS = 60.0
MAX_OUTPUT = 16 * 1024 * 1024
_ARGUMENTS = ("decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin")
_NO_KEY = 128
_CHANGED = {24, 25, 51, 52}
"""Exit codes (sops, cmd/sops/codes): a MAC or a value that does not decrypt, another MAC, none."""
_HOW = "install sops 3.9 or newer and put it on PATH, or name it with --sops: https://getsops.io"


class Sops:
    """Implements `bundler.ports.Decrypter`."""

    def __init__(self, program: str | None = None, *, seconds: float = SECONDS) -> None:
        """`program` is a path or name; None is `sops` on PATH."""
        self._program = program or "sops"
        self._seconds = seconds

    def decrypt(self, content: bytes) -> KubernetesObject:
        """See the port."""
        program = shutil.which(self._program)
        if program is None:
            raise ToolMissing(f"{self._program} is not installed", hint=_HOW)
        try:
            done = programs.run(
                [program, *_ARGUMENTS],
                environment=os.environ,
                folder=Path.cwd(),
                seconds=self._seconds,
                max_output=MAX_OUTPUT,
                words_in=content,
            )
        except programs.TimeLimit as error:
            hint = "does the service that holds the key answer?"
            raise CouldNotCheck(f"sops was {error}", hint=hint) from error
        except programs.OutputLimit as error:
            raise Refused(f"sops {error}") from error
        except OSError as error:
            raise ToolMissing(f"{program}: {error.strerror}", hint=_HOW) from error
        _check(done.code)
        return _document(done.output)


def _check(code: int) -> None:
    if code == _NO_KEY:
        raise KeyNeeded("key needed", hint="give sops a key of it, as in SOPS_AGE_KEY_FILE")
    if code in _CHANGED:
        raise VerificationFailed(
            "was changed after it was encrypted, or its MAC was", hint="publish it as SOPS wrote it"
        )
    if code:
        raise Refused(
            f"sops cannot decrypt it (exit code {code})",
            hint="bundler pull it, and sops decrypt its file shows why",
        )


def _document(output: bytes) -> KubernetesObject:
    """What the program wrote; nothing of it is in an error."""
    try:
        document = read_json(output)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refused("sops wrote no document")
    return document
