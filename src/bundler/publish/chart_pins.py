"""Which of a chart's values say what image a service has, and what they must be instead.

Declared paths are taken as they are. For all other services the values are searched: for mappings
with a `repository` that is the service's image, and for strings such as `image` that name it. A tag
stays a tag, as templates make labels of it; what has no value for the digest gets it when it is
rendered, as what stands in lists does (`publish.pin`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from bundler.model.bundle import PinnedChart
from bundler.model.finding import Finding, json_pointer
from bundler.model.project import Project, Service, ValuePaths
from bundler.model.reference import ImageReference, InvalidReference

Path = tuple[str, ...]
Values = Mapping[str, Any]

REGISTRY_KEYS = (("imageRegistry",), ("image", "registry"), ("registry",))
"""Where charts have the registry of all images, below `global`."""
_MISSING = object()


def pin_chart(
    project: Project, chart: PinnedChart, values: Mapping[str, Any]
) -> tuple[PinnedChart, list[Finding]]:
    """The chart with the values that pin the images of its target's services.

    What a declared path leads to and is not there is a finding; a service that the chart's values
    do not name is none, as an overlay may have it.
    """
    images = {pin.service: pin.image for pin in chart.pinned.pins}
    pinned: Values = {}
    findings: list[Finding] = []
    searched: dict[str, Service] = {}
    for name, image in images.items():
        declared = chart.release.pins.get(name)
        if declared is None:
            searched[name] = project.services[name]
        for paths in declared or ():
            try:
                for path, value in _declared(paths, image, values):
                    pinned = _with(pinned, path, value)
            except _NotThere as error:
                findings.append(_finding(chart, error, name))
    search = _Search(searched, images, _global_registry(values))
    for path, value in search.settings(values, ()):
        pinned = _with(pinned, path, value)
    return replace(chart, values=pinned), findings


class _NotThere(ValueError):
    """A path of values that cannot be set; the message says why."""

    def __init__(self, path: Path, message: str, hint: str) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


def _finding(chart: PinnedChart, problem: _NotThere, service: str) -> Finding:
    return Finding(
        "chart-pin",
        str(problem),
        file=f"{chart.release.chart}/values.yaml",
        pointer=json_pointer(*problem.path),
        service=service,
        environment=chart.place,
        hint=problem.hint,
    )


# --- what is set --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """The paths that together say an image; where one is None, the chart has no such value."""

    name: Path
    tag: Path | None = None
    digest: Path | None = None
    registry: Path | None = None

    def settings(
        self, image: ImageReference, registry: str, prefix: str = ""
    ) -> Iterator[tuple[Path, str]]:
        """`registry` is what stands at its path now; `prefix` is put before all images anyway.

        An image elsewhere than below the prefix leaves the name as it is: the object that comes of
        it has a name of the service's, and gets the image by that.
        """
        name: str | None = image.name
        if self.registry is not None:
            host, name = _split(image, registry)
            yield self.registry, host
        elif prefix:
            is_below = image.name.startswith(f"{prefix}/")
            name = image.name.removeprefix(f"{prefix}/") if is_below else None
        if self.tag is None and self.digest is None:
            if name is not None:
                yield self.name, str(replace(image, name=name))
            return
        if name is not None:
            yield self.name, name
        if self.tag is not None and image.tag:
            yield self.tag, image.tag
        if self.digest is not None and image.digest:
            yield self.digest, str(image.digest)


def _split(image: ImageReference, registry: str) -> tuple[str, str]:
    """The image's name as registry and repository; at the place where it was split before."""
    if registry and image.name.startswith(f"{registry}/"):
        return registry, image.name.removeprefix(f"{registry}/")
    host, _, path = image.full_name.partition("/")
    return host, path


def _with(values: Values, path: Path, value: Any) -> Values:
    """The values with one more."""
    key, *rest = path
    inner = _with(values.get(key, {}), tuple(rest), value) if rest else value
    return {**values, key: inner}


