"""The folder as others leave it: killed writers, other tools, damage."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.layout import folder as layout_folder
from bundler.adapters.layout import reader as layout_reader
from bundler.adapters.layout.folder import LayoutFolder
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.registry.registries import Registries
from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    Locked,
    NotFound,
    Unreachable,
    UsageError,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import INDEX, MANIFEST, REF_NAME, Blob, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image, index, referrer

ROOT = Path(__file__).parents[3]
PLACE = Repository("ocidir", "deploy/shop")

WRITER = """
import sys
from pathlib import Path
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.model.reference import Repository
from tests.fakes.registry import image

layout, place = OciLayout(Path(sys.argv[1])), Repository("ocidir", "deploy/shop")
for number in range(int(sys.argv[3])):
    artifact = image(f"{sys.argv[2]} {number}" * 1000)
    layout.push(place, artifact)
    layout.tag(place, artifact, f"{sys.argv[2]}-{number}")
    print(number, flush=True)
"""

KILLED_BEFORE_EACH_FILE_OPERATION = """
import os, signal, sys
from pathlib import Path
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.model.reference import Repository
from tests.fakes.registry import image, index, referrer

def kill_before(operation):
    count = 0
    def watch(event, _):
        nonlocal count
        if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "fcntl.flock"):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

def publish(layout):
    layout.push(place, image())
    layout.tag(place, image(), "v1.0.0")

def copy(layout):
    both = index([one.manifest.descriptor])
    signature = referrer(both.descriptor, b"signed")
    for blob in (*one.blobs, *signature.blobs):
        layout.put_blob(place, blob.descriptor, lambda: iter([blob.content]), near)
    for manifest, tag in ((one.manifest, None), (both, None), (signature.manifest, None),
                          (both, "v1.0.0")):
        if tag or not layout.has(place, manifest.descriptor):
            layout.put_manifest(place, manifest, tag)

place, near = Repository("ocidir", "deploy/shop"), Repository("ocidir", "near")
one = image("amd64", layers=[b"layer"])
status, operation = -1, 0
while status:
    operation += 1
    layout = OciLayout(Path(sys.argv[1], str(operation)))
    layout.push(near, one)
    if not (child := os.fork()):
        kill_before(operation)
        globals()[sys.argv[2]](layout)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    globals()[sys.argv[2]](layout)
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


CAUGHT = """
import json, sys
from contextlib import contextmanager
from pathlib import Path
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.errors import BundlerError
from bundler.model.reference import Repository
from tests.fakes.registry import image

@contextmanager
def caught():
    try:
        yield
    except BundlerError as error:
        told = {"exit": error.exit_code, "code": error.code}
        print(json.dumps(told | {"message": error.message, "hint": error.hint}))

layout, place = OciLayout(Path(sys.argv[1])), Repository("ocidir", "deploy/shop")
"""


