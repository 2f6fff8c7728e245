"""What manifests of any kind name, and what is refused as none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundler.model.artifact import DOCKER_MANIFEST, INDEX, MANIFEST, Blob, Descriptor
from bundler.model.manifest_parts import manifest_parts
from tests.fakes.registry import EMPTY, image, index, referrer

ONE, OTHER = image("amd64", layers=[b"shared", b"a"]), image("arm64", layers=[b"shared"])
BOTH = index([ONE.manifest.descriptor, OTHER.manifest.descriptor])


def read(blob: Blob, **changed: object) -> Any:
    return json.loads(blob.content) | changed


def test_an_image_names_its_config_and_layers_each_once() -> None:
    layers = [layer.descriptor.as_dict() for layer in (*ONE.layers, *ONE.layers)]
    parts = manifest_parts(read(ONE.manifest, layers=layers))
    assert parts.blobs == tuple(blob.descriptor for blob in ONE.blobs)
    assert (parts.media_type, parts.children, parts.subject) == (MANIFEST, (), None)


def test_an_index_names_manifests_and_whatever_else_lies_in_it() -> None:
    entries = [
        ONE.manifest.descriptor.as_dict()
        | {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        OTHER.manifest.descriptor.as_dict()
        | {"platform": {"os": "unknown", "architecture": "unknown"}},
        EMPTY.descriptor.as_dict(),
    ]
    parts = manifest_parts(read(BOTH, manifests=entries))
    assert parts.children == (ONE.manifest.descriptor, OTHER.manifest.descriptor)
    assert parts.blobs == (EMPTY.descriptor,)
    assert parts.platforms == ("linux/arm64/v8",)


def test_a_layer_that_lies_elsewhere_need_not_be_there() -> None:
    elsewhere = ONE.layers[0].descriptor.as_dict() | {"urls": ["https://example.com/layer"]}
    parts = manifest_parts(read(ONE.manifest, layers=[elsewhere]))
    assert parts.blobs == (ONE.config.descriptor,)


def test_a_referrer_names_its_subject_and_its_kind() -> None:
    signature = referrer(BOTH.descriptor, b"signed", "application/vnd.test", {"by": "us"})
    parts = manifest_parts(read(signature.manifest))
    assert (parts.subject, parts.artifact_type) == (
        BOTH.descriptor.digest,
        "application/vnd.test",
    )
    assert parts.annotations == {"by": "us"}
    older = read(signature.manifest, config=Descriptor("x/y", EMPTY.descriptor.digest, 2).as_dict())
    del older["artifactType"]
    assert manifest_parts(older).artifact_type == "x/y"


def test_what_it_does_not_say_of_itself_is_said_by_its_descriptor() -> None:
    silent = read(ONE.manifest, mediaType=None)
    assert manifest_parts(silent).media_type == MANIFEST
    assert manifest_parts(silent, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        read(ONE.manifest, schemaVersion=1),
        read(ONE.manifest, manifests=[]),
        read(BOTH, layers=[]),
        read(BOTH, mediaType=MANIFEST),
        read(ONE.manifest, mediaType=INDEX),
        read(ONE.manifest, mediaType=["x"]),
        read(ONE.manifest, layers={}),
        read(ONE.manifest, layers=["x"]),
        read(ONE.manifest, config=None),
        read(ONE.manifest, config=ONE.config.descriptor.as_dict() | {"size": -1}),
        read(ONE.manifest, config=ONE.config.descriptor.as_dict() | {"size": True}),
        read(ONE.manifest, config=ONE.config.descriptor.as_dict() | {"mediaType": ""}),
        read(ONE.manifest, config=ONE.config.descriptor.as_dict() | {"digest": "sha256:../x"}),
        read(ONE.manifest, subject="x"),
        read(ONE.manifest, annotations=[]),
        read(BOTH, manifests=[ONE.manifest.descriptor.as_dict() | {"size": 2**40}]),
    ],
)
def test_what_makes_no_sense_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        manifest_parts(document)


def test_a_manifest_is_not_read_as_another_kind_than_it_says() -> None:
    with pytest.raises(ValueError, match="is expected"):
        manifest_parts(read(ONE.manifest), INDEX)
