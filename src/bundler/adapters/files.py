"""Files on disk: a whole tree, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bundler.errors import UsageError


def write_tree(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new or empty folder, in one step. Raises UsageError, also for I/O."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"{directory} is not empty", hint="name a new folder, or empty this one first"
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".bundler-") as folder:
            root = Path(folder) / "tree"
            root.mkdir()
            for path, content in files.items():
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            if directory.exists():
                directory.rmdir()
            os.replace(root, directory)  # noqa: PTH105  replaces; Path.rename differs on Windows
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error


def write_file(file: Path, content: bytes, *, private: bool = False) -> None:
    """Create or replace a file in one step; a link is replaced itself. Raises UsageError.

    A private one is its owner's alone to read and write.
    """
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".bundler-") as folder:
            new = Path(folder) / "file"
            new.write_bytes(content)
            if private:
                new.chmod(0o600)
            os.replace(new, file)  # noqa: PTH105  as above
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
