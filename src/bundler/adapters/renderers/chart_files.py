"""The files of a chart, from a folder of the tag's tree or from an archive, within bounds."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from bundler.adapters.renderers.chart_ignore import IsIgnored, ignore_rules
from bundler.model.finding import Finding

MAX_FILE_BYTES = 5 * 1024 * 1024
"""Of one file, as helm bounds it."""
MAX_BYTES = 100 * 1024 * 1024
"""Of all files of a chart, as helm bounds what an archive becomes."""
MAX_FILES = 20_000
_PIECE = 1024 * 1024
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)

Files = Mapping[str, bytes]
"""Path in the chart → content."""


class InvalidArchive(ValueError):
    """An archive that is no packaged chart, or not one to unpack; the message says why."""


def folder_files(root: Path, folder: Path) -> tuple[Files, list[Finding]]:
    """What helm would read of a folder, links followed, and what must not be read."""
    ignore = folder / ".helmignore"
    is_text = ignore.is_file() and ignore.resolve().is_relative_to(root.resolve())
    text = ignore.read_text("utf-8", "replace") if is_text else ""
    walk = _Walk(root.resolve(), ignore_rules(text))
    walk.visit(folder, folder.resolve(), "", ())
    return walk.files, walk.findings


class _Walk:
    def __init__(self, root: Path, is_ignored: IsIgnored) -> None:
        self._root = root
        self._is_ignored = is_ignored
        self._size = 0
        self.files: dict[str, bytes] = {}
        self.findings: list[Finding] = []

    def visit(self, shown: Path, folder: Path, prefix: str, around: tuple[Path, ...]) -> None:
        """`folder` is real; `around` are the folders that it was reached through."""
        for entry in sorted(folder.iterdir()):
            place = shown / entry.name
            real = self._real(entry, place)
            if real is None or len(self.files) >= MAX_FILES or self._size > MAX_BYTES:
                continue
            if self._is_ignored(f"{prefix}{entry.name}", real.is_dir()):
                continue
            if real.is_dir():
                if real in (*around, folder):
                    self._report("leaves-the-tree", place, "links to a folder that it is in")
                else:
                    self.visit(place, real, f"{prefix}{entry.name}/", (*around, folder))
            elif real.is_file():
                self._read(place, real, f"{prefix}{entry.name}")

    def _real(self, entry: Path, place: Path) -> Path | None:
        if not entry.is_symlink():
            return entry
        real = entry.resolve()
        if not real.is_relative_to(self._root):
            self._report("leaves-the-tree", place, "links out of the tag's tree")
        elif not real.exists():
            self._report("leaves-the-tree", place, "links to nothing in the tag's tree")
        else:
            return real
        return None

    def _read(self, place: Path, real: Path, name: str) -> None:
        size = real.stat().st_size
        self._size += size
        if size <= MAX_FILE_BYTES:  # helm refuses a larger one itself
            self.files[name] = real.read_bytes()
        if self._size > MAX_BYTES or len(self.files) >= MAX_FILES:
            self._report("chart-too-large", place, f"beyond {MAX_FILES} files or {MAX_BYTES} bytes")

    def _report(self, rule: str, place: Path, message: str) -> None:
        file = str(place.relative_to(self._root))
        self.findings.append(Finding(rule, message, file=file))


def archive_files(content: bytes) -> Files:
    """The files of a packaged chart, without the folder that they are all in."""
    try:
        unpacked = _gunzip(content)
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            return dict(_members(archive))
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, InvalidArchive):
            raise
        raise InvalidArchive(f"is no archive of a chart: {error}") from error


def _gunzip(content: bytes) -> bytes:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    pieces: list[bytes] = []
    size = 0
    left = content
    while not inflate.eof:
        piece = inflate.decompress(left, _PIECE)
        left = inflate.unconsumed_tail
        size += len(piece)
        if size > MAX_BYTES:
            raise InvalidArchive(f"unpacks to more than {MAX_BYTES} bytes")
        if not piece and not left and not inflate.eof:
            raise InvalidArchive("is cut off")
        pieces.append(piece)
    return b"".join(pieces)


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for count, member in enumerate(archive, 1):
        name = member.name
        if count > MAX_FILES:
            raise InvalidArchive(f"has more than {MAX_FILES} entries")
        parts = name.removeprefix("./").split("/")
        if name.startswith("/") or "\\" in name or ":" in parts[0] or ".." in parts:
            raise InvalidArchive(f"has the path {name!r}")
        if member.isdir():
            continue
        if member.type not in _PLAIN or member.issparse():
            raise InvalidArchive(f"{name!r} in it is no plain file")
        inner = "/".join(parts[1:])
        if not inner or inner in seen:
            raise InvalidArchive(f"{name!r} in it stands twice, or is in no folder")
        seen.add(inner)
        if member.size > MAX_FILE_BYTES:
            raise InvalidArchive(f"{name!r} in it has more than {MAX_FILE_BYTES} bytes")
        file = archive.extractfile(member)
        yield inner, file.read() if file else b""
