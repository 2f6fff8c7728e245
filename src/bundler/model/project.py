"""The project file as values; docs/project-file.md has its grammar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from bundler.model.finding import Finding
from bundler.model.history import Input
from bundler.model.layers import Layer
from bundler.model.reference import ImageReference, Repository

PROJECT_FILE = "bundler.yaml"
DEFAULT_TARGET = "default"


class LibraryCycle(ValueError):
    """Libraries that use each other in a circle; `cycle` starts and ends with the same name."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(" → ".join(cycle))
        self.cycle = cycle


@dataclass(frozen=True)
class Library:
    name: str
    paths: tuple[str, ...]
    uses: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    """Patterns of files that do not count, as in `Service`."""


@dataclass(frozen=True)
class Migrations:
    """What changes a service's stored data; `reversible` says whether a rollback may pass it."""

    paths: tuple[str, ...]
    job: str | None = None
    reversible: bool = False


Strategy = Literal["last-change", "every-commit"]
"""Which commit's image is asked for first: the one that changed the inputs last, or the tag's."""


@dataclass(frozen=True)
class OtherRepository:
    """Where a service's source is, if not here."""

    url: str
    ref: str | None = None
    """A commit id, tag or branch; None is the tag of the release's own name."""


@dataclass(frozen=True)
class Service:
    """One of `paths`, `submodule` and `repository` says where its source is."""

    name: str
    paths: tuple[str, ...]
    image: str
    """The full image name, without tag."""
    tag: str = "{commit}"
    """Template of the image's tag; see `bundler.model.image_tags`."""
    uses: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    """Further names that manifests use for the image."""
    migrations: Migrations | None = None
    ignore: tuple[str, ...] = ()
    """Patterns, in gitignore's grammar, of files that the image is not built from."""
    former_paths: tuple[str, ...] = ()
    """Where the first of `paths` lay before it was moved."""
    submodule: str | None = None
    """Path of the submodule whose recorded commit is the service's."""
    repository: OtherRepository | None = None
    platforms: tuple[str, ...] = ()
    """What its image must have, such as `linux/arm64`."""
    strategy: Strategy = "last-change"

    @property
    def manifest_names(self) -> frozenset[str]:
        """Every name in a manifest that means this service's image."""
        return self.names | {self.name, self.image}


Policy = Literal["error", "warning", "ignore"]


@dataclass(frozen=True)
class RevisionLabel:
    """How grave it is that an image's `org.opencontainers.image.revision` is not its commit."""

    mismatch: Policy = "error"
    missing: Policy = "warning"

    @property
    def is_ignored(self) -> bool:
        return self.mismatch == self.missing == "ignore"


Role = Literal["main", "develop", "feature", "release", "hotfix"]


@dataclass(frozen=True)
class BranchRoles:
    """What branches are for: role → patterns, the first role that matches counts."""

    patterns: Mapping[Role, tuple[str, ...]]

    def role(self, branch: str) -> Role | None:
        for role, patterns in self.patterns.items():
            if any(fnmatchcase(branch, pattern) for pattern in patterns):
                return role
        return None


GITFLOW = BranchRoles(
    {
        "main": ("main", "master"),
        "develop": ("develop",),
        "feature": ("feature/*",),
        "release": ("release/*",),
        "hotfix": ("hotfix/*",),
    }
)


@dataclass(frozen=True)
class Allowed:
    """What an environment's objects may touch beyond their own namespace."""

    namespaces: frozenset[str] = frozenset()
    cluster_scoped: frozenset[str] = frozenset()
    """Kinds."""
    secrets: frozenset[str] = frozenset()
    """What may hold secrets in clear: names of Secrets, and `Kind/name` of any object."""


@dataclass(frozen=True)
class ValuePaths:
    """Where a chart's values say which image a service has: dotted paths of keys.

    `found` is looked at: it leads to one string, or to keys such as `repository` and `tag`.
    """

    found: str | None = None
    image: str | None = None
    """The whole reference in one string."""
    registry: str | None = None
    repository: str | None = None
    """The name without tag and digest; without its registry's host where `registry` is given."""
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class HelmRelease:
    """A chart of the tag's tree, as it is installed into a target."""

    chart: str
    """Folder in the tag's tree."""
    name: str
    """What its templates see as `.Release.Name`."""
    values: tuple[str, ...] = ()
    """Files in the tag's tree; a later one wins."""
    pins: Mapping[str, tuple[ValuePaths, ...]] = field(default_factory=dict)
    """Service → where its image stands; for the services that are not named it is detected."""
    api_versions: tuple[str, ...] = ()
    """What the cluster has beyond Kubernetes' own APIs, for `.Capabilities.APIVersions`."""


@dataclass(frozen=True)
class Target:
    """A cluster and namespace, or a directory, that an environment is installed into."""

    name: str
    namespace: str
    kustomize: str | None = None
    """Overlay folder in the tag's tree."""
    without: frozenset[str] = frozenset()
    """Services that are not installed here."""
    helm: tuple[HelmRelease, ...] = ()
    type: str | None = None
    """What sort of installation it is, such as `production`: one of the layers' names."""
    cluster: str | None = None
    """The name of its cluster in layers."""
    canary: bool = False
    """Whether releases are applied here first, and only then to the environment's others."""
    layers: tuple[Layer, ...] = ()
    """From the lowest to the highest."""


