"""Concludes environments and their targets from the kustomizations of a repository."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from posixpath import basename, dirname

from bundler.draft.parts import (
    Check,
    DraftEnvironment,
    DraftTarget,
    is_writable,
    legal_name,
    listed,
    unique_names,
)
from bundler.model.objects import CLUSTER_SCOPED
from bundler.model.project import DEFAULT_TARGET
from bundler.model.reference import Digest, ImageReference, InvalidReference
from bundler.model.survey import FoundObject, ImageChange, Kustomization

_DEVELOPMENT = frozenset({
    "dev", "develop", "development", "test", "testing", "tests", "local", "preview", "sandbox",
    "playground", "ci", "review", "ephemeral", "minikube", "kind",
})  # fmt: skip
_STAGES = _DEVELOPMENT | frozenset({
    "prod", "production", "prd", "live", "stage", "staging", "stg", "uat", "qa", "int",
    "integration", "preprod", "acceptance", "acc", "canary", "demo", "perf", "dr",
})  # fmt: skip
_FOLDERS_OF_STAGES = frozenset({
    "overlays", "overlay", "environments", "environment", "envs", "env", "stages", "clusters",
})  # fmt: skip
_BASES = frozenset({
    "base", "bases", "common", "shared", "component", "components", "core", "crd", "crds",
})  # fmt: skip
MANY = 10
"""More overlays, of which none runs what is built here, are not taken for environments."""


@dataclass(frozen=True)
class Reached:
    """What an overlay is made of, as far as its files tell."""

    objects: Mapping[tuple[str, str], FoundObject] = field(default_factory=dict)
    """By kind and name."""
    namespaces: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()

    @property
    def images(self) -> frozenset[str]:
        return frozenset(image for obj in self.objects.values() for image in obj.images)


@dataclass(frozen=True)
class DraftedEnvironments:
    environments: tuple[DraftEnvironment, ...]
    reached: Mapping[str, Reached]
    """Folder of an overlay → what it is made of, also of those that were not taken."""
    checks: tuple[Check, ...]


# --- what an overlay reaches --------------------------------------------------------------------


def reach(folder: str, known: Mapping[str, Kustomization]) -> Reached:
    """All that a kustomization and those that it refers to hold, deletions and images applied."""
    return _reach(folder, known, ())


def _reach(folder: str, known: Mapping[str, Kustomization], trail: tuple[str, ...]) -> Reached:
    own = known.get(folder)
    if own is None or folder in trail:
        return Reached()
    objects: dict[tuple[str, str], FoundObject] = {}
    namespaces: set[str] = set()
    refused = list(own.refused)
    for inner in (*own.resources, *own.components):
        found = _reach(inner, known, (*trail, folder))
        objects = _merged(objects, found.objects.values())
        namespaces |= found.namespaces
        refused += [problem for problem in found.refused if problem not in refused]
        if inner in own.components and inner in known:
            objects = _changed(objects, known[inner])
    objects = _changed(_merged(objects, own.objects), own)
    if own.namespace:
        namespaces = {own.namespace}
    return Reached(objects, frozenset(namespaces), tuple(refused))


def _merged(
    objects: Mapping[tuple[str, str], FoundObject], more: Iterable[FoundObject]
) -> dict[tuple[str, str], FoundObject]:
    merged = dict(objects)
    for obj in more:
        key = (obj.kind, obj.name)
        before = merged[key].images if key in merged else ()
        merged[key] = obj._replace(images=tuple(sorted({*before, *obj.images})))
    return merged


def _changed(
    objects: Mapping[tuple[str, str], FoundObject], by: Kustomization
) -> dict[tuple[str, str], FoundObject]:
    changes = {change.name: change for change in by.images}
    return {
        key: obj._replace(images=tuple(_renamed(image, changes) for image in obj.images))
        for key, obj in objects.items()
        if key not in by.removed
    }


def _renamed(image: str, changes: Mapping[str, ImageChange]) -> str:
    try:
        reference = ImageReference.parse(image)
        change = changes.get(reference.name)
        if change is None:
            return image
        if change.digest:
            reference = replace(reference, tag=None, digest=Digest.parse(change.digest))
        elif change.tag:
            reference = replace(reference, tag=change.tag, digest=None)
        return str(replace(reference, name=change.new_name or reference.name))
    except InvalidReference:
        return image


# --- which folders are environments -------------------------------------------------------------


def draft_environments(
    kustomizations: Sequence[Kustomization], services: Collection[str]
) -> DraftedEnvironments:
    """The environments that the folders' names and references tell of, protected ones first."""
    known = {kustomization.folder: kustomization for kustomization in kustomizations}
    checks: list[Check] = []
    roots = _roots(known)
    odd = [folder for folder in roots if not is_writable(folder)]
    checks += [Check("", "", f"{folder!r} has a path that cannot be declared") for folder in odd]
    reached = {folder: reach(folder, known) for folder in roots if folder not in odd}
    groups = _groups(_chosen(reached, known, services, checks), known)
    names = unique_names({folder: legal_name(_title(folder), "default") for folder in groups})
    environments = [
        _environment(names[head], head, groups[head], reached, checks) for head in sorted(groups)
    ]
    for head, name in sorted(names.items()):
        if name != legal_name(_title(head), "default"):
            message = "several overlays have this name: an environment is one overlay, with all"
            checks.append(Check("environment", name, f"{message} of its services"))
    environments.sort(key=lambda environment: (not environment.protected, environment.name))
    return DraftedEnvironments(tuple(environments), reached, tuple(checks))


