"""Content of any kind with all that belongs to it, as copying reads and writes it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.adapters.layout.oci_tar import OciTarWriter
from bundler.adapters.registry.registries import Registries
from bundler.errors import (
    BundlerError,
    NotFound,
    UsageError,
    VerificationFailed,
)
from bundler.model.artifact import Blob
from bundler.model.reference import Repository
from tests.contract.places import (
    ContentPlace,
    put,
    put_blobs,
)
from tests.fakes.registry import image, index, referrer


@pytest.mark.requirement("B-89")
def test_an_image_of_any_kind_comes_back_with_all_that_belongs_to_it(
    content_place: ContentPlace,
) -> None:
    one, other = image("amd64", layers=[b"a" * 5000, b"b"]), image("arm64", layers=[b"c", b"b"])
    both = index([one.manifest.descriptor, other.manifest.descriptor])
    signature = referrer(both.descriptor, b"signed", annotations={"by": "us"})
    place = content_place.repository
    with content_place.writing() as writer:
        put_blobs(writer, place, one, other, signature)
        for manifest, tag in (
            (one.manifest, None),
            (other.manifest, None),
            (both, None),
            (signature.manifest, None),
            (both, "v1.0.0"),
        ):
            writer.put_manifest(place, manifest, tag)
            assert writer.has(place, manifest.descriptor)
    reader = content_place.reader
    assert [tag for tag in reader.tags(place) if not tag.startswith("sha256-")] == ["v1.0.0"]
    assert reader.resolve(place, "v1.0.0") == both.descriptor.digest
    for manifest in (one.manifest, other.manifest, both, signature.manifest):
        described = reader.descriptor(place, manifest.descriptor.digest)
        assert described is not None
        assert replace(described, annotations={}) == manifest.descriptor
        assert reader.manifest(place, manifest.descriptor.digest) == manifest.content
    for each in (one, other, signature):
        for blob in each.blobs:
            assert b"".join(reader.blob_pieces(place, blob.descriptor)) == blob.content
    found = reader.referrers(place, both.descriptor.digest)
    assert [each.digest for each in found] == [signature.digest]
    assert reader.referrers(place, one.digest) == ()


def test_a_blob_that_is_not_what_it_is_said_to_be_is_not_kept(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"right" * 1000)
    with content_place.writing() as writer:
        for wrong in (b"", b"wrong" * 1000, blob.content[:-1], blob.content + b"x"):
            with pytest.raises(VerificationFailed):
                put(writer, place, replace(blob, content=wrong))
            assert not writer.has(place, blob.descriptor)
        put(writer, place, blob)
        assert writer.has(place, blob.descriptor)
    assert b"".join(content_place.reader.blob_pieces(place, blob.descriptor)) == blob.content


def test_a_blob_that_is_there_is_not_asked_for_again(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"content")

    def unwanted() -> Iterator[bytes]:
        raise AssertionError("asked for")

    with content_place.writing() as writer:
        put(writer, place, blob)
        writer.put_blob(place, blob.descriptor, unwanted)


def test_a_large_blob_comes_in_pieces(content_place: ContentPlace) -> None:
    place, blob = content_place.repository, Blob.of("text/plain", b"0123456789abcdef" * 200_000)
    with content_place.writing() as writer:
        put(writer, place, blob)
    pieces = list(content_place.reader.blob_pieces(place, blob.descriptor))
    assert max(map(len, pieces)) <= 1024 * 1024
    assert b"".join(pieces) == blob.content


def test_a_manifest_needs_its_parts(
    content_place: ContentPlace, request: pytest.FixtureRequest
) -> None:
    if "registry_with_referrers" in request.fixturenames:
        return  # it takes any
    one = image("amd64", layers=[b"a"])
    place = content_place.repository
    with content_place.writing() as writer:
        for manifest in (one.manifest, index([one.manifest.descriptor])):
            with pytest.raises(BundlerError):
                writer.put_manifest(place, manifest, "v1.0.0")
    assert content_place.reader.tags(place) == ()


def test_what_was_never_written_is_not_there(content_place: ContentPlace) -> None:
    place, absent = content_place.repository, image("absent").manifest.descriptor
    with content_place.writing() as writer:
        assert not writer.has(place, absent)
    reader = content_place.reader
    assert reader.descriptor(place, "v1.0.0") is None
    assert reader.descriptor(place, absent.digest) is None
    assert reader.referrers(place, absent.digest) == ()
    with pytest.raises(NotFound):
        list(reader.blob_pieces(place, absent))


def test_many_threads_write_one_content(content_place: ContentPlace) -> None:
    place = content_place.repository
    images = [
        image(str(number % 5), layers=[b"shared", bytes([number % 5])]) for number in range(40)
    ]
    with content_place.writing() as writer, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda each: put_blobs(writer, place, each), images))
        list(
            pool.map(
                lambda number: writer.put_manifest(
                    place, images[number].manifest, f"v{number % 5}" if number > 20 else None
                ),
                range(40),
            )
        )
    assert sorted(content_place.reader.tags(place)) == ["v0", "v1", "v2", "v3", "v4"]


def test_nothing_is_added_to_a_tar_file(tmp_path: Path) -> None:
    registries, file = Registries(tmp_path), Repository("ocitar", "shop.tar")
    with OciTarWriter(tmp_path / "shop.tar") as writer:
        put_blobs(writer, file, image("cart"))
        writer.put_manifest(file, image("cart").manifest, "v1.0.0")
    assert registries.resolve(file, "v1.0.0") == image("cart").digest
    with pytest.raises(UsageError, match="nothing can be added"):
        registries.push(file, image("other"))


@pytest.mark.requirement("B-84")
def test_a_blob_of_another_repository_of_the_registry_is_mounted(network: ContentPlace) -> None:
    here = network.repository
    near = Repository("oci", f"{here}/base".removeprefix("oci://"))
    blob = Blob.of("text/plain", secrets.token_bytes(3 * 1024 * 1024))
    with network.writing() as registry:
        registry.put_blob(near, blob.descriptor, lambda: iter([blob.content]))
        registry.put_blob(here, blob.descriptor, lambda: iter([blob.content]), near)
        assert registry.has(here, blob.descriptor)
        absent = Blob.of("text/plain", secrets.token_bytes(10))
        registry.put_blob(here, absent.descriptor, lambda: iter([absent.content]), near)
        assert registry.has(here, absent.descriptor)
    assert b"".join(network.reader.blob_pieces(here, blob.descriptor)) == blob.content