def _at(values: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return _MISSING
        values = values[key]
    return values


# --- declared -----------------------------------------------------------------------------------


def _declared(
    paths: ValuePaths, image: ImageReference, values: Values
) -> Iterator[tuple[Path, str]]:
    """Raises _NotThere."""
    if paths.found is not None:
        yield from _found(_existing(paths.found, values), image, values)
    if paths.image is not None:
        yield _asked_for(paths.image, values), str(image)
    if paths.repository is not None:
        name = _asked_for(paths.repository, values)
        tag, digest, registry = (
            _asked_for(path, values) if path else None
            for path in (paths.tag, paths.digest, paths.registry)
        )
        if tag is None and digest is None:
            message = "stands without the path of a tag or digest"
            raise _NotThere(name, message, "add tag or digest, or declare it as image")
        before = _text(_at(values, registry)) if registry else ""
        yield from _Parts(name, tag, digest, registry).settings(image, before)
    elif paths.image is None and paths.found is None:
        path = next(p for p in (paths.tag, paths.digest, paths.registry) if p)
        hint = "a tag or digest without the name it belongs to is not enough"
        raise _NotThere(_steps(path), "stands without the path of its repository", hint)


def _found(path: Path, image: ImageReference, values: Values) -> Iterator[tuple[Path, str]]:
    """A path that leads to one string, or to keys such as `repository` and `tag`."""
    value = _at(values, path)
    if isinstance(value, str) or value is None:
        around = _at(values, path[:-1])
        yield from _parts_of_string(around, path).settings(image, "")
        return
    keys = ("repository", "image", "name") if isinstance(value, Mapping) else ()
    key = next((each for each in keys if each in value), None)
    if key is None:
        message = "has neither repository, image nor name"
        raise _NotThere(path, message, "declare repository, tag and digest each with its path")
    yield from _parts_of_mapping(value, path, key).settings(image, _text(value.get("registry")))


def _existing(path: str, values: Values) -> Path:
    steps = _steps(path)
    if _at(values, steps) is _MISSING:
        raise _NotThere(steps, f"{path} is not in the chart's values", _near(path, values))
    return steps


def _asked_for(path: str, values: Values) -> Path:
    """A path that is there, or could be: templates ask for values that no file has."""
    steps = _steps(path)
    around = _at(values, steps[:-1]) if len(steps) > 1 else _MISSING
    is_possible = isinstance(around, Mapping) and not get_close_matches(
        steps[-1], around, cutoff=0.8
    )
    return steps if is_possible else _existing(path, values)


def _steps(path: str) -> Path:
    return tuple(path.split("."))


def _near(path: str, values: Values) -> str:
    known = list(_paths(values, ()))
    last = path.rpartition(".")[2]
    close = get_close_matches(path, known, n=3, cutoff=0.6)
    close = close or sorted(each for each in known if each.rpartition(".")[2] == last)[:3]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"the values have {', '.join(list(values)[:8]) or 'nothing'}"


def _paths(values: Values, prefix: Path) -> Iterator[str]:
    for key, value in values.items():
        yield ".".join((*prefix, key))
        if isinstance(value, Mapping):
            yield from _paths(value, (*prefix, key))


# --- searched -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Search:
    services: Mapping[str, Service]
    images: Mapping[str, ImageReference]
    registry: str
    """What the chart puts before the names of all images, if anything."""

    def settings(self, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
        """Every value to set in a mapping and what is below it, lists left alone."""
        for parts, service, registry, prefix in self._images(value, path):
            yield from parts.settings(self.images[service], registry, prefix)
        for key, inner in value.items() if isinstance(value, Mapping) else ():
            yield from self.settings(inner, (*path, key))

    def _images(self, value: Any, path: Path) -> Iterator[tuple[_Parts, str, str, str]]:
        """The images that a mapping says: parts, service, registry and what comes before."""
        if not isinstance(value, Mapping):
            return
        if isinstance(value.get("repository"), str):
            registry = _text(value.get("registry"))
            name = _joined(registry, value["repository"])
            prefix, service = self._named(name, may_have_prefix=not registry)
            if service:
                yield _parts_of_mapping(value, path, "repository"), service, registry, prefix
        for key, text in value.items():
            if isinstance(text, str) and key.endswith(("image", "Image")):
                yield from self._string(value, key, (*path, key))

    def _string(
        self, around: Values, key: str, path: Path
    ) -> Iterator[tuple[_Parts, str, str, str]]:
        """The image that a string says, perhaps with what stands beside it."""
        parts = _parts_of_string(around, path)
        registry = _text(around.get("registry")) if parts.registry else ""
        name = _joined(registry, _name(around[key]))
        prefix, service = self._named(name, may_have_prefix=not registry)
        if service:
            yield parts, service, registry, prefix

    def _named(self, name: str, *, may_have_prefix: bool) -> tuple[str, str | None]:
        """The service of an image's name, and the prefix with which alone it is one's."""
        # First with the prefix: `cart` alone is a name of service cart too.
        for prefix in (self.registry, "") if may_have_prefix and self.registry else ("",):
            whole = _joined(prefix, name)
            for service in self.services.values():
                if whole in service.manifest_names:
                    return prefix, service.name
        return "", None


def _parts_of_mapping(value: Values, path: Path, name_key: str) -> _Parts:
    def at(key: str) -> Path | None:
        return (*path, key) if key in value else None

    registry = at("registry") if _text(value.get("registry")) else None
    digest = at("digest")
    return _Parts((*path, name_key), at("tag") if digest else (*path, "tag"), digest, registry)


def _parts_of_string(around: Any, path: Path) -> _Parts:
    """A string is the whole reference, unless its tag stands beside it."""
    key = path[-1]
    value = around.get(key) if isinstance(around, Mapping) else None
    if not isinstance(value, str) or value != _name(value):
        return _Parts(path)
    stem = key.removesuffix("image").removesuffix("Image")
    tag_keys = (f"{key}Tag", f"{stem}Tag") if stem else ("tag", "imageTag")
    tag = next((each for each in tag_keys if each in around), None)
    if tag is None:
        return _Parts(path)
    digest = (*path[:-1], "digest") if "digest" in around and not stem else None
    registry = (*path[:-1], "registry") if _text(around.get("registry")) and not stem else None
    return _Parts(path, (*path[:-1], tag), digest, registry)


def _global_registry(values: Values) -> str:
    found = (_at(values, ("global", *path)) for path in REGISTRY_KEYS)
    return next((text for each in found if (text := _text(each))), "")


def _joined(registry: str, name: str) -> str:
    return f"{registry.rstrip('/')}/{name}" if registry else name


def _name(image: str) -> str:
    """The name in a reference; the text itself where it is none."""
    try:
        return ImageReference.parse(image).name
    except InvalidReference:
        return image


def _text(value: Any) -> str:
    return value.rstrip("/") if isinstance(value, str) else ""
