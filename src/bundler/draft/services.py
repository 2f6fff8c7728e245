"""Concludes services and libraries from Dockerfiles: what is built, and from which files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname

from bundler.draft.parts import (
    Check,
    DraftLibrary,
    DraftService,
    is_generic,
    is_writable,
    legal_name,
    listed,
    unique_names,
)
from bundler.model.survey import (
    Dockerfile,
    DockerfileName,
    Survey,
    Tree,
    dockerfile_name,
    is_below,
)

ROOT = "."
_VARIANTS = frozenset({
    "dev", "develop", "development", "debug", "test", "tests", "testing", "ci", "local", "prod",
    "production", "release", "multi", "multistage", "alpine", "debian", "ubuntu", "ubi",
    "distroless", "slim", "scratch", "windows", "win", "linux", "nanoserver", "arm", "arm64",
    "amd64", "x86_64", "s390x", "ppc64le", "gpu", "cuda", "cpu", "base", "builder", "build",
    "buildx", "goreleaser",
})  # fmt: skip
_PREFERRED_VARIANTS = ("prod", "production", "release")
_LIBRARY_FOLDERS = frozenset({
    "lib", "libs", "library", "libraries", "packages", "pkg", "shared", "common", "modules",
    "crates",
})  # fmt: skip
WHOLE = "it is built from the whole repository, so every commit needs an image: narrow its paths"


@dataclass(frozen=True)
class _Build:
    """A Dockerfile that becomes a service."""

    dockerfile: Dockerfile
    title: str
    """The name that it should have."""
    home: str | None
    """The folder of its own; None where the Dockerfile lies among others."""

    @property
    def folder(self) -> str:
        return dirname(self.dockerfile.path) or ROOT


@dataclass(frozen=True)
class _Inputs:
    own: tuple[str, ...]
    shared: tuple[str, ...]
    """What lies outside of its own folder."""
    not_found: tuple[str, ...]


@dataclass(frozen=True)
class DraftedServices:
    services: tuple[DraftService, ...]
    libraries: tuple[DraftLibrary, ...]
    checks: tuple[Check, ...]


def draft_services(survey: Survey, project: str) -> DraftedServices:
    """A service for each Dockerfile that is no variant of another; all sorted by name."""
    checks: list[Check] = []
    tree = Tree.of(survey.files)
    builds = [b for b in _builds(survey, project, checks) if _is_writable(b, checks)]
    names = unique_names({build.dockerfile.path: build.title for build in builds})
    inputs = {names[b.dockerfile.path]: _inputs(b, tree) for b in builds}
    libraries = _libraries(inputs, tree)
    for build in builds:
        checks += _checks_of(build, names[build.dockerfile.path], inputs)
    services = [_service(name, found, libraries, checks) for name, found in sorted(inputs.items())]
    named = sorted((name, path) for path, name in libraries.items())
    drafted = tuple(DraftLibrary(name, (path,)) for name, path in named)
    return DraftedServices(tuple(services), drafted, tuple(checks))


# --- which Dockerfiles --------------------------------------------------------------------------


def _builds(survey: Survey, project: str, checks: list[Check]) -> Iterator[_Build]:
    folders: dict[str, list[tuple[DockerfileName, Dockerfile]]] = defaultdict(list)
    for dockerfile in sorted(survey.dockerfiles):
        name = dockerfile_name(dockerfile.path)
        if name is not None:
            folders[name.folder].append((name, dockerfile))
    for folder, found in sorted(folders.items()):
        is_variant = [(name.suffix or "").lower() in _VARIANTS for name, _ in found]
        plain = [d for (name, d), v in zip(found, is_variant, strict=True) if not name.suffix or v]
        if plain:
            chosen = min(plain, key=_preference)
            yield _plain_build(chosen, folder, project)
            checks += [
                Check("", "", f"{d.path} is taken for a variant of {basename(chosen.path)}")
                for d in plain
                if d != chosen
            ]
        for (name, dockerfile), variant in zip(found, is_variant, strict=True):
            if name.suffix and not variant:
                yield _suffixed_build(dockerfile, name)


def _preference(dockerfile: Dockerfile) -> tuple[bool, bool, str]:
    name = dockerfile_name(dockerfile.path)
    suffix = ((name and name.suffix) or "").lower()
    return bool(suffix), suffix not in _PREFERRED_VARIANTS, dockerfile.path


def _home(folder: str) -> str:
    """The folder that says what is built: `cart` of `cart/docker`, `.` where there is none."""
    while folder != ROOT and is_generic(basename(folder)):
        folder = dirname(folder) or ROOT
    return folder


def _plain_build(dockerfile: Dockerfile, folder: str, project: str) -> _Build:
    home = _home(folder)
    title = project if home == ROOT else legal_name(basename(home), "service")
    return _Build(dockerfile, title, home)


def _suffixed_build(dockerfile: Dockerfile, name: DockerfileName) -> _Build:
    """`worker.Dockerfile` is `cart-worker` in cart; among others in a folder it is `worker`."""
    home = _home(name.folder)
    title = legal_name(name.suffix or "", "service")
    if home == ROOT:
        return _Build(dockerfile, title, None)
    base = legal_name(basename(home), "service")
    if base not in title:
        title = legal_name(f"{base}-{title}", title)
    return _Build(dockerfile, title, home)


def _is_writable(build: _Build, checks: list[Check]) -> bool:
    if is_writable(build.dockerfile.path):
        return True
    checks.append(Check("", "", f"{build.dockerfile.path!r} has a path that cannot be declared"))
    return False


# --- what they are built from -------------------------------------------------------------------


def _inputs(build: _Build, tree: Tree) -> _Inputs:
    sources = [source for source in build.dockerfile.sources if not _is_whole(source)]
    context = _context(build, tree, sources)
    found = {path for source in sources for path in tree.matches(context, source)}
    missing = tuple(source for source in sources if not tree.matches(context, source))
    if any(map(_is_whole, build.dockerfile.sources)):
        found.add(context)
    home = build.home
    if home == ROOT and build.folder != ROOT and context == build.folder:
        home = context  # src/Dockerfile that looks no further than src
    found = {path for path in found if is_writable(path)}
    if home is None:
        own = {build.dockerfile.path} if found else {build.folder}
        return _Inputs(_outermost(own), _outermost(found - own), missing)
    outside = _outermost(path for path in found if not is_below(path, home))
    return _Inputs((home,), outside, missing)


def _is_whole(source: str) -> bool:
    """Whether a source is the build context itself."""
    return source.strip("/") in ("", ".", "*", "./*")


def _context(build: _Build, tree: Tree, sources: Sequence[str]) -> str:
    """The folder that most sources start from; the nearest where several do."""
    candidates = [ROOT if build.home is None else build.home, build.folder]
    while candidates[-1] != ROOT:
        candidates.append(dirname(candidates[-1]) or ROOT)
    counts = {c: sum(bool(tree.matches(c, source)) for source in sources) for c in candidates}
    if not any(counts.values()):
        return candidates[0]
    nearest = [*candidates[1:], candidates[0]]
    return max(nearest, key=lambda context: counts[context])


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    found = set(paths)
    return tuple(
        sorted(p for p in found if not any(p != other and is_below(p, other) for other in found))
    )


def _libraries(inputs: Mapping[str, _Inputs], tree: Tree) -> dict[str, str]:
    """Folder → library, for the folders that several services are built from."""
    users: dict[str, int] = defaultdict(int)
    owned = {path for found in inputs.values() for path in found.own}
    for found in inputs.values():
        for path in found.shared:
            users[path] += 1
    folders = {
        path: legal_name(basename(path), "library")
        for path, count in users.items()
        if tree.is_folder(path)
        and (count > 1 or basename(dirname(path)).lower() in _LIBRARY_FOLDERS)
        and not any(is_below(own, path) for own in owned)
    }
    return unique_names(folders)


def _service(
    name: str, found: _Inputs, libraries: Mapping[str, str], checks: list[Check]
) -> DraftService:
    paths = _outermost(path for path in (*found.own, *found.shared) if path not in libraries)
    uses = tuple(sorted(libraries[path] for path in found.shared if path in libraries))
    if ROOT in paths:
        checks.append(Check("service", name, WHOLE))
        return DraftService(name, (ROOT,))
    own_first = sorted(paths, key=lambda path: (path not in found.own, path))
    return DraftService(name, tuple(own_first), uses)


def _checks_of(build: _Build, name: str, inputs: Mapping[str, _Inputs]) -> Iterator[Check]:
    if name != build.title:
        message = f"several would be called {build.title}, so its name has its folders in it"
        yield Check("service", name, message)
    if missing := inputs[name].not_found:
        message = f"{build.dockerfile.path} copies {listed(missing)}, which git does not have: "
        yield Check("service", name, message + "if it is made of other folders, add them")
