"""A layout in one file: the same bytes for the same content, and nothing believed of others."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.adapters.layout.index import MARKER
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.layout.oci_tar import OciTar, OciTarWriter
from bundler.adapters.layout.tar import BLOCK
from bundler.errors import NotFound, Unreachable, UsageError, VerificationFailed
from bundler.model.artifact import MANIFEST, REF_NAME, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image, index, referrer

ROOT = Path(__file__).parents[3]
PLACE = Repository("ocitar", "shop.tar")
ONE, OTHER = image("amd64", layers=[b"a" * 5000, b"b"]), image("arm64", layers=[b"c", b"b"])
BOTH = index([ONE.manifest.descriptor, OTHER.manifest.descriptor])
SIGNATURE = referrer(BOTH.descriptor, b"signed")


def put(writer: OciTarWriter, blob: Blob) -> None:
    writer.put_blob(PLACE, blob.descriptor, lambda: iter([blob.content]))


def fill(writer: OciTarWriter, order: random.Random | None = None) -> None:
    """A multi-platform image with a signature; blobs by threads, in any order."""
    blobs = [blob for each in (ONE, OTHER, SIGNATURE) for blob in each.blobs]
    manifests = [ONE.manifest, OTHER.manifest]
    if order:
        order.shuffle(blobs)
        order.shuffle(manifests)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda blob: put(writer, blob), blobs))
    for manifest in (*manifests, BOTH, SIGNATURE.manifest, *(manifests[:1] if order else ())):
        writer.put_manifest(PLACE, manifest)
    writer.put_manifest(PLACE, BOTH, "v1.0.0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.tar"


@pytest.fixture
def written(file: Path) -> Path:
    with OciTarWriter(file) as writer:
        fill(writer)
    return file


@pytest.fixture
def reader(tmp_path: Path) -> OciTar:
    return OciTar(tmp_path)


# --- writing ---


@pytest.mark.requirement("B-89")
def test_the_same_content_has_the_same_bytes(tmp_path: Path, written: Path) -> None:
    umask = os.umask(0o077)
    try:
        for seed in range(4):
            file = tmp_path / f"{seed}.tar"
            with OciTarWriter(file) as writer:
                fill(writer, random.Random(seed))  # noqa: S311
            assert file.read_bytes() == written.read_bytes()
    finally:
        os.umask(umask)


def test_it_holds_a_layout_and_nothing_of_who_wrote_it(written: Path) -> None:
    with tarfile.open(written) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names[:3] == ["oci-layout", "blobs", "blobs/sha256"]
    assert names[3:-1] == sorted(names[3:-1])
    assert names[-1] == "index.json"
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
        assert member.mode == (0o755 if member.isdir() else 0o644)
    document = json.loads(read_member(written, "index.json"))
    assert [entry["digest"] for entry in document["manifests"]] == [
        str(BOTH.descriptor.digest),
        str(SIGNATURE.digest),
    ]
    assert document["manifests"][0]["annotations"] == {REF_NAME: "v1.0.0"}


def read_member(file: Path, name: str) -> bytes:
    with tarfile.open(file) as archive:
        content = archive.extractfile(name)
        assert content
        return content.read()


def test_unpacked_it_is_a_layout_and_a_packed_layout_is_read(
    tmp_path: Path, written: Path, reader: OciTar
) -> None:
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", written, "-C", tmp_path / "unpacked"], check=True)
    layout, folder = OciLayout(tmp_path), Repository("ocidir", "unpacked")
    assert layout.tags(folder) == ("v1.0.0",)
    assert [each.digest for each in layout.referrers(folder, BOTH.descriptor.digest)] == [
        SIGNATURE.digest
    ]
    layout.push(folder, image())
    layout.tag(folder, image(), "v2.0.0")
    for number, form in enumerate(("gnu", "ustar", "pax")):
        packed = f"again{number}.tar"
        subprocess.run(
            ["tar", f"--format={form}", "-cf", tmp_path / packed, "-C", tmp_path / "unpacked", "."],
            check=True,
        )
        assert reader.tags(Repository("ocitar", packed)) == ("v1.0.0", "v2.0.0")


def test_an_empty_one_can_be_read(file: Path, reader: OciTar) -> None:
    with OciTarWriter(file):
        pass
    assert reader.tags(PLACE) == ()


def test_a_file_that_is_there_is_replaced_only_on_wish(written: Path, reader: OciTar) -> None:
    before = written.read_bytes()
    with pytest.raises(UsageError, match="is there already"), OciTarWriter(written) as writer:
        fill(writer)
    assert written.read_bytes() == before
    with OciTarWriter(written, overwrite=True):
        pass
    assert reader.tags(PLACE) == ()


def test_a_file_that_came_meanwhile_is_not_replaced(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"), OciTarWriter(file) as writer:
        fill(writer)
        file.write_bytes(b"of somebody else")
    assert file.read_bytes() == b"of somebody else"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_system_without_links_gets_the_file_too(
    file: Path, reader: OciTar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with OciTarWriter(file) as writer:
        fill(writer)
    assert reader.tags(PLACE) == ("v1.0.0",)


@pytest.mark.parametrize("error", [Unreachable("registry.test"), KeyboardInterrupt()])
def test_where_it_fails_nothing_is_left(file: Path, tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), OciTarWriter(file) as writer:
        fill(writer)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_threads_that_an_interruption_does_not_wait_for_leave_nothing(
    file: Path, tmp_path: Path
) -> None:
    begun, interrupted = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield ONE.layers[0].content[:100]
        begun.set()
        interrupted.wait(10)
        yield ONE.layers[0].content[100:]

    writer = OciTarWriter(file)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt), writer:
            late = pool.submit(writer.put_blob, PLACE, ONE.layers[0].descriptor, slow)
            assert begun.wait(10)
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []
        interrupted.set()
        with pytest.raises(UsageError, match="cannot be written"):
            late.result()
        with pytest.raises(RuntimeError):
            put(writer, ONE.config)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="cannot be written: no such file"),
        OciTarWriter(tmp_path / "absent" / "shop.tar"),
    ):
        pass


WRITER = """
import os, signal, sys
from pathlib import Path
from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.errors import BundlerError
from tests.unit.adapters.test_oci_tar import fill

