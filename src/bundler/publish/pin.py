"""pin: a target and the lock → the target with the images of its services.

Images are pinned in what was rendered: those of services by the names that manifests use for them,
third-party ones by their reference. Charts get the images of services as values before that, as
their templates may do more with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from bundler.model.bundle import Pin, PinnedTarget
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import ImageUse, KubernetesObject, ObjectRef, image_name
from bundler.model.project import Environment, Project, Target
from bundler.model.reference import Digest, ImageReference, InvalidReference
from bundler.publish.images import images_of, with_images


def pin(
    project: Project, environment: Environment, target: Target, lock: ImageLock
) -> PinnedTarget:
    """A pin for each name that manifests may use for each service that the target has."""
    pins = tuple(
        Pin(name, lock.services[service.name].reference, service.name)
        for service in sorted(project.services.values(), key=lambda service: service.name)
        if service.name not in target.without
        for name in sorted(service.manifest_names)
    )
    return PinnedTarget(environment, target, pins)


def with_services(
    pinned: PinnedTarget, objects: Iterable[KubernetesObject]
) -> tuple[KubernetesObject, ...]:
    """The objects with the pinned image wherever one names a service, by whatever tag or digest."""
    pins = {pin.name: str(pin.image) for pin in pinned.pins}
    services, declared = pinned.services, pinned.environment.image_paths
    return tuple(
        with_images(
            obj,
            {
                use.image: pins[name]
                for use in images_of(obj, declared)
                if (name := image_name(use.image)) in pins and use.image not in services
            },
            declared,
        )
        for obj in objects
    )


def external_images(
    pinned: PinnedTarget, project: Project, objects: Iterable[KubernetesObject]
) -> Iterator[ImageReference]:
    """The declared third-party images that the rendered objects use."""
    services = pinned.services
    for obj in objects:
        for use in images_of(obj, pinned.environment.image_paths):
            image = _parsed(use.image) if use.image not in services else None
            if image is not None and project.is_external(image):
                yield image


def needs_digest(pinned: PinnedTarget, image: ImageReference) -> bool:
    """Whether a third-party image has to be resolved for this environment."""
    return pinned.environment.protected and image.digest is None


def with_external_digests(
    pinned: PinnedTarget,
    project: Project,
    objects: Iterable[KubernetesObject],
    digests: Mapping[str, Digest],
) -> tuple[KubernetesObject, ...]:
    """The objects with `name:tag@digest` for the third-party images that need one."""
    objects = tuple(objects)
    replacements = {
        str(image): str(image.with_digest(digests[str(image)]))
        for image in external_images(pinned, project, objects)
        if needs_digest(pinned, image)
    }
    return tuple(with_images(obj, replacements, pinned.environment.image_paths) for obj in objects)


def check_pins(
    pinned: PinnedTarget,
    project: Project,
    objects: Iterable[KubernetesObject],
    external: Mapping[str, Digest],
) -> Iterator[Finding]:
    """What is wrong with the images of a target's objects, and the pins that nothing uses.

    `external` are the third-party images that have been pinned: reference as declared → digest.
    """
    services = pinned.services
    known = {str(ImageReference.parse(text).with_digest(d)) for text, d in external.items()}
    used: set[str] = set()
    mutable: set[str] = set()
    for obj in objects:
        for use in images_of(obj, pinned.environment.image_paths):
            if use.image in services:
                used.add(services[use.image])
                continue
            finding = None
            if use.image not in known:
                finding = _check_image(pinned, project, obj, use)
            if finding is None or use.image in mutable:
                continue
            if finding.rule == "mutable-tag":
                mutable.add(use.image)  # one warning an image is enough
            yield finding
    for service in sorted(set(services.values()) - used):
        yield _unused(pinned, project, service)


def _check_image(
    pinned: PinnedTarget, project: Project, obj: KubernetesObject, use: ImageUse
) -> Finding | None:
    """What is wrong with an image that is no service's pinned one."""

    def finding(rule: str, message: str, hint: str, *, warns: bool = False) -> Finding:
        return Finding(
            rule,
            message,
            "warning" if warns else "error",
            pointer=use.pointer,
            object=str(ObjectRef.of(obj)),
            environment=pinned.place,
            hint=hint,
        )

    image = _parsed(use.image)
    if image is None:
        return finding("invalid-image", f"{use.image!r} is no image reference", "write NAME:TAG")
    if project.is_denied(image):
        message = f"image {use.image} is denied"
        return finding("denied-image", message, "images.external.deny in bundler.yaml says so")
    if not project.is_external(image):
        message = f"image {use.image} is neither a service's nor declared external"
        return finding("unpinned-image", message, _unpinned_hint(pinned, project, image))
    if image.digest is None:
        message = f"image {use.image} has no digest: what it is can change"
        return finding("mutable-tag", message, "protected environments get a digest", warns=True)
    return None


def _unpinned_hint(pinned: PinnedTarget, project: Project, image: ImageReference) -> str:
    meant = project.service_of(image.name)
    if meant is not None and meant.name in pinned.target.without:
        return f"service {meant.name} is listed under without for {pinned.place}"
    disabled = next((s for s in project.disabled.values() if image.name in s.manifest_names), None)
    if disabled is not None:
        return f"service {disabled.name} is disabled: take its objects out of this environment"
    last = image.name.rpartition("/")[2]
    if last in project.services and pinned.target.helm:
        return (
            f"if a chart puts service {last} together so, say under helm.pins.{last} where its "
            "values have it, and see what a global registry adds to it"
        )
    if last in project.services:
        return (
            f"if it is service {last}, add {image.name} to services.{last}.names, "
            "else to images.external"
        )
    close = get_close_matches(last, project.services, n=1)
    if close:
        return f"did you mean service {close[0]} ({project.services[close[0]].image})?"
    return "add it to images.external, or to the names of the service that it is"


def _unused(pinned: PinnedTarget, project: Project, service: str) -> Finding:
    names = ", ".join(sorted(project.services[service].manifest_names))
    environment = pinned.environment.name
    return Finding(
        "unused-pin",
        f"no object uses the image of service {service} (looked for {names})",
        service=service,
        environment=pinned.place,
        hint=f"add the name that its manifests use to services.{service}.names, "
        f"or list it under environments.{environment}.without",
    )


def _parsed(image: str) -> ImageReference | None:
    try:
        return ImageReference.parse(image)
    except InvalidReference:
        return None