def without_power() -> None:
    """Take from root what lets it write everywhere; nobody else has it."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def unwanted() -> Iterator[bytes]:
    raise AssertionError("asked for")


def start_writer(base: Path, name: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(base), name, str(count)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )


def assert_valid(root: Path) -> list[str]:
    """The tags of a layout in which everything that is named is there and sound."""
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for path in (root / "blobs/sha256").iterdir():
        assert Digest.of(path.read_bytes()).hex == path.name
    tags = []
    for entry in json.loads((root / "index.json").read_bytes())["manifests"]:
        manifest = (root / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        assert len(manifest) == entry["size"]
        config = json.loads(manifest)["config"]
        assert (root / "blobs/sha256" / config["digest"].removeprefix("sha256:")).exists()
        tags.append(entry["annotations"][REF_NAME])
    return tags


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deploy/shop"


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path)


@pytest.fixture
def published(layout: OciLayout) -> OciLayout:
    layout.push(PLACE, image())
    layout.tag(PLACE, image(), "v1.0.0")
    return layout


# --- writers ---


@pytest.mark.requirement("B-83")
def test_a_writer_that_is_killed_leaves_a_valid_layout(tmp_path: Path, root: Path) -> None:
    finished: set[str] = set()
    for attempt in range(6):
        with start_writer(tmp_path, f"run{attempt}", 100_000) as writer:
            assert writer.stdout
            for _ in range(3 + attempt):
                finished.add(f"run{attempt}-{writer.stdout.readline().strip()}")
            writer.send_signal(signal.SIGKILL)
        assert finished <= set(assert_valid(root))
    with start_writer(tmp_path, "last", 1) as writer:
        writer.communicate()
    assert "last-0" in assert_valid(root)


@pytest.mark.requirement("B-83")
@pytest.mark.parametrize("work", ["publish", "copy"])
def test_there_is_no_moment_at_which_a_kill_does_harm(tmp_path: Path, work: str) -> None:
    run_program(KILLED_BEFORE_EACH_FILE_OPERATION, tmp_path, work)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 15
    layouts = [(folder / "deploy/shop", OciLayout(folder)) for folder in folders]
    for root, layout in layouts:
        assert layout.tags(PLACE) == ("v1.0.0",)
        for path in (root / "blobs/sha256").iterdir():
            assert Digest.of(path.read_bytes()).hex == path.name
    names = [{path.name for path in (root / "blobs/sha256").iterdir()} for root, _ in layouts]
    assert all(name == names[-1] for name in names)
    if work == "copy":
        top = layouts[-1][1].resolve(PLACE, "v1.0.0")
        assert top
        for _, layout in layouts:
            assert [each.annotations for each in layout.referrers(PLACE, top)] == [{}]


@pytest.mark.requirement("B-83")
def test_what_a_killed_publisher_left_is_valid_before_anybody_repairs_it(tmp_path: Path) -> None:
    run_program(
        KILLED_BEFORE_EACH_FILE_OPERATION.rpartition("    globals()")[0], tmp_path, "publish"
    )
    for folder in tmp_path.iterdir():
        for _ in OciLayout(folder).tags(PLACE):
            assert assert_valid(folder / "deploy/shop") == ["v1.0.0"]


def test_writers_in_several_processes_lose_nothing(tmp_path: Path, root: Path) -> None:
    writers = [start_writer(tmp_path, name, 10) for name in ("a", "b", "c")]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    expected = {f"{name}-{number}" for name in ("a", "b", "c") for number in range(10)}
    assert sorted(assert_valid(root)) == sorted(expected)


def test_temporary_files_of_killed_writers_are_cleared_away_later(
    published: OciLayout, root: Path
) -> None:
    old, new = root / ".incomplete-old", root / ".incomplete-new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    published.tag(PLACE, image(), "v1.0.1")
    assert not old.exists()
    assert new.exists()


def test_a_lock_that_is_not_given_back_is_not_waited_for_for_ever(
    published: OciLayout, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_folder, "LOCK_SECONDS", 0.05)
    with LayoutFolder(root).locked(), pytest.raises(Locked, match="has been locked"):
        published.tag(PLACE, image(), "v1.0.1")


def test_others_may_read_what_the_umask_lets_them(layout: OciLayout, root: Path) -> None:
    before = os.umask(0o027)
    try:
        layout.push(PLACE, image())
        layout.tag(PLACE, image(), "v1.0.0")
    finally:
        os.umask(before)
    for path in (root / "index.json", root / "blobs/sha256" / image().digest.hex):
        assert path.stat().st_mode & 0o777 == 0o640


def test_a_damaged_blob_is_written_anew(published: OciLayout, root: Path) -> None:
    path = root / "blobs/sha256" / image().digest.hex
    path.write_bytes(b"damaged")
    published.push(PLACE, image())
    assert published.manifest(PLACE, image().digest) == image().manifest.content


def test_a_tag_needs_a_pushed_manifest(layout: OciLayout, root: Path) -> None:
    with pytest.raises(NotFound):
        layout.tag(PLACE, image(), "v1.0.0")
    assert not (root / "index.json").exists()


def test_a_text_that_is_no_tag_is_a_usage_error(published: OciLayout) -> None:
    with pytest.raises(UsageError, match="is not a tag"):
        published.tag(PLACE, image(), "a/b")


def test_reading_creates_nothing(layout: OciLayout, tmp_path: Path) -> None:
    assert layout.resolve(PLACE, "v1.0.0") is None
    assert layout.tags(PLACE) == ()
    assert list(tmp_path.iterdir()) == []


def test_an_absolute_path_is_taken_as_it_is(published: OciLayout, root: Path) -> None:
    elsewhere = OciLayout(Path("/nonexistent"))
    assert elsewhere.tags(Repository("ocidir", str(root))) == ("v1.0.0",)


# --- content that is copied ---


@pytest.mark.requirement("B-80")
def test_of_processes_that_set_one_tag_to_different_content_one_wins(
    tmp_path: Path, layout: OciLayout
) -> None:
    program = """
