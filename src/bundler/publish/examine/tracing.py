"""trace: where the value of a field in a target, or of a chart's value, comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any

from bundler.errors import UsageError
from bundler.manifests import InvalidYaml, line_numbers, read_documents, read_values
from bundler.model.bundle import PinnedChart, PinnedOverlay, PinnedTarget, RenderedBundle
from bundler.model.field_path import parse_path
from bundler.model.layers import Layer, find, over, same
from bundler.model.objects import HASH_SUFFIX, KubernetesObject, ObjectRef
from bundler.model.project import Project
from bundler.model.versions import as_written
from bundler.ports import ReadTree
from bundler.publish.chart_pins import pin_chart
from bundler.publish.examine.origins import (
    Explanation,
    Origin,
    of_image,
    of_layers,
    of_placement,
    said,
    without_secrets,
)
from bundler.publish.examine.overlay_origins import Overlays, find_object
from bundler.publish.layering import layered_values
from bundler.publish.pin import pin as pinned_target
from bundler.publish.placement import flattened
from bundler.publish.rendering import Renderers, layered_chart

VALUES = "values"


@dataclass(frozen=True)
class Tracing:
    """A rendered target, and the tree that it was rendered from."""

    project: Project
    bundle: RenderedBundle
    """It has the one target alone."""
    tree: PurePath
    renderers: Renderers
    read: ReadTree
    newest_kubernetes: str

    @property
    def pinned(self) -> PinnedTarget:
        target = self.bundle.targets[0]
        return pinned_target(self.project, target.environment, target.target, self.bundle.lock)

    @property
    def charts(self) -> tuple[PinnedChart, ...]:
        kubernetes = self.pinned.environment.kubernetes or self.newest_kubernetes
        return tuple(PinnedChart(self.pinned, each, kubernetes) for each in self.pinned.target.helm)


def trace(tracing: Tracing, path: str) -> Explanation:
    """Where a value comes from: `values.PATH`, or `Kind/name` and a path into that object.

    Raises UsageError for what is not there, RenderFailed.
    """
    if path == VALUES or path.startswith((f"{VALUES}.", f"{VALUES}[")):
        return _of_chart_values(tracing, path)
    obj, rest = _chosen(tracing.bundle, path)
    try:
        steps = parse_path(rest)
    except ValueError as error:
        raise UsageError(str(error), hint="as in Deployment/cart.spec.replicas") from error
    return _of_field(tracing, obj, steps, path)


# --- fields of objects --------------------------------------------------------------------------


def _chosen(bundle: RenderedBundle, path: str) -> tuple[KubernetesObject, str]:
    """The object that a path begins with, and the rest: the longest name that fits."""
    best: tuple[int, KubernetesObject, str] | None = None
    spelled: list[str] = []
    for rendered in bundle.targets[0].objects:
        obj = as_written(rendered)
        ref = ObjectRef.of(obj)
        plain = HASH_SUFFIX.sub("", ref.name) if ref.kind in ("ConfigMap", "Secret") else ref.name
        spelled.append(f"{ref.kind}/{plain}")
        spellings = {ref.name, plain, ObjectRef.of(rendered).name}
        for name in spellings | {f"{ref.namespace}/{each}" for each in spellings}:
            start = f"{ref.kind}/{name}"
            is_it = path.startswith(start) and path[len(start) : len(start) + 1] in (
                "",
                ".",
                "/",
                "[",
            )
            if is_it and (best is None or len(start) > best[0]):
                best = len(start), obj, path[len(start) :]
    if best is None:
        close = get_close_matches("/".join(path.split("/")[:2]).partition(".")[0], spelled, n=1)
        hint = f"did you mean {close[0]}?" if close else "values.PATH, or Kind/NAME.PATH"
        raise UsageError(f"{bundle.targets[0].place} has no object {path}", hint=hint)
    return best[1], best[2]


def _of_field(
    tracing: Tracing, obj: KubernetesObject, steps: Sequence[str], path: str
) -> Explanation:
    pinned, lock = tracing.pinned, tracing.bundle.lock
    found = find(obj, steps)
    value = found.value if found else None
    origins = list(of_layers(said(pinned.target, obj, steps)))
    if found is None and not (origins and origins[0].value is None):
        raise _no_field(obj, steps)
    if below := _below(tracing, ObjectRef.of(obj), steps):
        origins.append(below)
    image = of_image(pinned, lock, obj, found.pointer) if found else None
    if image is not None:
        origins.insert(0, image)
    placement = of_placement(pinned, tracing.project.name, steps, value)
    if placement is not None and not (origins and same(origins[0].value, value)):
        origins.insert(0, placement)
    ref = ObjectRef.of(obj)
    told = Explanation(pinned.place, path, str(ref), value, tuple(origins))
    return without_secrets(told, ref.kind, steps)


def _no_field(obj: KubernetesObject, steps: Sequence[str]) -> UsageError:
    for count in range(len(steps) - 1, -1, -1):
        found = find(obj, steps[:count])
        if found is None:
            continue
        value = found.value
        known = list(value) if isinstance(value, Mapping) else []
        if isinstance(value, list):
            known = [
                str(item.get("name", number)) if isinstance(item, Mapping) else str(number)
                for number, item in enumerate(value)
            ]
        close = get_close_matches(steps[count], known, n=1)
        there = f"there is {', '.join(known[:12]) or 'nothing below'}"
        hint = f"did you mean {close[0]}?" if close else there
        break
    return UsageError(f"{ObjectRef.of(obj)} has no {'.'.join(steps)}", hint=hint)


def _below(tracing: Tracing, ref: ObjectRef, steps: Sequence[str]) -> Origin | None:
    """What the overlay, or else a chart, says."""
    pinned = tracing.pinned
    if pinned.target.kustomize:
        overlay = PinnedOverlay(pinned, pinned.target.kustomize)
        overlays = Overlays(tracing.tree, overlay, tracing.renderers.overlays, tracing.read)
        written = overlays.origin(ref, steps)
        if written is not None:
            found = find(overlays.object(ref), steps)
            value = found.value if found else None
            return Origin("overlay", value, written.words, written.file, written.line)
    for chart in tracing.charts:
        if (origin := _of_template(tracing, chart, ref, steps)) is not None:
            return origin
    return None


def _of_template(
    tracing: Tracing, chart: PinnedChart, ref: ObjectRef, steps: Sequence[str]
) -> Origin | None:
    """The template that helm names above an object."""
    charts = tracing.renderers.charts
    values = charts.values(tracing.tree, chart)
    layered, _ = layered_chart(tracing.project, chart, values)
    for source, document in _with_sources(charts.render(tracing.tree, layered)):
        if find_object([document], ref) is not None and (found := find(document, steps)):
            folder = chart.release.chart
            file = f"{folder}/{source.partition('/')[2]}"
            words = f"template {source} of release {chart.release.name}"
            # In an archive, or under an alias, helm's path is none of the tree.
            place = file if file in tracing.read([file]) else folder
            return Origin("chart", found.value, words, place)
    return None


def _with_sources(output: bytes) -> Iterator[tuple[str, KubernetesObject]]:
    """(path with the chart's name, object), as helm's comments say it above each document."""
    for text in output.decode().split("\n---"):
        source = text.partition("# Source: ")[2].partition("\n")[0].strip()
        try:
            documents = read_documents(text.removeprefix("---"))
        except InvalidYaml:
            continue  # a line of dashes in a text of several lines
        for document in flattened(documents):
            if isinstance(document, Mapping):
                yield source, document


# --- values of charts ---------------------------------------------------------------------------


def _of_chart_values(tracing: Tracing, path: str) -> Explanation:
    try:
        steps = parse_path(path)[1:]
    except ValueError as error:
        raise UsageError(str(error), hint="as in values.cart.replicas") from error
    charts = tracing.charts
    if not charts:
        raise UsageError(f"{tracing.pinned.place} has no chart, so it has no values")
    named = [each for each in charts if steps[:1] == (each.release.name,)]
    if len(charts) > 1 and named:
        charts, steps = (named[0],), steps[1:]
    found = [(chart, each) for chart in charts if (each := _of_chart(tracing, chart, steps))]
    if not found:
        raise UsageError(f"no chart of {tracing.pinned.place} has a value {'.'.join(steps)}")
    if len(found) > 1:
        names = ", ".join(f"values[{chart.release.name}]" for chart, _ in found)
        raise UsageError(f"{len(found)} charts have {path}", hint=f"name one: {names}")
    return replace(found[0][1], path=path)


def _of_chart(tracing: Tracing, chart: PinnedChart, steps: Sequence[str]) -> Explanation | None:
    values = tracing.renderers.charts.values(tracing.tree, chart)
    layered, _ = layered_values(chart.place, chart.pinned.target, values)
    pins = pin_chart(tracing.project, chart, layered)[0].values
    origins = list(_of_files(tracing, chart, steps))
    origins += [each for layer in chart.pinned.target.layers for each in _of_layer(layer, steps)]
    pin = find(pins, steps)
    if pin is not None and not isinstance(pin.value, Mapping):
        origins.append(Origin("pin", pin.value, _service(tracing, pin.value)))
    if not origins:
        return None
    found = find(over(layered, pins), steps)
    value = found.value if found else None
    return Explanation(chart.place, "", None, value, tuple(reversed(origins)))


def _of_layer(layer: Layer, steps: Sequence[str]) -> Iterator[Origin]:
    found = find(layer.values, steps)
    if found is not None:
        line = layer.line(f"/values{found.pointer}")
        yield Origin("layer", found.value, f"{layer.level} layer", layer.file, line)


def _of_files(tracing: Tracing, chart: PinnedChart, steps: Sequence[str]) -> Iterator[Origin]:
    """The chart's own values, those of a subchart below its name first, then the files."""
    folder = chart.release.chart
    places = [(f"{folder}/values.yaml", tuple(steps))]
    if len(steps) > 1:
        places.insert(0, (f"{folder}/charts/{steps[0]}/values.yaml", tuple(steps[1:])))
    places += [(file, tuple(steps)) for file in chart.release.values]
    contents = tracing.read([file for file, _ in places])
    for file, inner in places:
        if file not in contents:
            continue
        found = find(read_values(contents[file]), inner)
        if found is not None:
            line = line_numbers(contents[file]).get(found.pointer)
            yield Origin("values", found.value, "values", file, line)


def _service(tracing: Tracing, value: Any) -> str:
    for each in tracing.pinned.pins:
        image = each.image
        if str(value) in (str(image), image.name, image.tag, str(image.digest)):
            return f"the pin of service {each.service}"
    return "a pin"
