"""What the steps need of the world: small protocols, each implemented by an adapter and a fake.

A function asks for the smallest port that it needs. Adapters translate foreign exceptions into
`bundler.errors`; no method raises anything else for a fault of the outside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

from bundler.model.artifact import Artifact, Blob, Descriptor
from bundler.model.bundle import PinnedChart, PinnedOverlay
from bundler.model.commits import CommitSummary
from bundler.model.finding import Finding
from bundler.model.history import HistoryCommit, Input
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.reference import Digest, Repository
from bundler.model.release import ReleaseTag, SourceRevision
from bundler.model.revision import Revision, TargetState

# --- source -------------------------------------------------------------------------------------


class TreeEntry(NamedTuple):
    path: str
    mode: str
    """Octal as git prints it: 100644, 100755, 120000, 160000."""
    object_id: str


class Branches(NamedTuple):
    known: tuple[str, ...]
    containing: tuple[str, ...]
    unpushed: tuple[str, ...] = ()
    """Local branches that have the commit where only those of a remote count, and none has it."""


class TagResolver(Protocol):
    def revision(self, tag: ReleaseTag) -> SourceRevision:
        """The commit behind a tag, peeled. Raises SourceInvalid (no such tag, not a commit)."""
        ...

    def branches(self, commit: str, patterns: Sequence[str]) -> Branches:
        """The branches that match a pattern, and those of them that contain the commit.

        If the repository has a remote, only remote-tracking branches count.
        """
        ...

    def is_shallow(self) -> bool:
        """Whether history was cut off when the repository was cloned."""
        ...


class TreeReader(Protocol):
    """Reads a commit's tree as git stores it: no attributes, filters or work tree."""

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's content; None where the path is no file."""
        ...

    def entries(self, commit: str, paths: Sequence[str]) -> Mapping[str, tuple[TreeEntry, ...]]:
        """For each path its files, sorted by path; empty where the tree has no such path."""
        ...


