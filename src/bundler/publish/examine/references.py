"""Which objects refer to a ConfigMap or Secret, by its name before kustomize's hash."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bundler.model.bundle import RenderedBundle
from bundler.model.objects import HASH_SUFFIX, ObjectRef
from bundler.model.references import Reference, references
from bundler.publish.placement import workload_service


@dataclass(frozen=True)
class Use:
    place: str
    service: str | None
    object: ObjectRef
    reference: Reference


def uses(bundle: RenderedBundle, name: str, key: str | None = None) -> tuple[Use, ...]:
    """Every reference to a name, and with a key those that may read it; in order."""
    images = [image.reference for image in bundle.lock.services.values()]
    services = {
        str(spelled): service
        for service, image in zip(bundle.lock.services, images, strict=True)
        for spelled in (image, replace(image, tag=None))
    }
    return tuple(
        Use(target.place, workload_service(obj, services), ObjectRef.of(obj), reference)
        for target in bundle.targets
        for obj in target.objects
        for reference in references(obj)
        if name in (reference.name, HASH_SUFFIX.sub("", reference.name))
        and (key is None or reference.keys is None or key in reference.keys)
    )
