"""Whether what a plan would run can be pulled: its images by digest, and its pull secrets.

Asked before anything changes, and only for what is created or configured: who applies again what
stands there asks no registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bundler.deploy.guards import refuse_errors
from bundler.errors import (
    CouldNotCheck,
    ImagesRefused,
    PermissionRefused,
    Refused,
    TryAgain,
)
from bundler.model.changeset import Change, Plan
from bundler.model.finding import Finding
from bundler.model.objects import (
    BUILT_IN_GROUPS,
    KubernetesObject,
    ObjectRef,
    images_in,
    pod_spec,
    split_api_version,
    texts_in,
)
from bundler.model.reference import ImageReference, InvalidReference, Repository
from bundler.parallel import threads
from bundler.ports import ManifestResolver, ObjectReader

PARALLEL = 16
_SECRET = ("", "Secret")
_NO_ANSWER = "--no-image-check applies without asking, where this machine cannot reach the registry"


def pullable(plan: Plan, to: ObjectReader, images: Callable[[Plan], None] | None) -> Plan:
    """The plan with further warnings, if what it would run can be pulled.

    Raises Refused and ImagesRefused for what is missing, CouldNotCheck.
    """
    secrets = pull_secrets(plan, to)
    refuse_errors(secrets)
    if images:
        images(plan)
    return replace(plan, warnings=(*plan.warnings, *secrets))


class ImageCheck:
    """Asks registries for images; what is there is asked for once, whatever targets use it."""

    def __init__(self, registries: ManifestResolver) -> None:
        self._registries = registries
        self._there: set[str] = set()

    def __call__(self, plan: Plan) -> None:
        """Raises ImagesRefused where any is missing, else CouldNotCheck for those without answer.

        Both have a finding for each image.
        """
        used = {text: ref for text, ref in _images(plan).items() if text not in self._there}
        with threads(PARALLEL) as pool:
            asked = {text: pool.submit(self._problem, text, ref) for text, ref in used.items()}
        found = {text: future.result() for text, future in asked.items()}
        self._there.update(text for text, finding in found.items() if finding is None)
        place = f"{plan.environment}/{plan.target}"
        _raise(place, [finding for finding in found.values() if finding])

    def _problem(self, text: str, ref: ObjectRef) -> Finding | None:
        try:
            image = ImageReference.parse(text)
            where = Repository("oci", image.full_name)
            if self._registries.resolve(where, image.digest or image.normalized.tag or "latest"):
                return None
        except InvalidReference as error:
            return Finding("invalid-image", str(error), object=str(ref))
        except (TryAgain, Refused) as error:
            return Finding(error.code, f"{text}: {error.message}", object=str(ref), hint=_NO_ANSWER)
        return Finding(
            "image-not-there",
            f"{text}: {where} has it not",
            object=str(ref),
            hint="push it again, or name the place that it was copied to with --image-registry",
        )


def _raise(place: str, findings: list[Finding]) -> None:
    missing = [each for each in findings if each.rule in ("image-not-there", "invalid-image")]
    if missing:
        raise ImagesRefused(
            f"{place}: {_images_are(missing)} not there: {missing[0].message}",
            hint=missing[0].hint,
            findings=findings,
        )
    if findings:
        raise CouldNotCheck(
            f"{place}: {_images_are(findings)} not known to be there: {findings[0].message}",
            hint=_NO_ANSWER,
            findings=findings,
        )


def _images_are(findings: list[Finding]) -> str:
    return "1 image is" if len(findings) == 1 else f"{len(findings)} images are"


def _images(plan: Plan) -> Mapping[str, ObjectRef]:
    """Image → an object that would run it."""
    return {
        use.image: change.ref
        for change in _touched(plan)
        for use in images_in(change.desired or {})
    }


def _touched(plan: Plan) -> Iterator[Change]:
    return (each for each in plan.changes if each.action in ("created", "configured"))


# --- pull secrets -------------------------------------------------------------------------------


def pull_secrets(plan: Plan, to: ObjectReader) -> tuple[Finding, ...]:
    """Findings for the pull secrets that the plan's pods name and nobody has or brings."""
    wanted = _wanted_secrets(plan)
    open_ = {ref: wanted[ref] for ref in sorted(wanted.keys() - _brought(plan, wanted))}
    try:
        live = to.live(dict.fromkeys(open_, "v1")) if open_ else {}
    except PermissionRefused as error:
        return tuple(
            Finding("unknown-pull-secret", f"{ref}: {error.message}", "warning", object=str(by))
            for ref, by in open_.items()
        )
    return tuple(
        Finding(
            "missing-pull-secret",
            f"{ref} is not there, and does not come with the release",
            object=str(by),
            hint="create it, with the credentials of the registry, or correct imagePullSecrets",
        )
        for ref, by in open_.items()
        if ref not in live
    )


def _wanted_secrets(plan: Plan) -> Mapping[ObjectRef, ObjectRef]:
    """Pull secret → a workload, or its account, that names it."""
    accounts = {
        (change.ref.namespace, change.ref.name): change
        for change in plan.changes
        if change.ref.kind == "ServiceAccount" and change.desired is not None
    }
    wanted = {}
    for change in _touched(plan):
        found = pod_spec(change.desired or {})
        spec = found[1] if found else {}
        account = accounts.get((change.ref.namespace, str(spec.get("serviceAccountName"))))
        for by, names in ((change, spec), (account, account.desired if account else {})):
            for name in _named(names):
                if by:
                    wanted[ObjectRef(*_SECRET, change.ref.namespace, name)] = by.ref
    return wanted


def declared_pull_secrets(objects: Iterable[KubernetesObject]) -> frozenset[ObjectRef]:
    """All that objects name, their pods or accounts."""
    found = set()
    for obj in objects:
        ref, pods = ObjectRef.of(obj), pod_spec(obj)
        for named in (pods[1] if pods else {}, obj if ref.kind == "ServiceAccount" else {}):
            found |= {ObjectRef(*_SECRET, ref.namespace, name) for name in _named(named)}
    return frozenset(found)


def _named(value: Any) -> Iterator[str]:
    listed = value.get("imagePullSecrets")
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("name"), str) and each["name"]:
            yield each["name"]


def _brought(plan: Plan, wanted: Iterable[ObjectRef]) -> set[ObjectRef]:
    """Those that come with the release, or that one of its custom resources may bring."""
    objects = [change.desired for change in plan.changes if change.desired is not None]
    refs = {ObjectRef.of(obj) for obj in objects}
    texts = {text for obj in objects if _is_custom(obj) for _, text in texts_in(obj)}
    return {ref for ref in wanted if ref in refs or ref.name in texts}


def _is_custom(obj: KubernetesObject) -> bool:
    return split_api_version(str(obj.get("apiVersion")))[0] not in BUILT_IN_GROUPS
