"""Names of things in registries: parsed here, once, and never again split as strings.

Grammar: OCI distribution-spec 1.1 ("Pulling manifests") and the Docker reference rules for
references without a registry host.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)


class InvalidReference(ValueError):
    """Text that is no reference; the message says which part is wrong."""


@dataclass(frozen=True, order=True)
class Digest:
    """A content digest such as `sha256:44136fa3…`; only sha256 is accepted."""

    value: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        if not _DIGEST.fullmatch(text):
            raise InvalidReference(f"{text!r} is not a digest (sha256: and 64 hexadecimal digits)")
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> Digest:
        return cls(f"sha256:{hashlib.sha256(content).hexdigest()}")

    @classmethod
    def of_value(cls, value: object) -> Digest:
        """Of plain data, in whatever order its keys come."""
        return cls.of(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    @property
    def hex(self) -> str:
        return self.value.removeprefix("sha256:")

    def __str__(self) -> str:
        return self.value


def is_tag(text: str) -> bool:
    """Whether the text is a legal OCI tag."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, order=True)
class ImageReference:
    """An image as manifests name it: `name[:tag][@digest]`; `name` stays as it was written."""

    name: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        name = head + slash + last
        if colon and not is_tag(tag):
            raise InvalidReference(f"{text!r}: {tag!r} is not a tag")
        reference = cls(name, tag if colon else None, digest)
        host, path = reference._split()
        if not _PATH.fullmatch(path) or (host and not _HOST.fullmatch(host)):
            raise InvalidReference(f"{text!r} is not an image reference")
        return reference

    def _split(self) -> tuple[str, str]:
        first, slash, rest = self.name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            return first, rest
        return "", self.name

    @property
    def full_name(self) -> str:
        """The name with the host and folder that Docker fills in: `docker.io/library/redis`."""
        host, path = self._split()
        if host in ("", "docker.io", "index.docker.io"):
            return f"docker.io/{path if '/' in path else f'library/{path}'}"
        return self.name

    @property
    def normalized(self) -> ImageReference:
        """The same image with nothing left implied: full name, and `latest` where no tag stands."""
        tag = self.tag or (None if self.digest else "latest")
        return ImageReference(self.full_name, tag, self.digest)

    def with_digest(self, digest: Digest) -> ImageReference:
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{f'@{self.digest}' if self.digest else ''}"


@dataclass(frozen=True, order=True)
class Repository:
    """A place that holds manifests: `oci://host/name`, or an image layout on disk.

    That is `ocidir://path` for a folder, `ocitar://path` for a tar file.
    """

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        reference = ArtifactReference.parse(text)
        if reference.tag or reference.digest:
            raise InvalidReference(f"{text!r} names a version where a repository is expected")
        return reference.repository

    @property
    def host(self) -> str:
        """The registry host with its port; empty for a folder."""
        return self.path.partition("/")[0] if self.scheme == "oci" else ""

    @property
    def name(self) -> str:
        """The repository name in the registry; the whole path for a folder."""
        return self.path.partition("/")[2] if self.scheme == "oci" else self.path

    def child(self, name: str) -> Repository:
        return Repository(self.scheme, f"{self.path.rstrip('/')}/{name}" if name else self.path)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


@dataclass(frozen=True, order=True)
class ArtifactReference:
    """A bundle in a repository: by version tag, by digest, or both (the digest decides)."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ArtifactReference:
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("oci", "ocidir", "ocitar"):
            raise InvalidReference(f"{text!r} does not start with oci:// or ocidir://")
        digest = None
        if "@sha256:" in rest or (scheme == "oci" and "@" in rest):
            rest, _, digest_text = rest.rpartition("@")
            digest = Digest.parse(digest_text)
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":") if slash or scheme != "oci" else (last, "", "")
        if colon and not is_tag(tag):
            raise InvalidReference(f"{text!r}: {tag!r} is not a tag")
        repository = Repository(scheme, head + slash + last)
        if scheme == "oci" and not (
            _HOST.fullmatch(repository.host) and _PATH.fullmatch(repository.name)
        ):
            raise InvalidReference(f"{text!r} is not oci://HOST/NAME")
        if not repository.path:
            raise InvalidReference(f"{text!r} names no folder")
        return cls(repository, tag if colon else None, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"