def kill_before(operation):
    count = 0
    def watch(event, _):
        nonlocal count
        if event in ("open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir"):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

file, first, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
status, operation = -1, first
while status:
    if not (child := os.fork()):
        kill_before(operation)
        with OciTarWriter(file, overwrite=True) as writer:
            fill(writer)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(operation, file.exists(), flush=True)
    if status:
        file.unlink(missing_ok=True)
    operation += step
"""


def run_program(
    program: str, *arguments: object, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        preexec_fn=before,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.requirement("B-83")
def test_a_writer_that_is_killed_at_any_moment_does_no_harm(tmp_path: Path, written: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    lines = run_program(WRITER, killed / "shop.tar", 1, 1).stdout.splitlines()
    assert len(lines) > 20
    assert (killed / "shop.tar").read_bytes() == written.read_bytes()
    assert list(killed.iterdir()) == [killed / "shop.tar"]


INTERRUPTED = """
import os, signal, sys
from itertools import count
from pathlib import Path
from bundler.adapters.layout.oci_tar import OciTarWriter
from tests.unit.adapters.test_oci_tar import fill

def interrupt_before(operation):
    left = operation
    def watch(event, _):
        nonlocal left
        if event in ("open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir"):
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
    sys.addaudithook(watch)

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where we come from
file = Path(sys.argv[1])
for operation in count(1):
    if not (child := os.fork()):
        status = 0
        interrupt_before(operation)
        try:
            with OciTarWriter(file) as writer:
                fill(writer)
        except KeyboardInterrupt:
            status = 1
        os._exit(status)
    status = os.waitpid(child, 0)[1]
    print(operation, *(path.name for path in file.parent.iterdir()), flush=True)
    if not status:
        break
    file.unlink(missing_ok=True)
