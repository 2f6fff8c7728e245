from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.reference import (
    ArtifactReference,
    Digest,
    ImageReference,
    InvalidReference,
    Repository,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full_name", "tag", "digest"),
    [
        ("redis", "docker.io/library/redis", None, None),
        ("redis:7.4", "docker.io/library/redis", "7.4", None),
        ("org/app:1", "docker.io/org/app", "1", None),
        ("localhost/app", "localhost/app", None, None),
        ("registry.example.com:5000/a/b:v1", "registry.example.com:5000/a/b", "v1", None),
        (f"registry.example.com/a@{DIGEST}", "registry.example.com/a", None, DIGEST),
        (f"registry.example.com/a:v1@{DIGEST}", "registry.example.com/a", "v1", DIGEST),
    ],
)
def test_an_image_reference_is_read_and_written_as_it_stands(
    text: str, full_name: str, tag: str | None, digest: str | None
) -> None:
    image = ImageReference.parse(text)
    assert str(image) == text
    assert (image.full_name, image.tag) == (full_name, tag)
    assert image.digest == (Digest(digest) if digest else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        "A/B",
        "a b",
        "a@sha256:12",
        "a@sha512:" + "a" * 128,
        "-a",
        "a//b",
        "a:b:c",
        "$(x)",
    ],
)
def test_text_that_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        ImageReference.parse(text)


@pytest.mark.parametrize(
    ("text", "scheme", "path", "tag"),
    [
        ("oci://host/name:v1", "oci", "host/name", "v1"),
        ("oci://127.0.0.1:5000/a/b:v1", "oci", "127.0.0.1:5000/a/b", "v1"),
        ("oci://[::1]:5000/a:v1", "oci", "[::1]:5000/a", "v1"),
        ("ocidir://registry/shop:v1.0.0", "ocidir", "registry/shop", "v1.0.0"),
        ("ocidir:///abs/shop:v1.0.0", "ocidir", "/abs/shop", "v1.0.0"),
        ("ocidir://shop", "ocidir", "shop", None),
        ("ocidir://a:b/shop", "ocidir", "a:b/shop", None),
        ("ocidir://a@b/shop:v1", "ocidir", "a@b/shop", "v1"),
    ],
)
def test_an_artifact_reference_names_a_repository_and_a_version(
    text: str, scheme: str, path: str, tag: str | None
) -> None:
    reference = ArtifactReference.parse(text)
    assert reference.repository == Repository(scheme, path)
    assert reference.tag == tag
    assert str(reference) == text


def test_a_digest_stands_behind_the_version() -> None:
    reference = ArtifactReference.parse(f"oci://host/name:v1@{DIGEST}")
    assert (reference.tag, str(reference.digest)) == ("v1", DIGEST)


@pytest.mark.parametrize(
    "text",
    ["v1", "http://host/name", "oci://host", "oci://", "ocidir://", "oci://host/Name", "oci://host/a?b",
     "oci://host/../a:v1", "oci://u:p@host/a", "ocidir://a:b c"],
)  # fmt: skip
def test_text_that_is_no_artifact_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        ArtifactReference.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_clear_error(text: str) -> None:
    for parse in (ImageReference.parse, ArtifactReference.parse, Digest.parse):
        try:
            parse(text)
        except InvalidReference as error:
            assert str(error)
