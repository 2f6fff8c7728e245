"""Concludes from the image strings of manifests where the services' images lie."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bundler.draft.parts import Check, listed
from bundler.model.reference import ImageReference, InvalidReference

PLACEHOLDER_HOST = "registry.example.com"


@dataclass(frozen=True)
class DraftedImages:
    registry: str
    image: Mapping[str, str]
    """Service → its image, where it is not `<registry>/<name>`."""
    names: Mapping[str, tuple[str, ...]]
    """Service → further names of its image in manifests."""
    external: tuple[str, ...]
    service_of: Mapping[str, str]
    """Image name → the service that it means."""
    checks: tuple[Check, ...]


def parsed(image: str) -> ImageReference | None:
    try:
        return ImageReference.parse(image)
    except InvalidReference:
        return None


def draft_images(
    images: Iterable[str], services: Sequence[str], project: str, registry: str | None
) -> DraftedImages:
    """`registry` is the one that was asked for; else the manifests tell, or it is a placeholder."""
    checks: list[Check] = []
    references = {image: parsed(image) for image in sorted(set(images))}
    if odd := [image for image, reference in references.items() if reference is None]:
        checks.append(Check("", "", f"what these image strings mean: {listed(odd)}"))
    found = [reference for reference in references.values() if reference]
    service_of = _owners({reference.name for reference in found}, services, project, checks)
    spelled = _spellings(service_of)
    told = registry or _common_prefix(spelled, checks)
    if told is None:
        told = f"{PLACEHOLDER_HOST}/{project}"
        checks.append(Check("", "", f"images.registry: {told} is a placeholder"))
    image = {} if registry else _images(spelled, told)
    others = {str(ref): ref.name for ref in found if ref.name not in service_of}
    own = sorted(text for text, name in others.items() if name.startswith(f"{told}/"))
    external = sorted(others.keys() - set(own))
    checks += _checks_of(external, own)
    return DraftedImages(
        told, image, _names(spelled, image, told), tuple(external), service_of, tuple(checks)
    )


def _owners(
    names: Iterable[str], services: Sequence[str], project: str, checks: list[Check]
) -> dict[str, str]:
    """Image name → service: by its last part, else by a spelling that can mean one service."""
    names = sorted(names)
    owners = {name: last for name in names if (last := _last(name)) in services}
    lonely = set(services) - set(owners.values())
    for name in names:
        meant = [s for s in lonely if _stem(s, project) == _stem(_last(name), project)]
        if name not in owners and len(meant) == 1:
            owners[name] = meant[0]
            checks.append(Check("service", meant[0], f"whether the image {name} is its own"))
    return owners


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str, project: str) -> str:
    """`cart` of `shop-cart`, `cart-service` and `cartservice`."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    short = plain.removeprefix(re.sub(r"[^a-z0-9]", "", project))
    short = re.sub(r"(?:service|svc|image)$", "", short)
    return short or plain


def _spellings(service_of: Mapping[str, str]) -> dict[str, list[str]]:
    spelled: dict[str, list[str]] = defaultdict(list)
    for name, service in sorted(service_of.items()):
        spelled[service].append(name)
    return dict(sorted(spelled.items()))


def _common_prefix(spelled: Mapping[str, list[str]], checks: list[Check]) -> str | None:
    """What stands before the names of most services' images; None where there is no such."""
    prefixes = Counter(
        prefix for names in spelled.values() for prefix in {n.rpartition("/")[0] for n in names}
    )
    del prefixes[""]
    if not prefixes:
        return None
    (first, count), *_ = prefixes.most_common(1)
    if 2 * count > prefixes.total():
        return first
    checks.append(Check("", "", f"the manifests name several registries: {listed(list(prefixes))}"))
    return None


def _images(spelled: Mapping[str, list[str]], registry: str) -> dict[str, str]:
    """The full names of images that do not lie at `<registry>/<service>`."""
    images = {}
    for service, names in spelled.items():
        full = [name for name in names if "/" in name]
        below = [name for name in full if name.startswith(f"{registry}/")]
        expected = f"{registry}/{service}"
        if full and expected not in full:
            images[service] = (below or full)[0]
    return images


def _names(
    spelled: Mapping[str, list[str]], image: Mapping[str, str], registry: str
) -> dict[str, tuple[str, ...]]:
    further = {
        service: tuple(
            name
            for name in names
            if name not in (service, image.get(service, f"{registry}/{service}"))
        )
        for service, names in spelled.items()
    }
    return {service: names for service, names in further.items() if names}


def _checks_of(external: Sequence[str], own: Sequence[str]) -> Iterable[Check]:
    if own:
        message = f"which services these images of yours are, as no Dockerfile is: {listed(own)}"
        yield Check("", "", f"{message}: their paths, a submodule, or a repository of their own")
    moving = [image for image in external if _moves(image)]
    if moving:
        message = f"third-party images without a fixed tag change under a release: {listed(moving)}"
        yield Check("", "", message)


def _moves(image: str) -> bool:
    reference = ImageReference.parse(image)
    return reference.digest is None and reference.tag in (None, "latest")