@dataclass(frozen=True)
class ImagePath:
    """Where else than in containers objects of a kind name images."""

    kind: str
    path: tuple[str, ...]
    """Keys; `KEY[]` is every item of a list, `KEY[NAME]` the item of that name or, in a list of
    texts, what follows NAME in those that begin with it."""
    group: str | None = None
    """None is any API group."""
    name: str | None = None
    """None is an object of any name."""


@dataclass(frozen=True)
class ApplySettings:
    """What an environment says of how it is applied; None where it says nothing."""

    timeout: float | None = None
    """Seconds until everything has to be ready."""
    on_failure: Literal["halt", "rollback"] | None = None
    jobs: Literal["recreate", "refuse"] | None = None
    """What is done with a Job whose template changed."""


@dataclass(frozen=True)
class Environment:
    name: str
    targets: tuple[Target, ...]
    protected: bool = True
    kubernetes: str | None = None
    """Version such as `1.34` whose schemas hold; None is the newest known."""
    allowed: Allowed = field(default_factory=Allowed)
    rules: Mapping[str, Policy] = field(default_factory=dict)
    """How grave findings are here where the project says so; the rest is in `model.rules`."""
    schemas: tuple[str, ...] = ()
    """Files and folders of the tag's tree with CRDs, for custom resources without one here."""
    image_paths: tuple[ImagePath, ...] = ()
    """Where images stand that are no container's."""
    applying: ApplySettings = field(default_factory=ApplySettings)
    order: Mapping[str, int] = field(default_factory=dict)
    """Service → the step that its workloads are applied in; 0 for those that are not named."""


@dataclass(frozen=True)
class ReleaseRules:
    tags: str = "*"
    branches: tuple[str, ...] = ("main", "master")
    semver: bool = True


@dataclass(frozen=True)
class Lookup:
    """Where to ask for images: the longest prefix of an image's name decides."""

    places: Mapping[str, Repository]

    def place(self, image_name: str) -> Repository:
        """The repository to ask for an image; the image's own registry where nothing is said."""
        full_name = ImageReference(image_name).full_name
        for prefix in sorted(self.places, key=len, reverse=True):
            folder = prefix.rstrip("/") + "/"
            for spelling in (full_name, image_name):  # `acme` is `docker.io/acme`
                if f"{spelling}/".startswith(folder):
                    return self.places[prefix].child(spelling[len(folder) :])
        return Repository("oci", full_name)


@dataclass(frozen=True)
class Project:
    name: str
    services: Mapping[str, Service]
    libraries: Mapping[str, Library]
    environments: Mapping[str, Environment]
    deploy_registry: Repository
    lookup: Lookup
    external: tuple[str, ...] = ()
    """Globs of third-party images."""
    source: str | None = None
    releases: ReleaseRules = field(default_factory=ReleaseRules)
    external_denied: tuple[str, ...] = ()
    """Globs of third-party images that are refused, whatever `external` says."""
    external_platforms: tuple[str, ...] = ()
    revision_label: RevisionLabel = field(default_factory=RevisionLabel)
    branches: BranchRoles = GITFLOW
    only_latest: bool = False
    """Whether develop's images get the tag `latest` alone, and no commit's."""
    disabled: Mapping[str, Service] = field(default_factory=dict)
    """Services that are built, but not part of releases yet."""
    warnings: tuple[Finding, ...] = ()
    """What was noticed when it was read."""

    def libraries_of(self, uses: Iterable[str]) -> tuple[str, ...]:
        """The libraries used, transitively, in name order. Raises LibraryCycle."""
        found: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in trail:
                raise LibraryCycle((*trail[trail.index(name) :], name))
            if name in found:
                return
            for used in self.libraries[name].uses:
                visit(used, (*trail, name))
            found.add(name)

        for name in uses:
            visit(name, ())
        return tuple(sorted(found))

    def inputs_of(self, part: Service | Library) -> tuple[Input, ...]:
        """What a service or library is made of here: its own paths and those of its libraries."""
        former = part.former_paths if isinstance(part, Service) else ()
        inputs = {
            Input(path, part.ignore, former if number == 0 else ())
            for number, path in enumerate(part.paths)
        }
        for library in self.libraries_of(part.uses):
            inputs.update(Input(path, part.ignore) for path in self.libraries[library].paths)
        return tuple(sorted(inputs))

    def is_external(self, image: ImageReference) -> bool:
        """Whether a third-party image is declared and not denied."""
        return _matches(image, self.external) and not self.is_denied(image)

    def is_denied(self, image: ImageReference) -> bool:
        return _matches(image, self.external_denied)

    def named_externals(self) -> tuple[str, ...]:
        """The declared third-party images that are references and no patterns."""
        return tuple(text for text in self.external if not set(text) & set("*?["))

    def service_of(self, image_name: str) -> Service | None:
        """The service that a manifest means by an image name (without tag and digest)."""
        return next((s for s in self.services.values() if image_name in s.manifest_names), None)


def _matches(image: ImageReference, globs: Iterable[str]) -> bool:
    """Whether a glob means an image, as it is written or with its full name and tag.

    A digest behind the tag is no matter of the declaration.
    """
    plain = replace(image, digest=None) if image.tag else image
    tagged = plain if plain.tag or plain.digest else replace(plain, tag="latest")
    spellings = {str(x) for x in (image, image.normalized, plain, plain.normalized, tagged)}
    return any(fnmatchcase(text, glob) for glob in globs for text in spellings)
