"""Push and pull of a small bundle through a FaultProxy, and what must be true afterwards."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.adapters.registry.patience import Patience
from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.deploy.pull import pull
from bundler.errors import BundlerError
from bundler.model.artifact import Artifact, Blob, Descriptor
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.ports import ArtifactReader
from bundler.publish.push import push
from tests.e2e.releases import Releases, config_map
from tests.faults.fault_proxy import Fault, FaultProxy, Injection, Request, Spoiler
from tests.faults.token_gate import TokenGate

VERSION = "v1.0.0"
PATIENCE = Patience(
    connect=2,
    read=5,
    answer=10,
    retrying=20,
    first_pause=0.001,
    longest_pause=0.01,
    longest_asked_pause=0.02,
    settling=0.01,
    given_up=0.01,
)
SHORT = Patience(
    connect=2,
    read=0.4,
    answer=0.4,
    retrying=20,
    first_pause=0.001,
    longest_pause=0.01,
    settling=0.01,
    given_up=0.01,
)
"""For faults that are slow."""
MAX_INDEX = 200
"""No run has so many requests."""


def bundle(folder: Path, content: str = "1") -> Artifact:
    """A bundle; other content, other digest."""
    releases = Releases(folder / secrets.token_hex(4), {"default": "shop"})
    digest = Digest.parse(releases.publish(VERSION, config_map("settings", answer=content)))
    return artifact_of(OciLayout(folder), Repository.parse(releases.registry), digest)


def artifact_of(reader: ArtifactReader, repository: Repository, digest: Digest) -> Artifact:
    """An artifact with everything that its manifest names, each byte checked."""
    content = reader.manifest(repository, digest)
    manifest = json.loads(content)

    def blob(value: dict[str, object]) -> Blob:
        descriptor = Descriptor(
            str(value["mediaType"]), Digest.parse(str(value["digest"])), int(str(value["size"]))
        )
        return Blob(descriptor, reader.blob(repository, descriptor))

    return Artifact(
        Blob.of(manifest["mediaType"], content),
        blob(manifest["config"]),
        tuple(blob(layer) for layer in manifest["layers"]),
    )


@dataclass
class Place:
    """A registry behind a gate behind a proxy, and another origin; all that is asked goes there."""

    proxy: FaultProxy
    gate: TokenGate
    elsewhere: FaultProxy
    credentials: Path
    """A docker configuration with the password for the gate."""

    @property
    def alias(self) -> str:
        """Another name of the same host: nothing is mounted between the two."""
        return f"localhost:{self.proxy.port}"

    def fresh(self) -> Repository:
        """A repository that nobody knows, as it is reached through the proxy."""
        return Repository("oci", f"{self.proxy.host}/faults/{secrets.token_hex(6)}")

    def registry(self, patience: Patience = PATIENCE) -> OciRegistry:
        """A new one that knows nothing of what the registry said before."""
        return OciRegistry(
            credentials=DockerCredentials([self.credentials]),
            patience=patience,
        )

    def behind(self, repository: Repository) -> tuple[OciRegistry, Repository]:
        """The same repository, asked directly."""
        direct = Repository("oci", f"{self.proxy.backend}/{repository.name}")
        return OciRegistry(credentials=DockerCredentials([])), direct

    def published(self, repository: Repository) -> Artifact | None:
        """What the version is, read completely."""
        registry, direct = self.behind(repository)
        digest = registry.resolve(direct, VERSION)
        assert registry.tags(direct) == ((VERSION,) if digest else ())
        return artifact_of(registry, direct, digest) if digest else None


@dataclass(frozen=True)
class Outcome:
    what: str
    """What was done to the run."""
    errors: tuple[type[BundlerError], ...]
    """What it may end with."""
    error: BundlerError | None
    asked: tuple[Request, ...]

    def __str__(self) -> str:
        how = f"{type(self.error).__name__}: {self.error}" if self.error else "success"
        return "\n  ".join([f"{self.what}: {how}", *map(str, self.asked)])


def every_index(
    place: Place,
    fault: Fault,
    run: Callable[[], None],
    check: Callable[[Outcome], None],
    *,
    forever: bool = False,
    blobs: int = 2,
) -> int:
    """Let a fault meet each of the requests that a run has; how many there are.

    `blobs` are sent by a run to one repository.
    """
    for at in count():
        assert at < MAX_INDEX
        injection = Injection(fault, at, forever)
        error, asked = spoilt_run(place, injection, run)
        outcome = Outcome(f"{fault}#{at}", fault.errors, error, asked)
        if not injection.spoilt:
            assert outcome.error is None, outcome
            return at
        check_conduct(place, outcome, blobs)
        check(outcome)
    raise AssertionError


def spoilt_run(
    place: Place, spoiler: Spoiler, run: Callable[[], None]
) -> tuple[BundlerError | None, tuple[Request, ...]]:
    """What a run ended with, and what it asked."""
    place.elsewhere.clear()
    place.gate.forget()
    place.proxy.spoil(spoiler)
    with _threads_ended():
        error = _error_of(run)
    asked = tuple(place.proxy.asked)
    place.proxy.clear()
    return error, asked


def _error_of(run: Callable[[], None]) -> BundlerError | None:
    try:
        run()
    except BundlerError as error:
        return error
    return None


@contextmanager
def _threads_ended() -> Iterator[None]:
    """Wait for threads that were left alone by an error, so that the next run is not theirs."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join()


def check_conduct(place: Place, outcome: Outcome, blobs: int) -> None:
    """What holds for every fault: the error, the number of attempts, and who learns what."""
    assert outcome.error is None or isinstance(outcome.error, outcome.errors), str(outcome)
    assert not [each for each in place.elsewhere.asked if each.authorization], str(outcome)
    attempts = Counter(each.name for each in outcome.asked)
    for what, times in attempts.items():
        # once more for a token, and a look whether it is there by now
        allowed = (2 * PATIENCE.attempts + 1) * (blobs if "/blobs/uploads/" in what else 1)
        assert times <= allowed, f"{times} x {what}\n{outcome}"


def push_to(place: Place, repository: Repository, artifact: Artifact, patience: Patience) -> None:
    push(place.registry(patience), repository, artifact, VERSION)


def pull_from(place: Place, repository: Repository, artifact: Artifact, patience: Patience) -> None:
    """Pull by version; what comes is what was published."""
    reference = ArtifactReference(repository, VERSION)
    pulled = pull(place.registry(patience), reference, DocumentSchemas())
    assert pulled.manifest.digest == artifact.digest
    assert pulled.content == artifact.layers[0].content
    assert pulled.release.content == artifact.config.content
