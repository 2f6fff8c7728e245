"""Packing, and reading what was packed or tampered with."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.archives import gunzip, read_tar
from bundler.bundles import find
from bundler.deploy.pull import pull
from bundler.deploy.verify import verify
from bundler.errors import NotFound, ValidationFailed, VerificationFailed
from bundler.manifests import write_documents
from bundler.model import artifact as oci
from bundler.model.artifact import Artifact, Blob
from bundler.model.bundle import RenderedBundle, ValidatedBundle
from bundler.model.lock import ImageLock, ResolvedImage
from bundler.model.objects import OWNER
from bundler.model.project import Environment, Lookup, Project, Target
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.publish.pack import compact_json, gzip, pack, tar
from tests.fakes.registry import InMemoryRegistry

PLACE = Repository("oci", "deploy.example.com/shop")
REFERENCE = ArtifactReference(PLACE, "v1.0.0")
PROJECT = Project(
    "shop",
    {},
    {},
    {"stage": Environment("stage", (Target("default", "shop", "overlays/stage"),))},
    PLACE,
    Lookup({}),
    source="https://git.example.com/shop",
)
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "settings",
        "namespace": "shop",
        "annotations": {OWNER: "shop/stage/default"},
    },
}
FILES = {"stage/default/10-configuration.yaml": write_documents([CONFIG_MAP])}


def bundle(files: Mapping[str, bytes] = FILES) -> ValidatedBundle:
    image = ResolvedImage("r.example.com/cart", "c" * 40, Digest.of(b""), "c" * 40, "first-parent")
    lock = ImageLock(
        SourceRevision(ReleaseTag("v1.0.0"), "c" * 40, 1_700_000_000), {"cart": image}, {}
    )
    rendered = RenderedBundle(lock, (), {"kustomize": "v5.8.2"})
    return ValidatedBundle(rendered, files, {"stage": "1.36"})


def published(artifact: Artifact) -> InMemoryRegistry:
    registry = InMemoryRegistry()
    registry.push(PLACE, artifact)
    registry.tag(PLACE, artifact, "v1.0.0")
    return registry


def test_what_was_packed_reads_back_the_same() -> None:
    verified = verify(pull(published(pack(PROJECT, bundle())), REFERENCE, DocumentSchemas()))
    assert verified.files == FILES
    assert verified.objects == {("stage", "default"): (CONFIG_MAP,)}


@pytest.mark.requirement("B-80")
def test_the_artifact_is_one_manifest_with_one_tar_layer_that_other_tools_read() -> None:
    artifact = pack(PROJECT, bundle())
    manifest = json.loads(artifact.manifest.content)
    assert manifest["artifactType"] == "application/vnd.release-bundler.release.v1"
    assert "subject" not in manifest
    types = [layer["mediaType"] for layer in manifest["layers"]]
    assert types[0] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert not [t for t in types[1:] if t.endswith(("tar", "tar+gzip", "tar.gzip"))]
    assert manifest["annotations"]["org.opencontainers.image.revision"] == f"v1.0.0@sha1:{'c' * 40}"
    assert manifest["annotations"]["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    assert artifact.layers[1].content == artifact.config.content
    with tarfile.open(fileobj=io.BytesIO(artifact.layers[0].content)) as archive:
        entries = [(e.name, e.mode, e.uid, e.mtime) for e in archive]
    assert entries == [
        ("stage", 0o755, 0, 0),
        ("stage/default", 0o755, 0, 0),
        ("stage/default/10-configuration.yaml", 0o644, 0, 0),
    ]


def test_targets_keep_the_order_of_the_project_file() -> None:
    names = ("zurich", "amsterdam", "madrid")
    targets = tuple(Target(name, f"shop-{name}", "overlays/prod") for name in names)
    project = replace(PROJECT, environments={"stage": Environment("stage", targets)})
    document = json.loads(pack(project, bundle({})).config.content)
    assert tuple(document["environments"]["stage"]["targets"]) == names


def test_the_bytes_depend_on_nothing_but_the_content() -> None:
    program = (
        "from tests.unit.test_bundle_bytes import PROJECT, bundle, pack\n"
        "print(pack(PROJECT, bundle()).digest)"
    )
    digests = set()
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"), ("3", "America/New_York")):
        completed = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(completed.stdout.strip())
    assert digests == {str(pack(PROJECT, bundle()).digest)}


@pytest.mark.parametrize(
    "limit", ["MAX_CONTENT_BYTES", "MAX_CONTENT_FILES", "MAX_LAYER_BYTES", "MAX_DOCUMENT_BYTES"]
)
def test_what_a_reader_would_refuse_is_not_published(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(oci, limit, 0)
    with pytest.raises(ValidationFailed, match="too large") as raised:
        pack(PROJECT, bundle())
    assert len(raised.value.findings) == 1


@pytest.mark.requirement("B-103")
def test_a_version_that_was_never_published_is_not_found() -> None:
    with pytest.raises(NotFound, match="no such version") as raised:
        find(published(pack(PROJECT, bundle())), ArtifactReference(PLACE, "v9.9.9"))
    assert raised.value.exit_code == 1


# --- manifests of others, or changed ------------------------------------------------------------


def changed_manifest(change: Callable[[dict[str, Any]], object]) -> InMemoryRegistry:
    artifact = pack(PROJECT, bundle())
    manifest = json.loads(artifact.manifest.content)
    change(manifest)
    blob = Blob.of(oci.MANIFEST, compact_json(manifest))
    return published(Artifact(blob, artifact.config, artifact.layers))


def second_tar(manifest: dict[str, Any]) -> None:
    manifest["layers"].append(manifest["layers"][0])


MANIFEST_CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "artifact type of somebody else": lambda m: m.update(artifactType="application/x"),
    "an index as well": lambda m: m.update(manifests=[]),
    "another media type": lambda m: m.update(mediaType=oci.INDEX),
    "no config": lambda m: m.pop("config"),
    "another config type": lambda m: m["config"].update(mediaType="application/x"),
    "no layers": lambda m: m.update(layers=[]),
    "two tar layers": second_tar,
    "a digest that is a path": lambda m: m["config"].update(digest="sha256:../../etc/passwd"),
    "an unknown algorithm": lambda m: m["config"].update(digest="md5:" + "a" * 32),
    "another algorithm": lambda m: m["config"].update(digest="sha512:" + "a" * 128),
    "an empty layer": lambda m: m["layers"][0].update(size=0),
    "a negative size": lambda m: m["layers"][0].update(size=-1),
    "a huge size": lambda m: m["layers"][0].update(size=1 << 40),
    "a size that is true": lambda m: m["config"].update(size=True),
    "content elsewhere": lambda m: m["layers"][0].update(urls=["https://x.example.com"]),
    "annotations that are no texts": lambda m: m["annotations"].update(x=1),
    "layers that are no list": lambda m: m.update(layers={"a": 1}),
}


@pytest.mark.parametrize("change", MANIFEST_CHANGES.values(), ids=MANIFEST_CHANGES.keys())
def test_a_manifest_that_is_not_ours_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(VerificationFailed) as raised:
        find(changed_manifest(change), REFERENCE)
    assert raised.value.exit_code == 4


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"a":1,"a":2}', b"null", b"\xff"])
def test_a_manifest_that_is_no_json_is_refused(content: bytes) -> None:
    artifact = pack(PROJECT, bundle())
    other = Artifact(Blob.of(oci.MANIFEST, content), artifact.config, artifact.layers)
    with pytest.raises(VerificationFailed):
        find(published(other), REFERENCE)


@pytest.mark.parametrize("content", [b"", b"hello", b"[]", b'{"a":1,"a":2}', b"[" * 100_000])
def test_a_document_that_is_no_object_is_refused(content: bytes) -> None:
    artifact = pack(PROJECT, bundle())
    config = Blob.of(oci.RELEASE_CONFIG, content)
    manifest = json.loads(artifact.manifest.content)
    manifest["config"] = config.descriptor.as_dict()
    blob = Blob.of(oci.MANIFEST, compact_json(manifest))
    with pytest.raises(VerificationFailed):
        pull(published(Artifact(blob, config, artifact.layers)), REFERENCE, DocumentSchemas())


def repacked(
    change: Callable[[dict[str, Any]], object] = lambda _: None, content: bytes | None = None
) -> InMemoryRegistry:
    """An artifact whose digests fit, but whose document or content somebody wrote anew."""
    artifact = pack(PROJECT, bundle())
    document = json.loads(artifact.config.content)
    change(document)
    config = Blob.of(oci.RELEASE_CONFIG, compact_json(document))
    layer = Blob.of(oci.CONTENT_LAYER, artifact.layers[0].content if content is None else content)
    manifest = json.loads(artifact.manifest.content)
    manifest["config"] = config.descriptor.as_dict()
    manifest["layers"] = [layer.descriptor.as_dict()]
    return published(Artifact(Blob.of(oci.MANIFEST, compact_json(manifest)), config, (layer,)))


def other_tar(files: Mapping[str, bytes]) -> InMemoryRegistry:
    content = tar(files)
    return repacked(lambda d: d["content"].update(tar=str(Digest.of(content))), gzip(content))


FILE_CHANGES: dict[str, tuple[InMemoryRegistry, str]] = {
    "a tar with another digest": (repacked(content=gzip(tar({"a": b""}))), "not the tar"),
    "a truncated layer": (repacked(content=gzip(tar(FILES))[:-20]), "truncated"),
    "something behind the layer": (repacked(content=gzip(tar(FILES)) + b"x"), "follows"),
    "no file at all": (other_tar({}), "is not what its release document says"),
    "an empty tar": (
        repacked(lambda d: d["content"].update(tar=str(Digest.of(b""))), gzip(b"")),
        "is not what its release document says",
    ),
    "no gzip": (repacked(content=b"hello"), "header"),
    "a document that requires more": (
        repacked(lambda d: d.update(requires=["wings"])),
        "requires what this version cannot do: wings",
    ),
    "a document without services": (repacked(lambda d: d.pop("services")), "schema"),
}


@pytest.mark.parametrize(("registry", "problem"), FILE_CHANGES.values(), ids=FILE_CHANGES.keys())
def test_content_that_the_document_does_not_name_is_refused(
    registry: InMemoryRegistry, problem: str
) -> None:
    with pytest.raises(VerificationFailed, match=problem):
        verify(pull(registry, REFERENCE, DocumentSchemas()))


def test_all_differing_files_are_named_at_once() -> None:
    registry = other_tar({"stage/default/10-configuration.yaml": b"", "stage/default/x.yaml": b""})
    with pytest.raises(VerificationFailed) as raised:
        verify(pull(registry, REFERENCE, DocumentSchemas()))
    assert {(f.rule, f.file) for f in raised.value.findings} == {
        ("file-changed", "stage/default/10-configuration.yaml"),
        ("file-unknown", "stage/default/x.yaml"),
    }


# --- archives -----------------------------------------------------------------------------------


def with_size(field: bytes) -> bytes:
    """An entry with the size in these twelve bytes, and a right checksum."""
    content = bytearray(tar({"a": b""}))
    content[124:136] = field
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


def raw_tar(
    *entries: tuple[str, bytes, bytes], fmt: int = tarfile.USTAR_FORMAT, **pax: str
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt, pax_headers=pax) as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.size = len(content)
            entry.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


REG = tarfile.REGTYPE
ARCHIVES = {
    "path traversal": raw_tar(("../x", REG, b"x")),
    "traversal inside": raw_tar(("a/../../x", REG, b"x")),
    "absolute path": raw_tar(("/x", REG, b"x")),
    "backslash": raw_tar(("a\\x", REG, b"x")),
    "drive": raw_tar(("c:x", REG, b"x")),
    "symbolic link": raw_tar(("a", tarfile.SYMTYPE, b"")),
    "hard link": raw_tar(("a", tarfile.LNKTYPE, b"")),
    "device": raw_tar(("a", tarfile.CHRTYPE, b"")),
    "fifo": raw_tar(("a", tarfile.FIFOTYPE, b"")),
    "duplicate": raw_tar(("a", REG, b"1"), ("a", REG, b"2")),
    "case twins": raw_tar(("a", REG, b"1"), ("A", REG, b"2")),
    "long name of GNU": raw_tar(("a" * 200, REG, b""), fmt=tarfile.GNU_FORMAT),
    "path override of PAX": raw_tar(("ü" * 120, REG, b""), fmt=tarfile.PAX_FORMAT),
    "control characters": raw_tar(("a\x1b[31m", REG, b"")),
    "carriage return": raw_tar(("a\r", REG, b"")),
    "line feed": raw_tar(("a\nb", REG, b"")),
    "5,000 characters": raw_tar(("a/" * 2500 + "a", REG, b""), fmt=tarfile.PAX_FORMAT),
    "247 characters": raw_tar(("a" * 80 + "/" + "b" * 70 + "/" + "c" * 95, REG, b"")),
    "sparse": raw_tar(("a", tarfile.GNUTYPE_SPARSE, b"")),
    "contiguous": raw_tar(("a", tarfile.CONTTYPE, b"")),
    "negative size": with_size(b"\xff" * 12),
    "huge size": with_size(b"77777777777\0"),
    "huge size of GNU": with_size(b"\x80" + b"\xff" * 11),
    "size that is no number": with_size(b"0000000x000\0"),
    "global path of PAX": raw_tar(("a", REG, b""), fmt=tarfile.PAX_FORMAT, path="b"),
    "a tail": tar({"a": b""}) + b"x" * 512,
    "cut off": tar({"a": b"x" * 2000})[:1024],
    "wrong checksum": tar({"a": b""}).replace(b"a", b"b", 1),
}


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_we_do_not_write_is_refused(archive: bytes) -> None:
    registry = repacked(lambda d: d["content"].update(tar=str(Digest.of(archive))), gzip(archive))
    with pytest.raises(VerificationFailed, match="content is refused"):
        verify(pull(registry, REFERENCE, DocumentSchemas()))


def test_a_gzip_bomb_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.archives.MAX_CONTENT_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        gunzip(gzip(b"\0" * (1 << 24)))


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_a_value_error(content: bytes) -> None:
    try:
        read_tar(content)
    except ValueError as error:
        assert str(error)


PATHS = st.from_regex(r"[a-z0-9]{1,20}(/[a-z0-9.-]{1,20}){0,4}", fullmatch=True).filter(
    lambda path: not {".", ".."} & set(path.split("/"))
)


@given(st.dictionaries(PATHS, st.binary(max_size=2000), max_size=6))
def test_every_archive_that_we_write_reads_back(files: dict[str, bytes]) -> None:
    folders = {path.rpartition("/")[0] for path in files}
    plain = {p: c for p, c in files.items() if not any(f.startswith(p) for f in folders)}
    assert read_tar(gunzip(gzip(tar(plain)))) == plain
