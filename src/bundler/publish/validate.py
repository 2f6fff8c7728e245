"""validate: a rendered bundle → one without errors, or all of its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from bundler.errors import ValidationFailed
from bundler.model.bundle import RenderedBundle, RenderedTarget, ValidatedBundle
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject, ObjectRef
from bundler.model.reference import ImageReference
from bundler.model.sops import is_encrypted, without_sops
from bundler.ports import ObjectSchemas
from bundler.publish import rules
from bundler.publish.images import images_of
from bundler.publish.placement import file_of, workload_service
from bundler.publish.render import files
from bundler.publish.supplied_schemas import Supplied, is_crd

UNVALIDATED = "unvalidated"
"""The rule of a finding of ObjectSchemas that says: there is no schema for this object."""


NOTHING_SUPPLIED: Supplied = {}


FormerObjects = Callable[[Mapping[str, bytes]], rules.Former]
"""The files of a release → the objects of the release before that are not in them."""


def validate(
    rendered: RenderedBundle,
    schemas: ObjectSchemas,
    supplied: Supplied = NOTHING_SUPPLIED,
    former: FormerObjects = lambda _: {},
) -> ValidatedBundle:
    """Check every object against the schemas of its environment's Kubernetes version, and by rules.

    Custom resources are checked by the CRDs of the bundle, and by those that are `supplied`.
    Raises ValidationFailed with all findings, those of rendering among them, each as grave as the
    environment has it.
    """
    contents = files(rendered)
    versions = {
        target.environment.name: target.environment.kubernetes or schemas.newest()
        for target in rendered.targets
    }
    services = {str(image.reference): name for name, image in rendered.lock.services.items()}
    findings = [*rendered.findings, *_defects(supplied, schemas, versions)]
    with_crds = {name: schemas.with_crds(_crds(rendered, supplied, name)) for name in versions}
    unvalidated: dict[str, set[ObjectRef]] = {}
    for target in rendered.targets:
        name = target.environment.name
        for obj, finding in _violations(target, with_crds[name], versions[name], services):
            if finding.rule == UNVALIDATED:
                unvalidated.setdefault(name, set()).add(ObjectRef.of(obj)._replace(namespace=""))
            else:
                findings.append(finding)
        findings += _without_digest(target, rendered.findings)
    findings += [_not_validated(name, refs) for name, refs in unvalidated.items()]
    environments = {each.environment.name: each.environment for each in rendered.targets}
    found = [*findings, *rules.check(rendered, former(contents))]
    findings = list(rules.by_policy(found, environments))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise ValidationFailed(f"the rendered bundle has {count}", findings=findings)
    unchecked = sum(map(len, unvalidated.values()))
    return ValidatedBundle(rendered, contents, versions, tuple(findings), unchecked)


def _crds(rendered: RenderedBundle, supplied: Supplied, name: str) -> list[KubernetesObject]:
    """Those that are supplied for an environment, and those of all its targets, which win."""
    own = (
        obj
        for target in rendered.targets
        if target.environment.name == name
        for obj in target.objects
        if is_crd(obj)
    )
    return [*(each.crd for each in supplied.get(name, ())), *own]


def _defects(
    supplied: Supplied, schemas: ObjectSchemas, versions: Mapping[str, str]
) -> Iterator[Finding]:
    """What is wrong with the supplied CRDs, each thing once, whichever environments have them."""
    told: set[Finding] = set()
    for name, each in supplied.items():
        crds = [one.crd for one in each]
        found = schemas.check(versions[name], crds) if crds and name in versions else ()
        for index, finding in found:
            ref = ObjectRef.of(crds[index])._replace(namespace="")
            placed = replace(finding, file=each[index].file, object=str(ref))
            if placed not in told:
                told.add(placed)
                yield placed


def _violations(
    target: RenderedTarget, schemas: ObjectSchemas, version: str, services: Mapping[str, str]
) -> Iterator[tuple[KubernetesObject, Finding]]:
    without = [without_sops(obj) if is_encrypted(obj) else obj for obj in target.objects]
    for index, finding in schemas.check(version, without):
        obj = target.objects[index]
        ref = ObjectRef.of(obj)
        yield (
            obj,
            replace(
                finding,
                file=file_of(target.place, obj),
                object=str(ref),
                environment=target.place,
                service=_service(obj, finding.pointer or "", services),
            ),
        )


def _service(obj: KubernetesObject, pointer: str, services: Mapping[str, str]) -> str | None:
    """The service of the container that a pointer leads into, else of the workload."""
    for use in images_of(obj):
        container = use.pointer.removesuffix("/image")
        if use.image in services and f"{pointer}/".startswith(f"{container}/"):
            return services[use.image]
    return workload_service(obj, services)


def _without_digest(target: RenderedTarget, known: Sequence[Finding]) -> Iterator[Finding]:
    """In a protected environment: images that could still change, whatever else was found."""
    if not target.environment.protected:
        return
    reported = {(f.environment, f.object, f.pointer) for f in known}
    for obj in target.objects:
        ref = ObjectRef.of(obj)
        for use in images_of(obj, target.environment.image_paths):
            place = (target.place, str(ref), use.pointer)
            if place not in reported and not _has_digest(use.image):
                yield Finding(
                    "image-without-digest",
                    f"image {use.image} has no digest, and {target.environment.name} is protected",
                    file=file_of(target.place, obj),
                    pointer=use.pointer,
                    object=str(ref),
                    environment=target.place,
                )


def _has_digest(image: str) -> bool:
    try:
        return ImageReference.parse(image).digest is not None
    except ValueError:
        return False


def _not_validated(environment: str, refs: set[ObjectRef]) -> Finding:
    kinds = ", ".join(sorted({f"{ref.kind}.{ref.group}" for ref in refs}))
    count = "1 object is" if len(refs) == 1 else f"{len(refs)} objects are"
    return Finding(
        UNVALIDATED,
        f"{count} not validated, for want of a schema: {kinds}",
        "warning",
        environment=environment,
    )
