"""Secrets that can be recognised, wherever they turn up."""

from __future__ import annotations

import base64
import gzip
import secrets
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

_MARK = "c4nary"
_SAMPLING_SECONDS = 0.01


class Canaries:
    """Makes secrets, and finds them again, also in the forms that protocols give them."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}

    def secret(self, kind: str, user: str = "") -> str:
        secret = f"{_MARK}-{kind}-{secrets.token_hex(6)}"
        pair = f"{user}:{secret}"
        forms = [secret, quote(pair)]
        forms += [base64.b64encode(text.encode()).decode() for text in (pair, secret)]
        self._forms |= {form.encode(): kind for form in forms}
        return secret

    def key(self, kind: str, pem: str) -> None:
        """Every line of a private key is a secret."""
        lines = pem.partition("PRIVATE KEY-----")[2].partition("-----END")[0].split()
        self._forms |= {line.encode(): kind for line in lines}

    def found_in(self, content: bytes) -> set[str]:
        """The kinds of the secrets that a text holds."""
        found = {kind for form, kind in self._forms.items() if form in content}
        return found or ({"any"} if _MARK.encode() in content else set())

    def found_in_files(self, folders: Iterable[Path], but: Iterable[Path]) -> dict[str, set[str]]:
        """Path → the kinds in it or, unpacked, its content; `but` are places meant for secrets."""
        spared = tuple(but)
        leaks = {}
        for path in (path for folder in folders for path in folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            if any(path.is_relative_to(place) for place in spared):
                continue
            content = path.read_bytes()
            with suppress(OSError, EOFError, zlib.error):
                content += gzip.decompress(content)
            if kinds := self.found_in(str(path).encode() + b"\0" + content):
                leaks[str(path)] = kinds
        return leaks

    @contextmanager
    def watched_arguments(self) -> Iterator[dict[str, set[str]]]:
        """Argument lists of any process, ever, that show a secret."""
        leaks: dict[str, set[str]] = {}
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(_SAMPLING_SECONDS):
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    with suppress(OSError):
                        arguments = path.read_bytes()
                        if kinds := self.found_in(arguments):
                            leaks[arguments.decode(errors="replace")] = kinds

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield leaks
        finally:
            is_over.set()
            thread.join()
