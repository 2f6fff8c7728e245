"""pin: an environment's overlay and the lock → the overlay with the digests of its services.

Services are pinned by the renderer. Third-party images are pinned in what it rendered, as a
reference's tag, which renderers do not look at, decides about its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from bundler.model.bundle import Pin, PinnedOverlay
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.objects import ImageUse, KubernetesObject, ObjectRef
from bundler.model.project import Environment, Project, Target
from bundler.model.reference import Digest, ImageReference, InvalidReference
from bundler.publish.images import images_of, with_images


def pin(
    project: Project, environment: Environment, target: Target, lock: ImageLock
) -> PinnedOverlay:
    """A pin for each name that manifests may use for each service that the target has."""
    pins = tuple(
        Pin(name, lock.services[service.name].reference, service.name)
        for service in sorted(project.services.values(), key=lambda service: service.name)
        if service.name not in target.without
        for name in sorted(service.manifest_names)
    )
    return PinnedOverlay(environment, target, pins)


def external_images(
    overlay: PinnedOverlay, project: Project, objects: Iterable[KubernetesObject]
) -> Iterator[ImageReference]:
    """The declared third-party images that the rendered objects use."""
    pinned = overlay.services
    for obj in objects:
        for use in images_of(obj):
            image = _parsed(use.image) if use.image not in pinned else None
            if image is not None and project.is_external(image):
                yield image


def needs_digest(overlay: PinnedOverlay, image: ImageReference) -> bool:
    """Whether a third-party image has to be resolved for this environment."""
    return overlay.environment.protected and image.digest is None


def with_external_digests(
    overlay: PinnedOverlay,
    project: Project,
    objects: Iterable[KubernetesObject],
    digests: Mapping[str, Digest],
) -> tuple[KubernetesObject, ...]:
    """The objects with `name:tag@digest` for the third-party images that need one."""
    objects = tuple(objects)
    replacements = {
        str(image): str(image.with_digest(digests[str(image)]))
        for image in external_images(overlay, project, objects)
        if needs_digest(overlay, image)
    }
    return tuple(with_images(obj, replacements) for obj in objects)


def check_pins(
    overlay: PinnedOverlay,
    project: Project,
    objects: Iterable[KubernetesObject],
    external: Mapping[str, Digest],
) -> Iterator[Finding]:
    """What is wrong with the images of an overlay's objects, and the pins that nothing uses.

    `external` are the third-party images that have been pinned: reference as declared → digest.
    """
    pinned = overlay.services
    known = {str(ImageReference.parse(text).with_digest(d)) for text, d in external.items()}
    used: set[str] = set()
    mutable: set[str] = set()
    for obj in objects:
        for use in images_of(obj):
            if use.image in pinned:
                used.add(pinned[use.image])
                continue
            finding = None
            if use.image not in known:
                finding = _check_image(overlay, project, obj, use)
            if finding is None or use.image in mutable:
                continue
            if finding.rule == "mutable-tag":
                mutable.add(use.image)  # one warning an image is enough
            yield finding
    for service in sorted(set(pinned.values()) - used):
        yield _unused(overlay, project, service)


def _check_image(
    overlay: PinnedOverlay, project: Project, obj: KubernetesObject, use: ImageUse
) -> Finding | None:
    """What is wrong with an image that is no service's pinned one."""

    def finding(rule: str, message: str, hint: str, *, warns: bool = False) -> Finding:
        return Finding(
            rule,
            message,
            "warning" if warns else "error",
            pointer=use.pointer,
            object=str(ObjectRef.of(obj)),
            environment=overlay.place,
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
        return finding("unpinned-image", message, _unpinned_hint(overlay, project, image))
    if image.digest is None:
        message = f"image {use.image} has no digest: what it is can change"
        return finding("mutable-tag", message, "protected environments get a digest", warns=True)
    return None


def _unpinned_hint(overlay: PinnedOverlay, project: Project, image: ImageReference) -> str:
    meant = project.service_of(image.name)
    if meant is not None and meant.name in overlay.target.without:
        return f"service {meant.name} is listed under without for {overlay.place}"
    disabled = next((s for s in project.disabled.values() if image.name in s.manifest_names), None)
    if disabled is not None:
        return f"service {disabled.name} is disabled: take its objects out of this environment"
    last = image.name.rpartition("/")[2]
    if last in project.services:
        return (
            f"if it is service {last}, add {image.name} to services.{last}.names, "
            "else to images.external"
        )
    close = get_close_matches(last, project.services, n=1)
    if close:
        return f"did you mean service {close[0]} ({project.services[close[0]].image})?"
    return "add it to images.external, or to the names of the service that it is"


def _unused(overlay: PinnedOverlay, project: Project, service: str) -> Finding:
    names = ", ".join(sorted(project.services[service].manifest_names))
    environment = overlay.environment.name
    return Finding(
        "unused-pin",
        f"no object uses the image of service {service} (looked for {names})",
        service=service,
        environment=overlay.place,
        hint=f"add the name that its manifests use to services.{service}.names, "
        f"or list it under environments.{environment}.without",
    )


def _parsed(image: str) -> ImageReference | None:
    try:
        return ImageReference.parse(image)
    except InvalidReference:
        return None
