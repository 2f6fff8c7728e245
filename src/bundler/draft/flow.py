"""Drafts a project file from what a survey of a repository found.

What the files tell is written down; what they do not tell is a `# check:` in the text, and a note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bundler.draft.charts import draft_charts
from bundler.draft.environments import DraftedEnvironments, Reached, draft_environments
from bundler.draft.images import (
    PLACEHOLDER_HOST,
    DraftedImages,
    draft_images,
    parsed,
)
from bundler.draft.parts import (
    Check,
    DraftEnvironment,
    DraftLibrary,
    DraftService,
    is_writable,
    legal_name,
    listed,
    shown,
)
from bundler.draft.services import draft_services
from bundler.draft.text import DraftedProject, project_text
from bundler.model.survey import Survey

_USUAL_BRANCHES = ("main", "master")
UNUSED = "no manifest that was read runs it: if it is not deployed, remove it"


@dataclass(frozen=True)
class Wishes:
    """What whoever asks for a draft knows already."""

    name: str | None = None
    images: str | None = None
    deploy_registry: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Draft:
    text: str
    """A valid project file, unless there are no services."""
    services: tuple[DraftService, ...]
    libraries: tuple[DraftLibrary, ...]
    environments: tuple[DraftEnvironment, ...]
    notes: tuple[str, ...]
    """What could not be told, most important first."""


def draft(survey: Survey, wishes: Wishes) -> Draft:
    """The same survey and wishes give the same text."""
    name = wishes.name or legal_name(survey.folder_name, "project")
    built = draft_services(survey, name)
    names = [service.name for service in built.services]
    placed = draft_environments(survey.kustomizations, names)
    images = draft_images(_image_strings(survey, placed), names, name, wishes.images)
    environments, missing = _without(placed, built.services, images)
    branches, branch_checks = _branches(survey)
    deploy_registry = wishes.deploy_registry or f"oci://{PLACEHOLDER_HOST}/deploy/{name}"
    checks = [
        *_missing_places(wishes, deploy_registry),
        *images.checks,
        *built.checks,
        *missing,
        *placed.checks,
        *_no_environments(placed),
        *branch_checks,
        *_left_out(survey),
    ]
    project = DraftedProject(
        name=name,
        source=wishes.source,
        deploy_registry=deploy_registry,
        branches=branches,
        registry=images.registry,
        external=images.external,
        services=tuple(_with_images(service, images) for service in built.services),
        libraries=built.libraries,
        environments=environments,
        charts=draft_charts(survey.charts, survey.files),
        checks=tuple(checks),
    )
    return Draft(
        project_text(project),
        project.services,
        project.libraries,
        project.environments,
        tuple(_notes(checks)),
    )


def _image_strings(survey: Survey, placed: DraftedEnvironments) -> Iterable[str]:
    """Those of the environments; of all manifests that were read where there are none."""
    overlays = [target.folder for each in placed.environments for target in each.targets]
    if overlays:
        return {image for folder in overlays for image in placed.reached[folder].images}
    objects = (obj for each in survey.kustomizations for obj in each.objects)
    return {image for obj in objects for image in obj.images}


def _with_images(service: DraftService, images: DraftedImages) -> DraftService:
    image, names = images.image.get(service.name), images.names.get(service.name, ())
    return replace(service, image=image, names=names)


# --- which services an environment has ----------------------------------------------------------


def _without(
    placed: DraftedEnvironments, services: Iterable[DraftService], images: DraftedImages
) -> tuple[tuple[DraftEnvironment, ...], list[Check]]:
    """The environments with the services that they have not, as far as that can be told."""
    names = {service.name for service in services}
    running = {
        environment.name: {
            service
            for target in environment.targets
            for service in _services_of(placed.reached[target.folder], images)
        }
        for environment in placed.environments
    }
    found = set().union(*running.values())
    if not found:
        message = "no overlay was seen to run any service: how its manifests call the images"
        return placed.environments, [
            Check("environment", environment.name, message) for environment in placed.environments
        ]
    environments = tuple(
        replace(environment, without=tuple(sorted(names - running[environment.name])))
        for environment in placed.environments
    )
    return environments, [Check("service", name, UNUSED) for name in sorted(names - found)]


def _services_of(reached: Reached, images: DraftedImages) -> Iterable[str]:
    for image in reached.images:
        reference = parsed(image)
        if reference is not None and reference.name in images.service_of:
            yield images.service_of[reference.name]


# --- what could not be told ---------------------------------------------------------------------


def _missing_places(wishes: Wishes, deploy_registry: str) -> Iterable[Check]:
    if not wishes.deploy_registry:
        yield Check("", "", f"deployRegistry: {deploy_registry} is a placeholder")


def _no_environments(placed: DraftedEnvironments) -> Iterable[Check]:
    if not placed.environments:
        yield Check("", "", "no overlay was taken for an environment: a release needs one")


def _branches(survey: Survey) -> tuple[tuple[str, ...], list[Check]]:
    usual = tuple(branch for branch in _USUAL_BRANCHES if branch in survey.branches)
    if usual:
        return usual, []
    if not survey.branch or not is_writable(survey.branch):
        return (), [Check("", "", "releases.branches: which branches releases come from")]
    message = f"releases.branches: whether releases come from {survey.branch}"
    return (survey.branch,), [Check("", "", f"{message}, as there is no main or master")]


def _left_out(survey: Survey) -> Iterable[Check]:
    for what, paths in (
        ("helm charts, for which environments are proposed only", survey.charts),
        ("submodules, in which nothing was looked for", survey.submodules),
        ("left out as vendored code, tests or examples", survey.left_out),
        ("could not be read", survey.unreadable),
    ):
        if paths:
            yield Check("", "", f"{what}: {listed(paths)}")


def _notes(checks: Iterable[Check]) -> Iterable[str]:
    """One note for each message, with all that it is about."""
    about: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        about.setdefault((check.kind, check.message), []).append(check.name)
    for (kind, message), names in about.items():
        unique = list(dict.fromkeys(names))
        plural = f"{kind}s" if len(unique) > 1 else kind
        yield shown(f"{plural} {', '.join(unique)}: {message}" if kind else message)
