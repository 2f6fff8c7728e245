"""The rules on rendered objects, and how grave a project says that findings are.

Each rule is a pure function of a `Scope`. `check` says what they find; `by_policy` comes last,
after rendering and validation have said everything, and decides what is an error (docs/rules.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bundler.model.bundle import RenderedBundle
from bundler.model.finding import Finding
from bundler.model.objects import KubernetesObject
from bundler.model.project import Environment
from bundler.model.rules import RULES
from bundler.publish.rules.availability import downtime, no_readiness_probe
from bundler.publish.rules.scope import Scope
from bundler.publish.rules.secrets import plain_secret, secret_in_clear
from bundler.publish.rules.stability import (
    label_in_selector,
    missing_requests,
    replicas_under_hpa,
    selector_changed,
)
from bundler.publish.rules.versions import keep_versions

_CHECKS: Mapping[Callable[[Scope], Iterator[Finding]], tuple[str, ...]] = {
    plain_secret: ("plain-secret",),
    secret_in_clear: ("secret-in-clear", "placeholder-secret"),
    no_readiness_probe: ("no-readiness-probe",),
    downtime: ("downtime",),
    missing_requests: ("missing-requests",),
    selector_changed: ("selector-changed",),
    label_in_selector: ("label-in-selector",),
    replicas_under_hpa: ("replicas-under-hpa",),
    keep_versions: ("keep-versions",),
}
"""Check → the rules that it tells of."""

CHECKED = frozenset(rule for rules in _CHECKS.values() for rule in rules)

Former = Mapping[str, Sequence[KubernetesObject]]
"""`environment/target` → its objects in the release before."""


def check(rendered: RenderedBundle, former: Former | None = None) -> tuple[Finding, ...]:
    """All that the rules find in the objects of all targets; what an environment ignores is not
    looked for."""
    services = {str(image.reference): name for name, image in rendered.lock.services.items()}
    return tuple(
        finding
        for target in rendered.targets
        for finding in _check_target(Scope(target, services, (former or {}).get(target.place, ())))
    )


def _check_target(scope: Scope) -> Iterator[Finding]:
    environment = scope.target.environment
    for find, rules in _CHECKS.items():
        if any(RULES[rule].severity(environment) != "ignore" for rule in rules):
            yield from find(scope)


def by_policy(
    findings: Iterable[Finding], environments: Mapping[str, Environment]
) -> tuple[Finding, ...]:
    """The findings as grave as their environments say; those that are ignored are left out.

    A rule that may not be changed, one that the catalogue has not (an error's code), and a finding
    of no environment stay as they are.
    """
    return tuple(
        judged for finding in findings if (judged := _judged(finding, environments)) is not None
    )


def _judged(finding: Finding, environments: Mapping[str, Environment]) -> Finding | None:
    environment = environments.get((finding.environment or "").partition("/")[0])
    rule = RULES.get(finding.rule)
    if environment is None or rule is None or rule.fixed:
        return finding
    severity = rule.severity(environment)
    return None if severity == "ignore" else replace(finding, severity=severity)
