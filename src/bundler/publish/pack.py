"""validated bundle → artifact: the same content has the same bytes on every machine.

Nothing in them depends on who packs, when, where or with which version of this program; only the
gzip layer depends on zlib, so the release document holds the digest of the uncompressed tar.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import cast

from bundler.errors import ValidationFailed
from bundler.model import artifact as oci
from bundler.model.artifact import Artifact, Blob, Profile
from bundler.model.bundle import ValidatedBundle
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock, ResolvedImage
from bundler.model.project import Environment, Project
from bundler.model.reference import Digest
from bundler.model.sops import SOPS


def pack(project: Project, bundle: ValidatedBundle, profile: Profile = "oci") -> Artifact:
    """The artifact of a bundle (docs/bundle-format.md). Raises ValidationFailed beyond limits."""
    tarred = tar(bundle.files)
    content = Blob.of(oci.CONTENT_LAYER, gzip(tarred), title="manifests.tar.gz")
    document = release_document(project, bundle, Digest.of(tarred))
    annotations = _annotations(project, bundle)
    if profile == "compat":
        artifact = _compat(content, document, annotations)
    else:
        artifact = _standard(content, compact_json(document), annotations)
    _check_limits(bundle.files, (artifact.config, content))
    return artifact


def _standard(content: Blob, document: bytes, annotations: Mapping[str, str]) -> Artifact:
    config = Blob.of(oci.RELEASE_CONFIG, document)
    layers = (content, Blob.of(oci.RELEASE_DOCUMENT, document, title="release.json"))
    return _artifact(config, layers, {"artifactType": oci.RELEASE_ARTIFACT}, annotations)


def _compat(
    content: Blob, document: Mapping[str, object], annotations: Mapping[str, str]
) -> Artifact:
    """For registries that know images only: the document is an image's configuration too."""
    image = {
        "architecture": "unknown",
        "os": "unknown",
        "rootfs": {"type": "layers", "diff_ids": [_content_digest(document)]},
    }
    config = Blob.of(oci.IMAGE_CONFIG, compact_json({**document, **image}))
    marked = {**annotations, oci.ARTIFACT_TYPE: oci.RELEASE_ARTIFACT}
    return _artifact(config, (content,), {}, marked)


def _content_digest(document: Mapping[str, object]) -> str:
    return cast("Mapping[str, str]", document["content"])["tar"]


def _artifact(
    config: Blob,
    layers: tuple[Blob, ...],
    kind: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Artifact:
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        **kind,
        "config": config.descriptor.as_dict(),
        "layers": [layer.descriptor.as_dict() for layer in layers],
        "annotations": annotations,
    }
    return Artifact(Blob.of(oci.MANIFEST, compact_json(manifest)), config, layers)


def _annotations(project: Project, bundle: ValidatedBundle) -> dict[str, str]:
    revision = bundle.rendered.lock.revision
    annotations = {
        oci.CREATED: rfc3339(revision.commit_time),
        oci.TITLE: project.name,
        oci.VERSION: revision.tag.name,
        oci.REVISION: str(revision),
    }
    return annotations | ({oci.SOURCE: project.source} if project.source else {})


def release_document(
    project: Project, bundle: ValidatedBundle, content: Digest
) -> dict[str, object]:
    """The release document (docs/release-document.md) as a value."""
    lock = bundle.rendered.lock
    revision = lock.revision
    document: dict[str, object] = {
        "apiVersion": "bundler/v1",
        "kind": "Release",
        "requires": [SOPS] if any(each.encrypted for each in bundle.rendered.targets) else [],
        "project": project.name,
        "tag": revision.tag.name,
        "version": revision.tag.version,
        "commit": revision.commit,
        "commitTime": rfc3339(revision.commit_time),
        **recorded(lock),
        "environments": {
            environment.name: _environment(environment, bundle)
            for environment in project.environments.values()
        },
        "content": {"tar": str(content)},
        "renderers": dict(bundle.rendered.renderers),
    }
    return document | ({"source": project.source} if project.source else {})


def recorded(lock: ImageLock) -> dict[str, dict[str, dict[str, object]]]:
    """What a release document holds of a lock."""
    return {
        "services": {name: _service(image) for name, image in lock.services.items()},
        "external": {name: {"digest": str(digest)} for name, digest in lock.external.items()},
        "libraries": {name: {"commit": commit} for name, commit in lock.libraries.items()},
    }


def _service(image: ResolvedImage) -> dict[str, object]:
    described: dict[str, object] = {
        "image": image.image,
        "tag": image.tag,
        "digest": str(image.digest),
        "commit": image.commit,
        "resolvedVia": image.resolved_via,
    }
    if image.migrations:
        described["migrations"] = {
            "treeDigest": image.migrations.tree_digest,
            "reversible": image.migrations.reversible,
        } | ({"job": image.migrations.job} if image.migrations.job else {})
    return described


def _environment(environment: Environment, bundle: ValidatedBundle) -> dict[str, object]:
    return {
        "protected": environment.protected,
        "kubernetes": bundle.kubernetes[environment.name],
        "allow": {
            "namespaces": sorted(environment.allowed.namespaces),
            "clusterScoped": sorted(environment.allowed.cluster_scoped),
        },
        **_applying(environment),
        "targets": {
            target.name: {
                "namespace": target.namespace,
                **({"canary": True} if target.canary else {}),
                "files": {
                    path: str(Digest.of(content))
                    for path, content in bundle.files.items()
                    if path.startswith(f"{environment.name}/{target.name}/")
                },
            }
            for target in environment.targets
        },
    }


def _applying(environment: Environment) -> dict[str, object]:
    """How it is to be applied, where the project says so: a document without it stays the same."""
    said = environment.applying
    settings = {"timeout": said.timeout, "onFailure": said.on_failure, "jobs": said.jobs}
    given = {key: value for key, value in settings.items() if value is not None}
    return {"apply": given} if given else {}


def compact_json(value: object) -> bytes:
    """JSON without white space, keys in their order: that of targets is the order of applying."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tar(files: Mapping[str, bytes]) -> bytes:
    """A ustar archive of files and their folders: sorted, fixed modes, owners and times."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(folders | files.keys()):
            entry = tarfile.TarInfo(name)
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                entry.size, entry.mode = len(files[name]), 0o644
                archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def gzip(content: bytes) -> bytes:
    """One gzip member (RFC 1952) without name, time and platform."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    body = deflate.compress(content) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def _check_limits(files: Mapping[str, bytes], blobs: Sequence[Blob]) -> None:
    """Refuse what a reader would refuse, before it is published."""
    document, content = blobs
    measured = (
        ("bytes of manifests", sum(map(len, files.values())), oci.MAX_CONTENT_BYTES),
        ("files", len(files), oci.MAX_CONTENT_FILES),
        ("compressed bytes of manifests", content.descriptor.size, oci.MAX_LAYER_BYTES),
        ("bytes of release document", document.descriptor.size, oci.MAX_DOCUMENT_BYTES),
    )
    findings = [
        Finding("size-limit", f"{size} {what}; readers take {limit} at most")
        for what, size, limit in measured
        if size > limit
    ]
    if findings:
        raise ValidationFailed("the bundle is too large to be read again", findings=findings)