"""


@pytest.mark.requirement("B-83")
def test_a_writer_that_is_interrupted_at_any_moment_leaves_nothing(
    tmp_path: Path, written: Path
) -> None:
    folder = tmp_path / "interrupted"
    folder.mkdir()
    lines = [
        line.split() for line in run_program(INTERRUPTED, folder / "shop.tar").stdout.splitlines()
    ]
    assert len(lines) > 20
    assert {tuple(names) for _, *names in lines} == {(), ("shop.tar",)}
    assert (folder / "shop.tar").read_bytes() == written.read_bytes()


def test_two_writers_of_one_file_do_not_disturb_each_other(file: Path, tmp_path: Path) -> None:
    with OciTarWriter(file, overwrite=True) as first, OciTarWriter(file, overwrite=True) as second:
        fill(first)
        fill(second)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.requirement("B-83")
def test_a_full_disk_is_told_and_nothing_stays(tmp_path: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.errors import BundlerError
from tests.unit.adapters.test_oci_tar import fill
try:
    with OciTarWriter(Path(sys.argv[1])) as writer:
        fill(writer)
except BundlerError as error:
    print(json.dumps([error.exit_code, error.message, error.hint]))
"""

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    told = run_program(program, tmp_path / "shop.tar", before=no_large_files).stdout
    exit_code, message, hint = json.loads(told)
    assert exit_code == 2
    assert message == f"{tmp_path / 'shop.tar'} cannot be written: file too large"
    assert "ulimit" in hint
    assert list(tmp_path.iterdir()) == []


# --- reading ---


def test_a_file_that_is_not_there_is_a_usage_error(reader: OciTar) -> None:
    with pytest.raises(UsageError, match=r"shop\.tar is not there"):
        reader.tags(PLACE)


def test_what_is_no_file_is_not_waited_for(file: Path, reader: OciTar) -> None:
    os.mkfifo(file)
    with pytest.raises(UsageError, match="not a regular file"):
        reader.tags(PLACE)


def test_a_repository_of_another_scheme_is_a_usage_error(file: Path, reader: OciTar) -> None:
    elsewhere = Repository("oci", "registry.test/shop")
    with pytest.raises(UsageError):
        reader.tags(elsewhere)
    with OciTarWriter(file) as writer, pytest.raises(UsageError):
        writer.has(elsewhere, BOTH.descriptor)


def test_a_file_that_was_replaced_is_read_anew(written: Path, reader: OciTar) -> None:
    assert reader.tags(PLACE) == ("v1.0.0",)
    descriptor = ONE.layers[0].descriptor
    pieces = reader.blob_pieces(PLACE, descriptor)
    with OciTarWriter(written, overwrite=True) as writer:
        put(writer, Blob.of("text/plain", b"new"))
    with pytest.raises(VerificationFailed, match="was changed"):
        list(pieces)
    assert reader.tags(PLACE) == ()
    with pytest.raises(NotFound):
        list(reader.blob_pieces(PLACE, descriptor))


def everything(reader: OciTar, place: Repository = PLACE) -> None:
    """Read all of an archive's content."""
    for tag in reader.tags(place):
        reader.descriptor(place, tag)
    for manifest in (ONE.manifest, OTHER.manifest, BOTH, SIGNATURE.manifest):
        reader.manifest(place, manifest.descriptor.digest)
    for each in (ONE, OTHER, SIGNATURE):
        for blob in each.blobs:
            list(reader.blob_pieces(place, blob.descriptor))


@pytest.mark.requirement("C-50")
def test_a_file_that_is_cut_off_anywhere_is_refused(written: Path, reader: OciTar) -> None:
    content = written.read_bytes()
    for length in (*range(0, len(content) - BLOCK, BLOCK), 1, 100, 600, 1500):
        written.write_bytes(content[:length])
        with pytest.raises(VerificationFailed, match=r"shop\.tar.*(cut off|no header)"):
            everything(reader)