import sys
from pathlib import Path
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.errors import VersionExists
from bundler.model.reference import Repository
from tests.fakes.registry import image

layout, one = OciLayout(Path(sys.argv[1])), image(sys.argv[2])
place = Repository("ocidir", "deploy/shop")
layout.put_blob(place, one.config.descriptor, lambda: iter([one.config.content]))
try:
    layout.put_manifest(place, one.manifest, "v1.0.0")
    print(one.digest)
except VersionExists:
    pass
"""
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run_program, program, tmp_path, number % 3) for number in range(6)]
    winners = [run.result().stdout.strip() for run in runs]
    assert {winner for winner in winners if winner} == {str(layout.resolve(PLACE, "v1.0.0"))}
    assert len([winner for winner in winners if winner]) == 2


def test_a_neighbour_on_the_same_file_system_shares_its_blob(
    layout: OciLayout, published: OciLayout, root: Path
) -> None:
    other, blob = Repository("ocidir", "other"), image().config
    layout.put_blob(other, blob.descriptor, unwanted, near=PLACE)
    name = f"blobs/sha256/{blob.descriptor.digest.hex}"
    assert (root.parents[1] / "other" / name).samefile(root / name)
    assert not [*(root.parents[1] / "other").glob(".incomplete-*")]


@pytest.mark.parametrize("damage", ["other bytes", "a link", "nothing"])
def test_a_neighbour_that_has_damage_is_not_shared(
    published: OciLayout, root: Path, damage: str
) -> None:
    other, blob = Repository("ocidir", "other"), image().config
    path = root / "blobs/sha256" / blob.descriptor.digest.hex
    path.unlink()
    if damage == "other bytes":
        path.write_bytes(b"x" * blob.descriptor.size)
    elif damage == "a link":
        path.symlink_to(root / "index.json")
    published.put_blob(other, blob.descriptor, lambda: iter([blob.content]), near=PLACE)
    assert published.blob(other, blob.descriptor) == blob.content


def test_a_file_system_without_links_is_copied_to(
    published: OciLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    other, blob = Repository("ocidir", "other"), image().config
    published.put_blob(other, blob.descriptor, lambda: iter([blob.content]), near=PLACE)
    assert published.blob(other, blob.descriptor) == blob.content


def test_a_source_that_breaks_leaves_nothing(published: OciLayout, root: Path) -> None:
    before = sorted(root.rglob("*"))
    blob = Blob.of("text/plain", b"content")

    def broken() -> Iterator[bytes]:
        yield b"con"
        raise Unreachable("registry.test does not answer")

    with pytest.raises(Unreachable):
        published.put_blob(PLACE, blob.descriptor, broken)
    assert sorted(root.rglob("*")) == before


def test_a_pushed_manifest_is_there_once_the_index_names_it(layout: OciLayout) -> None:
    layout.push(PLACE, image())
    assert not layout.has(PLACE, image().manifest.descriptor)
    layout.put_manifest(PLACE, image().manifest)
    assert layout.has(PLACE, image().manifest.descriptor)


def test_an_index_names_its_images_alone(layout: OciLayout, root: Path) -> None:
    both = index([image("amd64").manifest.descriptor, image("arm64").manifest.descriptor])
    for each in (image("amd64"), image("arm64")):
        layout.push(PLACE, each)
        layout.put_manifest(PLACE, each.manifest)
    assert len(entries(root)) == 2
    layout.put_manifest(PLACE, both, "v1.0.0")
    assert [entry["digest"] for entry in entries(root)] == [str(both.descriptor.digest)]
    assert layout.has(PLACE, image("arm64").manifest.descriptor)


def test_a_referrer_is_an_entry_without_tag_with_its_type(published: OciLayout, root: Path) -> None:
    signature = referrer(image().manifest.descriptor, b"signed", annotations={"by": "us"})
    published.push(PLACE, signature)
    published.put_manifest(PLACE, signature.manifest)
    assert entries(root)[1] == {
        **signature.manifest.descriptor.as_dict(),
        "artifactType": "application/vnd.test.signature",
    }
    assert published.tags(PLACE) == ("v1.0.0",)
    (found,) = published.referrers(PLACE, image().digest)
    assert (found.digest, found.annotations) == (signature.digest, {"by": "us"})


def test_referrers_of_the_fallback_tag_are_found_and_junk_is_left_out(
    published: OciLayout, root: Path
) -> None:
    subject = image().manifest.descriptor
    signatures = [referrer(subject, content) for content in (b"one", b"two")]
    stranger = referrer(image("other").manifest.descriptor, b"about something else")
    for each in (*signatures, stranger):
        published.push(PLACE, each)
    listed = index([each.manifest.descriptor for each in (*signatures, stranger, image("absent"))])
    document = json.loads(listed.content)
    document["manifests"] += [{"digest": "sha256:../x"}, {}, {"digest": 7}]
    fallback = Blob.of(INDEX, json.dumps(document).encode())
    (root / "blobs/sha256" / fallback.descriptor.digest.hex).write_bytes(fallback.content)
    tag = f"sha256-{subject.digest.hex}"
    add_entry(root, **fallback.descriptor.as_dict(), annotations={REF_NAME: tag})
    published.put_manifest(PLACE, signatures[1].manifest)
    found = published.referrers(PLACE, subject.digest)
    assert {each.digest for each in found} == {each.digest for each in signatures}
    assert len(found) == 2


def test_more_referrers_than_anybody_needs_are_left_out(
    published: OciLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout_reader, "MAX_REFERRERS", 2)
    for number in range(4):
        signature = referrer(image().manifest.descriptor, bytes([number]))
        published.push(PLACE, signature)
        published.put_manifest(PLACE, signature.manifest)
    assert len(published.referrers(PLACE, image().digest)) == 2


# --- places that cannot be written ---


@pytest.mark.requirement("B-83")
def test_a_full_disk_is_told_and_nothing_half_written_stays(
    tmp_path: Path, published: OciLayout, root: Path
) -> None:
    program = f"{CAUGHT}\nwith caught():\n    layout.push(place, image(layers=[bytes(10**6)]))"
    before = sorted(root.rglob("*"))

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    told = json.loads(run_program(program, tmp_path, before=no_large_files).stdout)
    assert (told["exit"], told["code"]) == (2, "usage")
    assert "cannot be written: file too large" in told["message"]
    assert "ulimit" in told["hint"]
    left = set(root.rglob("*")) - set(before)
    assert not [path for path in left if path.name.startswith(".incomplete-")]
    published.push(PLACE, image(layers=[bytes(10**6)]))
    published.tag(PLACE, image(layers=[bytes(10**6)]), "v2.0.0")


@pytest.mark.requirement("B-83")
def test_a_folder_that_may_not_be_written_is_told(
    tmp_path: Path, published: OciLayout, root: Path
) -> None:
    program = (
        f"{CAUGHT}\nwith caught():\n    layout.push(place, image('new'))\n"
        "with caught():\n    layout.put_manifest(place, image().manifest, 'v2')\n"
        "with caught():\n    layout.push(Repository('ocidir', 'deploy/shop/deeper'), image())\n"
        "assert layout.resolve(place, 'v1.0.0')"
    )
    folders = [root, root / "blobs/sha256"]
    for path in folders:
        path.chmod(0o555)
    (root / ".lock").chmod(0o444)
    try:
        told = run_program(program, tmp_path, before=without_power).stdout.splitlines()
    finally:
        for path in folders:
            path.chmod(0o755)
    assert len(told) == 3
    for line in map(json.loads, told):
        assert (line["exit"], line["code"]) == (2, "usage")
        assert "cannot be written: permission denied" in line["message"]
        assert "write access" in line["hint"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, UsageError),
        (errno.EROFS, UsageError),
        (errno.EDQUOT, UsageError),
        (errno.EIO, CouldNotCheck),
        (errno.EMFILE, CouldNotCheck),
    ],
)
def test_trying_again_is_advised_only_where_nothing_is_known(
    number: int, kind: type[BundlerError]
) -> None:
    with pytest.raises(kind) as caught, layout_folder.writing(Path("place")):
        raise OSError(number, os.strerror(number))
    assert (caught.value.hint is not None) == (kind is UsageError)


# --- other tools ---


def entries(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((root / "index.json").read_bytes())["manifests"]
    return found


def add_entry(root: Path, **entry: Any) -> None:
    index = json.loads((root / "index.json").read_bytes())
    index["manifests"].append(entry)
    (root / "index.json").write_text(json.dumps(index))


def entry_of(artifact_text: str, **annotations: str) -> dict[str, Any]:
    descriptor = image(artifact_text).manifest.descriptor.as_dict()
    return {**descriptor, "annotations": annotations}


@pytest.mark.parametrize(
    "annotations",
    [
        {REF_NAME: "v2"},
        {REF_NAME: "docker.io/library/cart:v2"},
        {"io.containerd.image.name": "registry.test/shop/cart:v2"},
        {REF_NAME: "v2", "io.containerd.image.name": "registry.test/shop/cart:v2"},
    ],
)
def test_tags_are_understood_however_tools_write_them(
    published: OciLayout, root: Path, annotations: dict[str, str]
) -> None:
    add_entry(root, **entry_of("cart", **annotations))
    assert published.resolve(PLACE, "v2") == image("cart").digest
    assert published.tags(PLACE) == ("v1.0.0", "v2")


def test_two_images_with_one_tag_are_not_guessed_between(published: OciLayout, root: Path) -> None:
    for name in ("cart", "checkout"):
        full = {"io.containerd.image.name": f"registry.test/shop/{name}:v2"}
        add_entry(root, **entry_of(name, **full))
    with pytest.raises(CouldNotCheck, match="names 2 manifests"):
        published.resolve(PLACE, "v2")


def test_what_other_tools_wrote_stays(published: OciLayout, root: Path) -> None:
    foreign = {
        "mediaType": MANIFEST,
        "digest": "sha512:abc",
        "size": 3,
        "platform": {"os": "linux", "architecture": "arm64"},
        "annotations": {"com.example": "kept"},
        "com.example.field": [1],
    }
    add_entry(root, **foreign)
    index = json.loads((root / "index.json").read_bytes())
    (root / "index.json").write_text(json.dumps({**index, "annotations": {"a": "b"}}))
    published.tag(PLACE, image(), "v1.0.1")
    index = json.loads((root / "index.json").read_bytes())
    assert index["annotations"] == {"a": "b"}
    assert index["manifests"][1] == foreign
    assert published.tags(PLACE) == ("v1.0.0", "v1.0.1")


# --- damage ---


@pytest.mark.requirement("B-55")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", b""),
        ("index.json", b'{"manifests": ['),
        ("index.json", b"[]"),
        ("index.json", b'{"manifests": {}}'),
        ("index.json", b'{"manifests": ["x"]}'),
        ("index.json", b'{"schemaVersion": 2}'),
        ("index.json", b"[" * 100_000),
        ("index.json", b"\xff\xfe"),
        ("oci-layout", b"not json"),
    ],
)
def test_a_damaged_layout_does_not_look_empty(
    published: OciLayout, root: Path, name: str, content: bytes
) -> None:
    (root / name).write_bytes(content)
    questions: list[Callable[[], object]] = [
        lambda: published.resolve(PLACE, "v1.0.0"),
        lambda: published.tags(PLACE),
        lambda: published.tag(PLACE, image(), "v2"),
    ]
    for ask in questions:
        with pytest.raises(CouldNotCheck, match=str(root / name)):
            ask()
    assert (root / name).read_bytes() == content


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: b" " * 9_000_000, "has more than 8388608 bytes"),
        (lambda: b'{"manifests": [' + b"{}," * 2_500_000 + b"{}]}", "objects and lists"),
        (lambda: b'{"manifests": [' + b"[]," * 2_500_000 + b"{}]}", "objects and lists"),
    ],
    ids=["spaces", "objects", "lists"],
)
def test_an_index_beyond_all_bounds_is_not_read(
    published: OciLayout, root: Path, make: Callable[[], bytes], told: str
) -> None:
    (root / "index.json").write_bytes(make())
    with pytest.raises(CouldNotCheck, match=told):
        published.tags(PLACE)


def test_an_index_grows_no_larger_than_it_is_read(
    published: OciLayout, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (root / "index.json").read_bytes()
    monkeypatch.setattr(layout_folder, "MAX_INDEX_BYTES", len(before))
    with pytest.raises(UsageError, match="would have more than"):
        published.tag(PLACE, image(), "v2.0.0")
    assert (root / "index.json").read_bytes() == before


def test_a_layout_of_a_later_version_is_not_touched(published: OciLayout, root: Path) -> None:
    (root / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(CouldNotCheck, match=r"version 1\.0\.0"):
        published.tags(PLACE)


def test_a_layout_without_its_marker_is_could_not_check(published: OciLayout, root: Path) -> None:
    (root / "oci-layout").unlink()
    with pytest.raises(CouldNotCheck, match="oci-layout is missing"):
        published.tags(PLACE)


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha512:abc", 7])
def test_a_digest_in_the_index_is_no_path(published: OciLayout, root: Path, digest: object) -> None:
    add_entry(root, mediaType=MANIFEST, digest=digest, size=1, annotations={REF_NAME: "v2"})
    with pytest.raises(CouldNotCheck, match="is not a digest"):
        published.resolve(PLACE, "v2")


def test_a_file_in_place_of_the_folder_is_told(layout: OciLayout, root: Path) -> None:
    root.parent.mkdir()
    root.touch()
    with pytest.raises(CouldNotCheck, match=str(root)):
        layout.tags(PLACE)
    with pytest.raises(UsageError, match=str(root)) as caught:
        layout.push(PLACE, image())
    assert "name another folder" in (caught.value.hint or "")


def test_a_pipe_in_place_of_a_blob_is_not_waited_for(published: OciLayout, root: Path) -> None:
    path = root / "blobs/sha256" / image().digest.hex
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(VerificationFailed, match="not a regular file"):
        published.manifest(PLACE, image().digest)


def test_a_blob_that_is_larger_than_any_layer_is_not_read(published: OciLayout) -> None:
    with pytest.raises(VerificationFailed, match="too large"):
        published.blob(PLACE, Descriptor("text/plain", image().digest, 10**12))


def test_a_repository_of_another_scheme_is_a_usage_error(layout: OciLayout) -> None:
    with pytest.raises(UsageError):
        layout.tags(Repository("oci", "registry.test/shop"))


# --- routes ---


def test_threads_of_one_registries_value_publish_to_many_layouts(tmp_path: Path) -> None:
    registries = Registries(tmp_path)

    def publish(number: int) -> Digest | None:
        place = Repository("ocidir", f"images/{number % 4}")
        registries.push(place, image(str(number)))
        registries.tag(place, image(str(number)), f"v{number}")
        return registries.resolve(place, f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(publish, range(16))) == [image(str(n)).digest for n in range(16)]
    with pytest.raises(VersionExists):
        registries.push(Repository("ocidir", "images/0"), image("other"))
        registries.tag(Repository("ocidir", "images/0"), image("other"), "v0")


def test_a_folder_needs_no_network_library(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from bundler.adapters.registry.registries import Registries\n"
        "from bundler.model.reference import Repository\n"
        f"Registries(Path({str(tmp_path)!r})).tags(Repository('ocidir', 'x'))\n"
        "assert not {'requests', 'oras', 'urllib3', 'jsonschema'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