class SourceReader(TreeReader, Protocol):
    """Reads a commit's tree, and what is known of its files as a whole."""

    def contents(self, commit: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Every file at or below the paths, with its content; no symbolic links."""
        ...

    def containing(self, commit: str, texts: Collection[str]) -> Mapping[str, bytes]:
        """Every file of a commit that holds one of these texts of one line; no links."""
        ...

    def lfs_pointers(self, commit: str, inputs: Sequence[Input]) -> tuple[str, ...]:
        """Files among the inputs that are git-LFS pointers instead of content."""
        ...

    def tree_id(self, commit: str) -> str:
        """The id of the commit's whole tree: commits with the same content have the same."""
        ...

    def exported(self, commit: str) -> AbstractContextManager[PurePath]:
        """The commit's tree as files in a fresh folder, removed at the end.

        Symbolic links that would lead out of the tree lead nowhere.
        """
        ...


ReadTree = Callable[[Sequence[str]], Mapping[str, bytes]]
"""`SourceReader.contents` of one commit."""


class HistoryReader(Protocol):
    def history(self, commit: str, inputs: Sequence[Input]) -> Sequence[HistoryCommit]:
        """The commit and all its ancestors in topological order, children before parents."""
        ...


class CommitReader(Protocol):
    def summaries(self, commits: Iterable[str]) -> Mapping[str, CommitSummary]:
        """Who changed what, of commits of this repository; those that are not here are left out."""
        ...

    def submodule_summary(self, commit: str, path: str, recorded: str) -> CommitSummary | None:
        """The recorded commit of a submodule; None where the submodule is not initialised here."""
        ...


class RevisionReader(Protocol):
    def commit(self, revision: str) -> str:
        """The commit that a revision means: a branch, tag, commit id or `HEAD~1`.

        Raises SourceInvalid where there is none, or where a name means two different commits.
        """
        ...

    def merge_bases(self, one: str, other: str) -> tuple[str, ...]:
        """The best common ancestors; none for histories that never met."""
        ...


class WorkTree(Protocol):
    def checked_out(self) -> str | None:
        """The branch that is checked out; None where HEAD is a commit alone."""
        ...


class ReleaseLineReader(Protocol):
    def tags(self) -> Mapping[str, str]:
        """Every tag and its commit, peeled; tags of anything else than commits are left out."""
        ...

    def branch_heads(self, patterns: Sequence[str]) -> Mapping[str, str]:
        """The branches that match, in the order of the patterns, and their commits.

        Which branches count is as in `TagResolver.branches`.
        """
        ...

    def ancestry(self, commits: Sequence[str]) -> Sequence[tuple[str, tuple[str, ...]]]:
        """Commits and all their ancestors, each with its parents, children before parents."""
        ...


class OtherRepositories(Protocol):
    """Repositories elsewhere, asked over git's own transports, never cloned whole."""

    def commits(self, url: str, refs: Sequence[str]) -> Mapping[str, str | None]:
        """The commit of each ref (`refs/tags/…` peeled, `refs/heads/…`, or a bare name), if any.

        A commit id stands for itself and is not asked for. Raises Unreachable, AccessRefused (it
        asks for credentials that we have not), SourceInvalid (a name that is a tag and a branch).
        """
        ...

    def summaries(self, url: str, commits: Sequence[str]) -> Mapping[str, CommitSummary]:
        """Who changed what; commits that the repository has not are left out. Raises as above."""
        ...


# --- registries ---------------------------------------------------------------------------------


class ManifestResolver(Protocol):
    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        """The digest behind a tag, or the given digest itself if there is a manifest of it.

        None where the registry says that there is none. Raises Unreachable, AccessRefused (its
        credentials do not suffice), CouldNotCheck (it makes no sense), VerificationFailed (a
        digest is answered with another): never None for those.
        """
        ...


class TagLister(Protocol):
    def tags(self, repository: Repository) -> tuple[str, ...]:
        """All tags; empty for an unknown repository. Raises as `resolve` does."""
        ...


class ArtifactReader(ManifestResolver, TagLister, Protocol):
    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        """A manifest's exact bytes, checked. Raises NotFound, VerificationFailed, as `resolve`."""
        ...

    def tagged(self, repository: Repository, tag: str) -> tuple[Digest, bytes] | None:
        """The manifest behind a tag, checked, in one question. None, and raises, as `resolve`."""
        ...

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """A blob's bytes, size and digest checked. Raises as `manifest` does."""
        ...


class ArtifactWriter(Protocol):
    def push(self, repository: Repository, artifact: Artifact) -> None:
        """Blobs, then the manifest by digest; what is there is not sent again. Sets no tag.

        One with a subject is a referrer of it from then on.
        """
        ...

    def tag(
        self, repository: Repository, artifact: Artifact, tag: str, replaces: Digest | None = None
    ) -> None:
        """Make a pushed artifact visible under a version that nothing has, or only `replaces`.

        The same digest there already is success. Raises VersionExists for another digest, also
        where the registry lets no tag change; Refused where `replaces` is gone.
        """
        ...


class ArtifactRegistry(ArtifactReader, ArtifactWriter, Protocol):
    """Both directions."""


class ContentReader(ArtifactReader, Protocol):
    """Reads artifacts of any kind with all that belongs to them: what copying needs of a source."""

    def descriptor(self, repository: Repository, reference: str | Digest) -> Descriptor | None:
        """Media type, digest and size of a manifest; None as `resolve`. Raises as `resolve`."""
        ...

    def blob_pieces(self, repository: Repository, descriptor: Descriptor) -> Iterator[bytes]:
        """A blob of any size, in pieces of at most 1 MiB, never whole in memory.

        The last piece comes only after size and digest were found right. Raises as `blob`.
        """
        ...

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """Manifests whose subject is this one, by the API and by the fallback tag, each once.

        Junk in the answers is left out; at most 1,000. Raises as `resolve`.
        """
        ...


class ContentWriter(Protocol):
    """Writes artifacts of any kind: what copying needs of a destination. Thread-safe."""

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        """Whether this manifest or blob is there already, by its digest."""
        ...

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,
        *,
        is_absent: bool = False,
    ) -> None:
        """Store a blob unless it is there. `pieces` begins anew whenever it is called.

        Where `has` just said that it `is_absent`, it need not be asked for again.

        `near` is a repository of the same registry that has it: it is mounted from there where
        the registry can. Raises VerificationFailed where the pieces are not what is described,
        and nothing of them is kept; else as `resolve`.
        """
        ...

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        """Store a manifest whose parts are there, and make it visible under a tag.

        Of a manifest with a subject, the fallback tag is kept where the registry has no referrers
        API. The same digest under the tag already is success. Raises VersionExists, as `tag`.
        """
        ...


class ContentRegistry(ContentReader, ContentWriter, Protocol):
    """Both directions."""


class DeployRegistry(ArtifactRegistry, ContentRegistry, Protocol):
    """Where versions are published, with what refers to them."""


# --- rendering and schemas ----------------------------------------------------------------------


class Renderer(Protocol):
    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """Such as `v5.8.2`. Raises ToolMissing."""
        ...

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        """The YAML documents of an overlay, with what is put on top of it.

        `tree` is an export made by `SourceReader.exported`. Raises RenderFailed with the
        renderer's own words and the environment's name, and ToolMissing.
        """
        ...

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:
        """The documents of an overlay before its own patches and other changes.

        Of its components it has the first so many. Nothing else may read this tree meanwhile.
        Raises as `render` does.
        """
        ...