@pytest.mark.requirement("C-50")
def test_every_changed_byte_of_content_is_noticed(written: Path, reader: OciTar) -> None:
    content = written.read_bytes()
    everything(reader)
    for blob in (ONE.layers[0], OTHER.config, BOTH, SIGNATURE.manifest):
        position = content.index(blob.content) + len(blob.content) // 2
        changed = bytearray(content)
        changed[position] ^= 1
        written.write_bytes(changed)
        with pytest.raises(VerificationFailed, match=blob.descriptor.digest.hex):
            everything(reader)


REG = tarfile.REGTYPE
HEX = Digest.of(b"").hex


def raw(*entries: tuple[str, bytes, bytes], fmt: int = tarfile.USTAR_FORMAT, **pax: str) -> bytes:
    """A tar of (name, type, content), in front of a valid empty layout."""
    empty = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    whole = (*entries, ("oci-layout", REG, MARKER), ("index.json", REG, empty))
    return raw_only(*whole, fmt=fmt, **pax)


def raw_only(*entries: tuple[str, bytes, bytes], fmt: int, **pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt, pax_headers=pax) as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content)
            entry.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def with_index(document: object) -> bytes:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    entries = (("oci-layout", REG, MARKER), ("index.json", REG, content))
    return raw_only(*entries, fmt=tarfile.USTAR_FORMAT)


def with_size(field: bytes) -> bytes:
    """The size of the first entry as these twelve bytes, with a right checksum."""
    content = bytearray(raw((f"blobs/sha256/{HEX}", REG, b"")))
    content[124:136] = field
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


HOSTILE = {
    "path traversal": raw(("../x", REG, b"x")),
    "traversal inside": raw((f"blobs/sha256/../../{HEX}", REG, b"x")),
    "absolute path": raw(("/etc/x", REG, b"x")),
    "foreign name": raw(("blobs/sha256/x/y", REG, b"x")),
    "control characters": raw(("a\x1b[31m", REG, b"")),
    "new line": raw((f"blobs/sha256/{HEX}\n", REG, b"")),
    "symbolic link": raw((f"blobs/sha256/{HEX}", tarfile.SYMTYPE, b"")),
    "hard link": raw((f"blobs/sha256/{HEX}", tarfile.LNKTYPE, b"")),
    "link in place of a folder": raw(("blobs", tarfile.SYMTYPE, b"")),
    "device": raw(("index.json", tarfile.CHRTYPE, b"")),
    "fifo": raw(("index.json", tarfile.FIFOTYPE, b"")),
    "sparse": raw((f"blobs/sha256/{HEX}", tarfile.GNUTYPE_SPARSE, b"")),
    "duplicate": raw(("oci-layout", REG, MARKER)),
    "file and folder": raw(("blobs", tarfile.DIRTYPE, b""), ("blobs", tarfile.DIRTYPE, b"")),
    "a folder with content": raw(("blobs", tarfile.DIRTYPE, b"x")),
    "long name of GNU": raw(("a" * 200, REG, b""), fmt=tarfile.GNU_FORMAT),
    "path override of PAX": raw(("ü" * 120, REG, b""), fmt=tarfile.PAX_FORMAT),
    "global path of PAX": raw(fmt=tarfile.PAX_FORMAT, path="index.json"),
    "sparse of PAX": raw(fmt=tarfile.PAX_FORMAT, **{"GNU.sparse.major": "1"}),
    "a huge PAX header": raw(fmt=tarfile.PAX_FORMAT, comment="x" * 100_000),
    "negative size": with_size(b"\xff" * 12),
    "huge size": with_size(b"\x80" + b"\xff" * 11),
    "size that is no number": with_size(b"0000000x000\0"),
    "wrong checksum": raw().replace(b"oci-layout", b"oci-laxout", 1),
    "a tail": raw() + b"x" * BLOCK,
    "a tail of zeros that does not end": raw() + bytes(2 * 1024 * 1024),
    "an archive behind": raw() + raw(),
    "no tar": b"PK\x03\x04" + bytes(2000),
    "empty file": b"",
    "only zeros": bytes(10240),
    "no index": raw_only(("oci-layout", REG, MARKER), fmt=tarfile.USTAR_FORMAT),
    "no marker": raw_only(("index.json", REG, b'{"manifests": []}'), fmt=tarfile.USTAR_FORMAT),
    "compressed": gzip.compress(raw()),
    "compressed twice": gzip.compress(gzip.compress(raw())),
    "index too large": with_index(b" " * 5_000_000),
    "index that is no JSON": with_index(b"{"),
    "index that is nested": with_index(b"[" * 1_000_000),
    "index with a key twice": with_index(b'{"manifests": [], "manifests": []}'),
    "index without manifests": with_index({"schemaVersion": 2}),
    "index of texts": with_index({"manifests": ["x"]}),
}


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(
    file: Path, tmp_path: Path, reader: OciTar, name: str
) -> None:
    file.write_bytes(HOSTILE[name])
    begin = time.monotonic()
    with pytest.raises(VerificationFailed, match=r"shop\.tar") as caught:
        reader.tags(PLACE)
    assert time.monotonic() - begin < 10
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500
    assert list(tmp_path.iterdir()) == [file]
    if "compressed" in name:
        assert "gunzip" in (caught.value.hint or "")


