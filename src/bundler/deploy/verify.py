"""pulled bytes → verified bundle: what the release document says of them is true.

The objects that are applied are parsed here, once, from the bytes whose digests were compared.
Who only wants the files gets them as they are: nothing in them is acted on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from bundler.archives import InvalidArchive, gunzip, read_tar
from bundler.deploy.pull import PulledBundle
from bundler.errors import VerificationFailed
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.bundle import VerifiedBundle
from bundler.model.finding import Finding
from bundler.model.objects import OWNER, KubernetesObject, ObjectRef
from bundler.model.reference import Digest
from bundler.model.sops import EncryptedDocument, is_encrypted, is_secret


def verify(pulled: PulledBundle) -> VerifiedBundle:
    """What can be applied: verified files, and the objects in them.

    Raises VerificationFailed as `verified_files` does, and for every document that is no object
    of its target.
    """
    files = verified_files(pulled)
    release = cast("Mapping[str, Any]", pulled.release.value)
    objects: dict[tuple[str, str], tuple[KubernetesObject, ...]] = {}
    encrypted: dict[tuple[str, str], tuple[EncryptedDocument, ...]] = {}
    findings: list[Finding] = []
    for environment, target, paths in _targets(release):
        try:
            read = {path: read_documents(files[path]) for path in paths}
        except InvalidYaml as error:
            place = f"{environment}/{target}"
            findings.append(Finding("invalid-yaml", str(error), environment=place))
            continue
        owner = f"{release['project']}/{environment}/{target}"
        sealed = [
            EncryptedDocument(path, files[path], documents[0])
            for path, documents in read.items()
            if len(documents) == 1 and is_encrypted(documents[0])
        ]
        for each in sealed:
            del read[each.file]
        parsed = [obj for documents in read.values() for obj in documents]
        found = [*_object_findings(owner, parsed), *_encrypted_findings(sealed)]
        settings = release["environments"][environment]
        findings += found or _escapes(settings, target, [*parsed, *_with_namespace(sealed)])
        objects[environment, target] = tuple(parsed)
        encrypted[environment, target] = tuple(sealed)
    _refuse(pulled, findings)
    manifest = pulled.manifest
    reference, digest = manifest.reference, manifest.digest
    return VerifiedBundle(reference, digest, pulled.release, files, objects, encrypted)


def verified_files(pulled: PulledBundle) -> Mapping[str, bytes]:
    """The files of a bundle, not understood, only found to be those that the document names.

    Raises VerificationFailed with every difference between the document and the files.
    """
    reference = pulled.manifest.reference
    release = cast("Mapping[str, Any]", pulled.release.value)
    try:
        content = gunzip(pulled.content)
        if str(Digest.of(content)) != release["content"]["tar"]:
            raise InvalidArchive("not the tar that the release document names")
        files = read_tar(content)
    except (InvalidArchive, zlib.error) as error:
        raise VerificationFailed(f"{reference}: its content is refused: {error}") from error
    _refuse(pulled, list(_file_findings(release, files)))
    return files


def _refuse(pulled: PulledBundle, findings: list[Finding]) -> None:
    if findings:
        raise VerificationFailed(
            f"{pulled.manifest.reference}: its content is not what its release document says",
            findings=findings,
        )


def _targets(release: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for environment, settings in release["environments"].items():
        for target, described in settings["targets"].items():
            yield environment, target, sorted(described["files"])


def _file_findings(release: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[Finding]:
    named = {
        path: digest
        for settings in release["environments"].values()
        for described in settings["targets"].values()
        for path, digest in described["files"].items()
    }
    for path in sorted(named.keys() | files.keys()):
        if path not in files:
            yield Finding("file-missing", "named by the release document, not there", file=path)
        elif path not in named:
            yield Finding("file-unknown", "not named by the release document", file=path)
        elif str(Digest.of(files[path])) != named[path]:
            yield Finding("file-changed", "has another digest", file=path)


def _object_findings(owner: str, objects: list[Any]) -> Iterator[Finding]:
    for obj in objects:
        metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
        if not isinstance(metadata, Mapping) or not (obj.get("kind") and metadata.get("name")):
            yield Finding("not-an-object", "a document that is no Kubernetes object")
        elif isinstance(obj.get("items"), list) and str(obj["kind"]).endswith("List"):
            name = f"{obj['kind']}/{metadata['name']}"
            yield Finding("not-an-object", "a list, of whose items nothing is known", object=name)
        elif (metadata.get("annotations") or {}).get(OWNER) != owner:
            name = f"{obj['kind']}/{metadata['name']}"
            yield Finding("wrong-owner", f"is not annotated as {owner}'s", object=name)


def _escapes(
    environment: Mapping[str, Any], target: str, objects: Iterable[Any]
) -> Iterator[Finding]:
    """What leaves the target's namespace though the release does not say that it may.

    Releases that were published before documents said what is allowed are taken as they are.
    """
    allowed = environment.get("allow")
    if not isinstance(allowed, Mapping):
        return
    own = environment["targets"][target]["namespace"]
    own_namespace = ObjectRef("", "Namespace", "", own)
    namespaces = {own, *allowed.get("namespaces", ())}
    for obj in objects:
        ref = ObjectRef.of(obj) if isinstance(obj, Mapping) else None
        if ref is None or ref.namespace in namespaces:
            continue
        if ref.namespace:
            message = f"namespace {ref.namespace} is neither the target's own nor allowed"
            yield Finding("namespace-escape", message, object=str(ref))
        elif ref.kind not in allowed.get("clusterScoped", ()) and ref != own_namespace:
            message = "has no namespace, and the release does not allow its kind"
            yield Finding("cluster-scoped", message, object=str(ref))


def _with_namespace(documents: Iterable[EncryptedDocument]) -> Iterator[KubernetesObject]:
    """The others get the target's own when they are decrypted."""
    for each in documents:
        metadata = each.document.get("metadata")
        if isinstance(metadata, Mapping) and metadata.get("namespace"):
            yield each.document


def _encrypted_findings(documents: list[EncryptedDocument]) -> Iterator[Finding]:
    for each in documents:
        metadata = each.document.get("metadata")
        is_object = isinstance(metadata, Mapping) and _is_metadata(metadata)
        if not is_object or not is_secret(each.document):
            message = "an encrypted document that is no Secret"
            yield Finding("not-an-object", message, file=each.file)


def _is_metadata(metadata: Mapping[str, Any]) -> bool:
    texts = (metadata.get("name"), metadata.get("namespace") or "")
    mappings = (metadata.get(key) or {} for key in ("labels", "annotations"))
    return (
        bool(texts[0])
        and all(isinstance(each, str) for each in texts)
        and all(isinstance(each, Mapping) for each in mappings)
    )