def _title(folder: str) -> str:
    return basename(folder) if folder != "." else "default"


def _words(name: str) -> set[str]:
    return {word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", name.lower())}


def is_called_like_a_stage(name: str) -> bool:
    return bool(_words(name) & _STAGES)


def _is_stage(folder: str) -> bool:
    """Whether a folder is called like an environment, or lies where such do."""
    return is_called_like_a_stage(basename(folder)) or _is_among_stages(folder)


def _is_among_stages(folder: str) -> bool:
    return basename(dirname(folder)).lower() in _FOLDERS_OF_STAGES


def _roots(known: Mapping[str, Kustomization]) -> list[str]:
    """The overlays that no other one refers to, or only one beside them."""
    users: dict[str, set[str]] = defaultdict(set)
    for kustomization in known.values():
        for folder in (*kustomization.resources, *kustomization.components):
            users[folder].add(kustomization.folder)
    return [
        folder
        for folder, kustomization in sorted(known.items())
        if not kustomization.is_component
        and basename(folder).lower() not in _BASES
        and (not users[folder] or _is_overlay_for_siblings(kustomization, users[folder]))
    ]


def _chosen(
    reached: Mapping[str, Reached],
    known: Mapping[str, Kustomization],
    services: Collection[str],
    checks: list[Check],
) -> list[str]:
    """Those that are called like environments, and run something of what is built here."""
    stages = [folder for folder in reached if _stage_of(folder, known)]
    candidates = stages or list(reached)
    running = [folder for folder in candidates if _runs(reached[folder], services)]
    if running:
        chosen = [f for f in candidates if f in running or reached[f].refused]
    else:
        chosen = candidates if len(candidates) <= MANY else []
    others = [folder for folder in reached if folder not in chosen]
    if others:
        checks.append(Check("", "", f"not taken for environments: {listed(others)}"))
    if chosen and not stages:
        message = "whether these overlays are environments, and how they are called"
        checks.append(Check("", "", f"{message}: {listed(chosen)}"))
    return chosen


def _runs(reached: Reached, services: Collection[str]) -> bool:
    names = (re.sub(r"[:@].*", "", image.rpartition("/")[2]) for image in reached.images)
    return any(name in services for name in names)


def _is_overlay_for_siblings(kustomization: Kustomization, users: Iterable[str]) -> bool:
    """`prod`, which `prod-us` beside it is made from, is an environment nevertheless."""
    folder = kustomization.folder
    return (
        _is_stage(folder)
        and bool(kustomization.resources)
        and all(dirname(user) == dirname(folder) for user in users)
    )


def _stage_of(folder: str, known: Mapping[str, Kustomization]) -> str | None:
    """The folder that names the environment: `overlays/prod` of `overlays/prod/eu`."""
    parent = dirname(folder)
    is_group = parent and parent not in known and basename(parent).lower() not in _BASES
    if is_group and not _words(basename(folder)) & _STAGES:
        named = _words(basename(parent)) & _STAGES
        if named and basename(parent).lower() not in _FOLDERS_OF_STAGES:
            return parent
        if _is_among_stages(parent):
            return parent
    return folder if _is_stage(folder) else None


def _groups(folders: Sequence[str], known: Mapping[str, Kustomization]) -> dict[str, list[str]]:
    """The folder that names an environment → the overlays of its targets."""
    groups: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        original = next(
            (
                other
                for other in sorted(folders, key=len, reverse=True)
                if folder.startswith(f"{other}-") and other in known[folder].resources
            ),
            None,
        )
        groups[original or _stage_of(folder, known) or folder].append(folder)
    return dict(groups)


# --- one environment ----------------------------------------------------------------------------


def _environment(
    name: str,
    head: str,
    folders: Sequence[str],
    reached: Mapping[str, Reached],
    checks: list[Check],
) -> DraftEnvironment:
    targets = tuple(
        DraftTarget(
            _target_name(folder, head), folder, _namespace(name, folder, reached[folder], checks)
        )
        for folder in folders
    )
    if len(targets) > 1 and any(target.name == DEFAULT_TARGET for target in targets):
        checks.append(Check("environment", name, f"how the target of {head} is called"))
    if refused := sorted({x for folder in folders for x in reached[folder].refused}):
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        message = f"{', '.join(refused[:3])}{more} will be refused: copy them into the repository"
        checks.append(Check("environment", name, message))
    kinds = _cluster_scoped(reached[folder] for folder in folders)
    if kinds:
        message = f"whether allow.clusterScoped should name {', '.join(kinds)}"
        checks.append(Check("environment", name, message))
    words = _words(name)
    is_development = bool(words & _DEVELOPMENT) and not words & {"prod", "production", "prd"}
    return DraftEnvironment(name, targets, not is_development)


def _target_name(folder: str, head: str) -> str:
    if folder == head:
        return DEFAULT_TARGET
    if dirname(folder) == head:
        return legal_name(basename(folder), DEFAULT_TARGET)
    return legal_name(folder.removeprefix(f"{head}-"), DEFAULT_TARGET)


def _namespace(name: str, folder: str, reached: Reached, checks: list[Check]) -> str:
    namespaces = reached.namespaces or {
        obj.name for obj in reached.objects.values() if obj.kind == "Namespace"
    }
    usable = sorted(ns for ns in namespaces if ns == legal_name(ns, ""))
    if len(namespaces) == 1 and usable:
        return usable[0]
    if usable:
        message = f"which namespace of {', '.join(usable)} it is installed into"
    else:
        message = f"no namespace is set in {folder}: {name} is a guess"
    checks.append(Check("environment", name, message))
    return usable[0] if usable else name


def _cluster_scoped(reached: Iterable[Reached]) -> tuple[str, ...]:
    return tuple(sorted(set(_kinds(reached))))


def _kinds(reached: Iterable[Reached]) -> Iterator[str]:
    for found in reached:
        for obj in found.objects.values():
            if (obj.group, obj.kind) in CLUSTER_SCOPED and obj.kind != "Namespace":
                yield obj.kind
