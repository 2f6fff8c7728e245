"""Bundles and files that were made to do harm: refused by every command, and nothing written."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.model.artifact import CONTENT_LAYER, MANIFEST, RELEASE_CONFIG, Artifact, Blob
from bundler.model.reference import Digest, Repository
from bundler.publish.pack import compact_json, gzip
from tests.e2e.conftest import Bundler
from tests.e2e.releases import Releases, config_map

LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)


def archive(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.linkname = "/etc" if kind in LINKS else ""
            entry.size = 6 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"a: b\n\n"))
    return buffer.getvalue()


def zeros() -> tuple[bytes, Digest]:
    """A gigabyte of zeros, compressed."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    piece = bytes(1 << 20)
    return b"".join(deflate.compress(piece) for _ in range(1024)) + deflate.flush(), Digest.of(b"")


def layer(*entries: tuple[str, bytes]) -> Callable[[], tuple[bytes, Digest]]:
    content = archive(*entries)
    return lambda: (gzip(content), Digest.of(content))


LAYERS: dict[str, Callable[[], tuple[bytes, Digest]]] = {
    "a path that leads out": layer(("../outside.yaml", tarfile.REGTYPE)),
    "an absolute path": layer(("/tmp/outside.yaml", tarfile.REGTYPE)),
    "a link, and a file behind it": layer(
        ("stage", tarfile.SYMTYPE), ("stage/outside.yaml", tarfile.REGTYPE)
    ),
    "a hard link": layer(("stage/passwd", tarfile.LNKTYPE)),
    "a device": layer(("stage/null", tarfile.CHRTYPE)),
    "a file that is a folder too": layer(
        ("stage/a", tarfile.REGTYPE), ("stage/a/b", tarfile.REGTYPE)
    ),
    "a gigabyte of zeros": zeros,
}


def with_layer(
    folder: Path,
    tag: str,
    content: bytes,
    digest: Digest,
    files: Mapping[str, str] | None = None,
) -> Artifact:
    """A published release whose digests all fit, with other content."""
    layout, place = OciLayout(folder), Repository("ocidir", "shop")
    published = layout.resolve(place, tag)
    assert published
    manifest: dict[str, Any] = json.loads(layout.manifest(place, published))
    stored = folder / "shop/blobs/sha256" / manifest["config"]["digest"].removeprefix("sha256:")
    document: dict[str, Any] = json.loads(stored.read_bytes())
    document["content"]["tar"] = str(digest)
    if files is not None:
        document["environments"]["stage"]["targets"]["default"]["files"] = files
    config = Blob.of(RELEASE_CONFIG, compact_json(document))
    blob = Blob.of(CONTENT_LAYER, content)
    manifest["config"], manifest["layers"] = (
        config.descriptor.as_dict(),
        [blob.descriptor.as_dict()],
    )
    return Artifact(Blob.of(MANIFEST, compact_json(manifest)), config, (blob,))


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    found = Releases(tmp_path / "registry", {"default": "shop"})
    found.publish("v1.0.0", config_map("settings", a="b"))
    return found


def everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_hostile_content_is_refused_and_nothing_is_written(
    tmp_path: Path,
    bundler: Bundler,
    releases: Releases,
    make: Callable[[], tuple[bytes, Digest]],
) -> None:
    artifact = with_layer(releases.folder, "v1.0.0", *make())
    layout, place = OciLayout(releases.folder), Repository("ocidir", "shop")
    layout.push(place, artifact)
    layout.tag(place, artifact, "v6.6.6")
    tar = Repository("ocitar", "shop.tar")
    with OciTarWriter(tmp_path / "shop.tar") as writer:
        for blob in artifact.blobs:
            writer.put_blob(tar, blob.descriptor, lambda blob=blob: iter([blob.content]))  # type: ignore[misc]
        writer.put_manifest(tar, artifact.manifest, "v6.6.6")
    before = everything(tmp_path)
    target = ("--env", "stage", "--directory", "target", "--yes")
    for command in (
        ("pull", releases("v6.6.6"), "-d", "out"),
        ("pull", "ocitar://shop.tar:v6.6.6", "-d", "out"),
        ("apply", "ocitar://shop.tar:v6.6.6", *target),
    ):
        refused = bundler(*command, "-o", "json")
        assert (refused.exit_code, refused.error["code"]) == (4, "verification-failed")
    assert everything(tmp_path) == before
    assert not Path("/tmp/outside.yaml").exists()


PATH = "stage/default/10-configuration.yaml"
OBJECT = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"
FILES: dict[str, tuple[bytes, str]] = {
    "not YAML": (b"a: [\n", "invalid-yaml"),
    "a bomb of aliases": (
        b"a: &a [x, x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 9)) for n in b"bcdefgh"
        ),
        "invalid-yaml",
    ),
    "no object": (b"a: b\n", "not-an-object"),
    "an object of another release": (OBJECT, "wrong-owner"),
}


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize(("content", "rule"), FILES.values(), ids=FILES.keys())
def test_a_file_of_anything_is_a_file_to_pull_and_refused_by_apply(
    tmp_path: Path, bundler: Bundler, releases: Releases, content: bytes, rule: str
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(PATH)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    tarred = buffer.getvalue()
    named = {PATH: str(Digest.of(content))}
    artifact = with_layer(releases.folder, "v1.0.0", gzip(tarred), Digest.of(tarred), named)
    layout, place = OciLayout(releases.folder), Repository("ocidir", "shop")
    layout.push(place, artifact)
    layout.tag(place, artifact, "v6.6.6")
    pulled = bundler("pull", releases("v6.6.6"), "-d", "out", "-o", "json")
    assert pulled.exit_code == 0, pulled.stdout
    assert (tmp_path / "out" / PATH).read_bytes() == content
    target = ("--env", "stage", "--directory", "target", "--yes")
    refused = bundler("apply", releases("v6.6.6"), *target, "-o", "json")
    assert (refused.exit_code, refused.error["code"]) == (4, "verification-failed")
    assert [finding["rule"] for finding in refused.findings] == [rule]
    assert not (tmp_path / "target").exists()


def cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_link(content: bytes) -> bytes:
    return archive(("index.json", tarfile.SYMTYPE))[:512] + content


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": cut_off,
    "compressed": gzip,
    "a link": with_link,
    "a path that leads out": lambda content: archive(("../x", tarfile.REGTYPE))[:1024] + content,
    "another content": lambda content: content.replace(b'"project"', b'"projekt"', 1),
}


@pytest.mark.requirement("C-50")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_refused_and_nothing_is_written(
    tmp_path: Path, bundler: Bundler, releases: Releases, damage: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "shop.tar"
    saved = bundler("save", releases("v1.0.0"), file, "-o", "json")
    assert saved.exit_code == 0, saved.stdout
    intact = file.read_bytes()
    file.write_bytes(damage(intact))
    assert file.read_bytes() != intact
    before = everything(tmp_path)
    for command in (
        ("pull", "ocitar://shop.tar:v1.0.0", "-d", "out"),
        ("inspect", "ocitar://shop.tar:v1.0.0"),
        ("apply", "ocitar://shop.tar:v1.0.0", "--env", "stage", "--directory", "target", "--yes"),
    ):
        refused = bundler(*command, "-o", "json")
        assert (refused.exit_code, refused.error["code"]) == (4, "verification-failed")
        assert "shop.tar" in refused.error["message"]
    assert everything(tmp_path) == before