class ChartRenderer(Protocol):
    @property
    def name(self) -> str: ...

    def version(self) -> str:
        """Such as `v3.22.0`. Raises ToolMissing."""
        ...

    def values(self, tree: PurePath, chart: PinnedChart) -> Mapping[str, Any]:
        """What a chart's templates would see as values, before `chart.values`.

        The chart's own, those of its subcharts below their names, then the files of values.
        Raises RenderFailed for a chart that may not be rendered, with all findings.
        """
        ...

    def check(self, tree: PurePath, chart: PinnedChart) -> Sequence[Finding]:
        """What in the templates that are reached may differ from one render to the next.

        Raises RenderFailed as `values` does.
        """
        ...

    def render(self, tree: PurePath, chart: PinnedChart) -> bytes:
        """The YAML documents of a chart, CRDs and hooks among them, tests left out.

        Raises RenderFailed with the renderer's own words, and ToolMissing.
        """
        ...


class ObjectSchemas(Protocol):
    def newest(self) -> str:
        """The newest Kubernetes version known, such as `1.36`."""
        ...

    def known(self, version: str) -> bool: ...

    def with_crds(self, crds: Sequence[KubernetesObject]) -> ObjectSchemas:
        """These schemas and those of CRDs that are supplied beside the objects."""
        ...

    def check(
        self, version: str, objects: Sequence[KubernetesObject]
    ) -> Sequence[tuple[int, Finding]]:
        """Violations as (index of the object, finding with pointer and message); no network.

        CRDs among the objects are checked themselves, and hold for all of the objects.
        """
        ...


class DocumentSchemas(Protocol):
    def check(self, schema: str, document: object) -> tuple[Finding, ...]:
        """Violations of one of our own schemas (`project`, `release`, …), with JSON pointers."""
        ...


# --- targets ------------------------------------------------------------------------------------


class Need(NamedTuple):
    """A permission that an apply needs."""

    verb: str
    group: str
    kind: str
    namespace: str

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.kind}{group}{where}"


class Observation(NamedTuple):
    """An object as a watch saw it; None when it is gone."""

    ref: ObjectRef
    object: KubernetesObject | None


class ObjectReader(Protocol):
    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        """The wanted objects that exist, read by kind and namespace.

        `wanted` maps an object to its apiVersion, empty for the server's preferred one. Kinds
        that the target does not know have no objects. Raises Unreachable, PermissionRefused.
        """
        ...


class ObjectWriter(Protocol):
    def apply(self, obj: KubernetesObject, *, dry_run: bool = False) -> KubernetesObject:
        """Server-side apply as field manager `bundler`, never forced; the object that results.

        Raises OwnershipRefused (a field conflict, naming the other manager), PermissionRefused,
        Refused (admission, quota, invalid, immutable field), NotFound (namespace or kind is not
        there yet), Unreachable.
        """
        ...

    def delete(self, ref: ObjectRef, uid: str) -> None:
        """Delete if it still has this UID, and wait until it is gone; absent is success.

        Raises Refused where another object has taken the name, NotReady where it does not go
        away, PermissionRefused, Unreachable.
        """
        ...


class PermissionReader(Protocol):
    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        """Those of the needed permissions that we have not; empty where all is allowed."""
        ...


class ObjectWatcher(Protocol):
    def watch(self, refs: Collection[ObjectRef], seconds: float) -> Iterator[Observation | None]:
        """What the target says of these objects: as they are now, then every change.

        Pods, ReplicaSets and warning Events of the same namespaces are observed too. None comes
        about once a second, so that the caller can look at its clock. Ends after `seconds`.
        One watch a kind and namespace; broken watches are resumed. Raises Unreachable.
        """
        ...


class StateReader(Protocol):
    def read(self) -> TargetState:
        """Inventory and revisions; empty where nothing was applied yet."""
        ...


class StateWriter(Protocol):
    def prepare(self) -> None:
        """Make sure that the place of the state exists (the namespace, the folder)."""
        ...

    def write_inventory(self, inventory: Inventory) -> None: ...

    def write_revision(self, revision: Revision) -> None:
        """Create or replace by number. Raises Locked where somebody else wrote it meanwhile."""
        ...

    def drop_revision(self, number: int) -> None: ...

    def authenticated(self) -> str | None:
        """Who we are as the target authenticated us; None where it cannot say."""
        ...


class TargetLock(Protocol):
    def held(self, holder: str) -> AbstractContextManager[None]:
        """Hold the target's lock. Raises Locked, naming the holder, where somebody else has it."""
        ...


class Decrypter(Protocol):
    def decrypt(self, content: bytes) -> KubernetesObject:
        """The document in clear of one that SOPS encrypted. Thread-safe.

        Raises KeyNeeded, ToolMissing, VerificationFailed (it was changed after it was encrypted),
        CouldNotCheck (no answer in time), Refused. No error holds anything of the document.
        """
        ...


class DeployTarget(
    ObjectReader, ObjectWriter, PermissionReader, StateReader, StateWriter, TargetLock, Protocol
):
    """A place that releases are applied to."""

    @property
    def watcher(self) -> ObjectWatcher | None:
        """Observes readiness; None for a target that cannot (a directory)."""
        ...

    @property
    def keeps_encrypted(self) -> bool:
        """Whether it takes what is encrypted as it was committed (`CommittedObject`), for others
        to decrypt; else it gets it in clear."""
        ...