def test_what_docker_adds_is_accepted(file: Path, reader: OciTar) -> None:
    file.write_bytes(raw(("manifest.json", REG, b"[]"), ("repositories", REG, b"{}")))
    assert reader.tags(PLACE) == ()


def test_times_of_pax_are_accepted(file: Path, reader: OciTar) -> None:
    file.write_bytes(raw(fmt=tarfile.PAX_FORMAT, mtime="1.5", comment="of somebody"))
    assert reader.tags(PLACE) == ()


def tagged(*manifests: Blob, **said: object) -> bytes:
    """An archive of manifests; what the index says of the first one can be wrong."""
    entry = {**manifests[0].descriptor.as_dict(), "annotations": {REF_NAME: "v1"}, **said}
    blobs = [
        (f"blobs/sha256/{each.descriptor.digest.hex}", REG, each.content) for each in manifests
    ]
    content = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    whole = (("oci-layout", REG, MARKER), *blobs, ("index.json", REG, content))
    return raw_only(*whole, fmt=tarfile.USTAR_FORMAT)


def document(**fields: object) -> Blob:
    return Blob.of(MANIFEST, json.dumps({"schemaVersion": 2, **fields}).encode())


CONFIG = ONE.config.descriptor.as_dict()
MANIFESTS = {
    "another size": tagged(ONE.manifest, size=1),
    "a size that is no number": tagged(ONE.manifest, size="large"),
    "another media type": tagged(ONE.manifest, mediaType="application/vnd.oci.image.index.v1+json"),
    "sha512": tagged(ONE.manifest, digest="sha512:" + "0" * 128),
    "a path for a digest": tagged(ONE.manifest, digest="sha256:../../../../etc/passwd"),
    "too large": tagged(Blob.of(MANIFEST, b" " * 5_000_000)),
    "no JSON": tagged(Blob.of(MANIFEST, b"\xff")),
    "no object": tagged(Blob.of(MANIFEST, b"[]")),
    "a key twice": tagged(Blob.of(MANIFEST, b'{"schemaVersion": 2, "schemaVersion": 2}')),
    "image and index": tagged(document(config=CONFIG, layers=[], manifests=[])),
    "negative size": tagged(document(config={**CONFIG, "size": -1}, layers=[])),
    "size true": tagged(document(config={**CONFIG, "size": True}, layers=[])),
    "layers that are none": tagged(document(config=CONFIG, layers="x")),
    "a layer by sha512": tagged(document(config={**CONFIG, "digest": "sha512:0"}, layers=[])),
    "a subject that is none": tagged(document(config=CONFIG, layers=[], subject=[])),
}


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_malformed_manifest_is_refused(file: Path, reader: OciTar, name: str) -> None:
    file.write_bytes(MANIFESTS[name])
    with pytest.raises(VerificationFailed, match=r"shop\.tar"):
        reader.descriptor(PLACE, "v1")


