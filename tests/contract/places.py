"""The places of the registry contract: artifacts to put there, and who asks how patiently."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.patience import Patience
from bundler.model.artifact import CONTENT_LAYER, RELEASE_CONFIG, Artifact, Blob
from bundler.model.reference import Digest, Repository
from bundler.ports import ContentReader, ContentWriter, DeployRegistry

USER, PASSWORD = "deployer", "canary-7f3a-password"
IDENTITY_TOKEN = "canary-7f3a-identity"
QUICK = Patience(attempts=5, first_pause=0.05, retrying=5, settling=0.05, given_up=0)
LONGER = replace(QUICK, attempts=6, first_pause=0.1)
"""For Docker's registry 2.8, which fails while others write what it reads."""
CHUNK = 1024 * 1024

WITH_STORAGE = ["memory", "folder", "open_registry", "private_registry", "older_registry"]
WITH_REFERENCES = [
    "open_registry",
    "older_registry",
    "behind_tls",
    "with_tokens",
    "older_with_tokens",
]
"""Those that check that a manifest's parts are there."""
NETWORK = [*WITH_REFERENCES, "registry_with_referrers"]


@dataclass(frozen=True)
class Place:
    registry: DeployRegistry
    repository: Repository
    damage: Callable[[Digest], None]
    """Replace stored bytes behind the registry's back."""


@dataclass(frozen=True)
class ContentPlace:
    """A place that content is copied to, and then read from."""

    repository: Repository
    reader: ContentReader
    writing: Callable[[], AbstractContextManager[ContentWriter]]


def release(text: str = "v1") -> Artifact:
    """An artifact with a config and two layers, as bundles have them."""
    config = Blob.of(RELEASE_CONFIG, json.dumps({"release": text}).encode())
    layers = (
        Blob.of(CONTENT_LAYER, f"tar of {text}".encode() * 1000),
        Blob.of("application/json", json.dumps({"document": text}).encode(), "release.json"),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.release-bundler.release.v1",
        "config": config.descriptor.as_dict(),
        "layers": [layer.descriptor.as_dict() for layer in layers],
    }
    content = json.dumps(manifest, indent=1).encode()
    return Artifact(Blob.of(str(manifest["mediaType"]), content), config, layers)


def fresh_repository(host: str) -> Repository:
    return Repository("oci", f"{host}/deploy/my.team/{secrets.token_hex(6)}")


def write_credentials(folder: Path, host: str, password: str = PASSWORD) -> DockerCredentials:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return DockerCredentials([path])


def undamaged(digest: Digest) -> None:
    raise AssertionError(f"{digest} cannot be damaged")


def publish(place: Place, artifact: Artifact, tag: str) -> None:
    place.registry.push(place.repository, artifact)
    place.registry.tag(place.repository, artifact, tag)


def put(writer: ContentWriter, repository: Repository, blob: Blob) -> None:
    writer.put_blob(repository, blob.descriptor, lambda: iter([blob.content]))


def put_blobs(writer: ContentWriter, repository: Repository, *artifacts: Artifact) -> None:
    for each in artifacts:
        for blob in each.blobs:
            put(writer, repository, blob)
