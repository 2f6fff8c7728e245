"""What refers to an artifact is found by it, on every registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.places import ContentPlace, Place, put_blobs, release
from tests.fakes.registry import image, referrer


@pytest.mark.requirement("B-87")
def test_all_referrers_that_are_written_at_once_are_found(network: ContentPlace) -> None:
    place, subject = network.repository, image("subject", layers=[b"layer"])
    signatures = [referrer(subject.manifest.descriptor, bytes([number])) for number in range(12)]
    with network.writing() as registry, ThreadPoolExecutor(6) as pool:
        put_blobs(registry, place, subject, *signatures)
        registry.put_manifest(place, subject.manifest, "v1.0.0")
        list(pool.map(lambda each: registry.put_manifest(place, each.manifest), signatures))
    found = network.reader.referrers(place, subject.digest)
    assert {each.digest for each in found} == {each.digest for each in signatures}


@pytest.mark.requirement("B-82", "B-87")
def test_what_is_pushed_about_an_artifact_is_found_by_it(place: Place) -> None:
    registry, repository, subject = place.registry, place.repository, release()
    record = referrer(subject.manifest.descriptor, b"record", annotations={"by": "us"})
    registry.push(repository, subject)
    registry.push(repository, record)
    [found] = registry.referrers(repository, subject.digest)
    assert found.digest == record.digest
    assert [tag for tag in registry.tags(repository) if not tag.startswith("sha256-")] == []


def test_what_refers_to_what_refers_is_found_step_by_step(content_place: ContentPlace) -> None:
    place, subject = content_place.repository, image("subject")
    report = referrer(subject.manifest.descriptor, b"report")
    signature = referrer(report.manifest.descriptor, b"signature of the report")
    with content_place.writing() as writer:
        put_blobs(writer, place, subject, report, signature)
        writer.put_manifest(place, subject.manifest, "v1.0.0")
        for each in (report, signature):
            writer.put_manifest(place, each.manifest)
    steps = [subject.digest, report.digest, signature.digest]
    found = [content_place.reader.referrers(place, digest) for digest in steps]
    assert [[each.digest for each in step] for step in found] == [
        [report.digest],
        [signature.digest],
        [],
    ]
