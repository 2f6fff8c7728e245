"""Content that wants more time, memory or place than a bundle can need."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.archives import gunzip, read_tar
from bundler.publish.pack import gzip, tar

ROOT = Path(__file__).parents[3]

VERIFY = """
import sys, time
from pathlib import Path
from bundler.archives import gunzip, read_tar
try:
    read_tar(gunzip(Path(sys.argv[1]).read_bytes()))
except ValueError as error:
    print(error)
print(time.process_time())
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def entries(names: list[str], kind: bytes = tarfile.DIRTYPE) -> bytes:
    blocks = io.BytesIO()
    for name in names:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        blocks.write(entry.tobuf(tarfile.USTAR_FORMAT))
    return blocks.getvalue() + bytes(1024)


def zeros(size: int) -> bytes:
    """A gzip member of zeros."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    piece = bytes(1024 * 1024)
    return b"".join(deflate.compress(piece) for _ in range(size >> 20)) + deflate.flush()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "1 GiB of zeros": (lambda: zeros(1 << 30), "more than 268435456 bytes"),
    "1,000,000 entries": (lambda: gzip(entries(["a"])[:512] * 1_000_000), "more than 268435456"),
    "60,000 folders": (lambda: gzip(entries(["a"])[:512] * 60_000), "more than 40000 entries"),
    "20,000 files": (
        lambda: gzip(entries([f"{number}" for number in range(20_000)], tarfile.REGTYPE)),
        "too many files",
    ),
    "compressed twice": (lambda: gzip(zeros(1 << 30)), "not a ustar header"),
}


@pytest.mark.parametrize(("make", "told"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_takes_little_time_and_memory(
    tmp_path: Path, make: Callable[[], bytes], told: str
) -> None:
    file = tmp_path / "layer"
    file.write_bytes(make())
    completed = subprocess.run(
        [sys.executable, "-c", VERIFY, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    refusal, seconds, kibibytes = completed.stdout.splitlines()
    assert told in refusal
    assert float(seconds) < 10
    assert int(kibibytes) < 200 * 1024
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "names",
    [
        ("stage/a", "stage/a/b"),
        ("stage/a/b", "stage/a"),
        ("stage/A", "stage/a/b"),
        ("stage/\u00fc", "stage/u\u0308"),
        ("stage/\u1e9e", "stage/ss"),
    ],
)
def test_files_that_cannot_lie_side_by_side_everywhere_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"stands twice|is a file and the folder"):
        read_tar(entries([*names], tarfile.REGTYPE))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_content_of_any_size_is_unpacked_whole(size: int) -> None:
    content = os.urandom(size)
    assert gunzip(gzip(content)) == content
    for cut in (1, 8, 9):
        with pytest.raises(ValueError, match="truncated"):
            gunzip(gzip(content)[:-cut])
    with pytest.raises(ValueError, match="follows"):
        gunzip(gzip(content) + b"x")


def test_a_bundle_of_many_folders_is_read() -> None:
    files = {f"stage/{number % 7}/{number}.yaml": b"a: b\n" for number in range(500)}
    assert read_tar(tar(files)) == dict(sorted(files.items()))