@pytest.mark.parametrize("size", [-1, -2, 0, 4, 6, 10**15])
def test_a_blob_has_the_size_that_its_descriptor_says(
    file: Path, reader: OciTar, size: int
) -> None:
    blob = Blob.of("text/plain", b"right")
    with OciTarWriter(file) as writer:
        put(writer, blob)
        wrong = Descriptor("text/plain", blob.descriptor.digest, size)
        assert not writer.has(PLACE, wrong)
    for read in (reader.blob, lambda place, wrong: list(reader.blob_pieces(place, wrong))):
        with pytest.raises(VerificationFailed):
            read(PLACE, wrong)


def measured(program: str, *arguments: object) -> tuple[float, float, list[str]]:
    """Seconds of work and MiB of a program, and what it printed."""
    ending = """
import time
print(time.process_time(), Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    lines = run_program(program + ending, *arguments).stdout.splitlines()
    seconds, kibibytes = lines[-1].split()
    return float(seconds), int(kibibytes) / 1024, lines[:-1]


READ = """
import sys
from pathlib import Path
from bundler.adapters.layout.oci_tar import OciTar
from bundler.errors import BundlerError
from bundler.model.reference import Repository
try:
    print(OciTar(Path("/")).tags(Repository("ocitar", sys.argv[1])))
except BundlerError as error:
    print(error.code, error)
"""


def many_entries(file: Path, count: int) -> None:
    header = tarfile.TarInfo("x")
    with file.open("wb") as target:
        for number in range(count):
            header.name = f"blobs/sha256/{number:064x}"
            target.write(header.tobuf(tarfile.USTAR_FORMAT))
        target.write(raw())


def nested_index(file: Path) -> None:
    file.write_bytes(with_index(b'{"manifests": [' + b"{}," * 1_300_000 + b"{}]}"))


def zero_bomb(file: Path) -> None:
    with file.open("wb") as target:
        target.truncate(4 * 1024**3)


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda file: many_entries(file, 200_001), "verification-failed"),
        (lambda file: many_entries(file, 199_000), "()"),
        (nested_index, "verification-failed"),
        (zero_bomb, "verification-failed"),
    ],
)
def test_a_large_archive_takes_little_time_and_memory(
    file: Path, make: Callable[[Path], None], told: str
) -> None:
    make(file)
    seconds, mebibytes, (line,) = measured(READ, file)
    assert line.startswith(told)
    assert seconds < 10
    assert mebibytes < 200


def test_memory_does_not_depend_on_the_size_of_a_blob(tmp_path: Path) -> None:
    program = """
import hashlib, sys
from pathlib import Path
from bundler.adapters.layout.oci_tar import OciTar, OciTarWriter
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository

size = int(sys.argv[2]) << 20
pieces = lambda: (bytes(1 << 20) for _ in range(size >> 20))
whole = hashlib.sha256()
for piece in pieces():
    whole.update(piece)
blob = Descriptor("text/plain", Digest.parse(f"sha256:{whole.hexdigest()}"), size)
place = Repository("ocitar", "large.tar")
with OciTarWriter(Path(sys.argv[1], "large.tar"), overwrite=True) as writer:
    writer.put_blob(place, blob, pieces)
assert sum(map(len, OciTar(Path(sys.argv[1])).blob_pieces(place, blob))) == size
"""
    small, large = (measured(program, tmp_path, size)[1] for size in (1, 128))
    assert large - small < 16


# --- a writer that does not write what it says ---


def test_a_blob_whose_source_breaks_does_not_spoil_the_file(file: Path, reader: OciTar) -> None:
    def broken() -> Iterator[bytes]:
        yield ONE.layers[0].content[:100]
        raise Unreachable("registry.test does not answer")

    with OciTarWriter(file) as writer:
        with pytest.raises(Unreachable):
            writer.put_blob(PLACE, ONE.layers[0].descriptor, broken)
        fill(writer)
    everything(reader)
