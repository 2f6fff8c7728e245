"""The folder as others leave it: killed writers, other tools, damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters import oci_layout
from bundler.adapters.oci_layout import OciLayout
from bundler.adapters.registries import Registries
from bundler.errors import (
    CouldNotCheck,
    Locked,
    NotFound,
    UsageError,
    VerificationFailed,
    VersionExists,
)
from bundler.model.artifact import MANIFEST, REF_NAME, Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import image

ROOT = Path(__file__).parents[3]
PLACE = Repository("ocidir", "deploy/shop")

WRITER = """
import sys
from pathlib import Path
from bundler.adapters.oci_layout import OciLayout
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
from bundler.adapters.oci_layout import OciLayout
from bundler.model.reference import Repository
from tests.fakes.registry import image

def kill_before(operation):
    count = 0
    def watch(event, _):
        nonlocal count
        if event in ("open", "os.rename", "os.mkdir", "fcntl.flock"):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

place, status, operation = Repository("ocidir", "deploy/shop"), -1, 0
while status:
    operation += 1
    layout = OciLayout(Path(sys.argv[1], str(operation)))
    if not (child := os.fork()):
        kill_before(operation)
        layout.push(place, image())
        layout.tag(place, image(), "v1.0.0")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
"""


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
def test_there_is_no_moment_at_which_a_kill_does_harm(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    program = [sys.executable, "-c", KILLED_BEFORE_EACH_FILE_OPERATION, str(tmp_path)]
    subprocess.run(program, check=True, env=environment)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 15
    for folder in folders:
        layout = OciLayout(folder)
        for _ in layout.tags(PLACE):
            assert assert_valid(folder / "deploy/shop") == ["v1.0.0"]
        layout.push(PLACE, image())
        layout.tag(PLACE, image(), "v1.0.0")
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
    monkeypatch.setattr(oci_layout, "LOCK_SECONDS", 0.05)
    with oci_layout._locked(root), pytest.raises(Locked, match="has been locked"):
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


# --- other tools ---


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


def test_a_file_in_place_of_the_folder_is_could_not_check(layout: OciLayout, root: Path) -> None:
    root.parent.mkdir()
    root.touch()
    questions: list[Callable[[], object]] = [
        lambda: layout.tags(PLACE),
        lambda: layout.push(PLACE, image()),
    ]
    for ask in questions:
        with pytest.raises(CouldNotCheck, match=str(root)):
            ask()


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
        "from bundler.adapters.registries import Registries\n"
        "from bundler.model.reference import Repository\n"
        f"Registries(Path({str(tmp_path)!r})).tags(Repository('ocidir', 'x'))\n"
        "assert not {'requests', 'oras', 'urllib3', 'jsonschema'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
