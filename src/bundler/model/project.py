"""The project file as values; docs/project-file.md has its grammar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

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


@dataclass(frozen=True)
class Migrations:
    """What changes a service's stored data; `reversible` says whether a rollback may pass it."""

    paths: tuple[str, ...]
    job: str | None = None
    reversible: bool = False


@dataclass(frozen=True)
class Service:
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

    @property
    def manifest_names(self) -> frozenset[str]:
        """Every name in a manifest that means this service's image."""
        return self.names | {self.name, self.image}


@dataclass(frozen=True)
class Allowed:
    """What an environment's objects may touch beyond their own namespace."""

    namespaces: frozenset[str] = frozenset()
    cluster_scoped: frozenset[str] = frozenset()
    """Kinds."""


@dataclass(frozen=True)
class Target:
    """A cluster and namespace, or a directory, that an environment is installed into."""

    name: str
    namespace: str
    kustomize: str
    """Overlay folder in the tag's tree."""
    without: frozenset[str] = frozenset()
    """Services that are not installed here."""


@dataclass(frozen=True)
class Environment:
    name: str
    targets: tuple[Target, ...]
    protected: bool = True
    kubernetes: str | None = None
    """Version such as `1.34` whose schemas hold; None is the newest known."""
    allowed: Allowed = field(default_factory=Allowed)


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

    def input_paths(self, paths: Iterable[str], uses: Iterable[str]) -> tuple[str, ...]:
        """A service's or library's input paths: its own and those of its libraries, sorted."""
        inputs = set(paths)
        for library in self.libraries_of(uses):
            inputs.update(self.libraries[library].paths)
        return tuple(sorted(inputs))

    def is_external(self, image: ImageReference) -> bool:
        """Whether a third-party image is declared, as it is written or with its full name.

        A digest behind the tag is no matter of the declaration.
        """
        plain = replace(image, digest=None) if image.tag else image
        spellings = {str(x) for x in (image, image.normalized, plain, plain.normalized)}
        return any(fnmatchcase(text, glob) for glob in self.external for text in spellings)

    def service_of(self, image_name: str) -> Service | None:
        """The service that a manifest means by an image name (without tag and digest)."""
        return next((s for s in self.services.values() if image_name in s.manifest_names), None)
