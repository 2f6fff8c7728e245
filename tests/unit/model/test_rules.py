"""The catalogue has every rule that the source tells of, and its page shows the catalogue."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler import errors
from bundler.errors import BundlerError
from bundler.model.project import Environment, Policy
from bundler.model.rules import CHANGEABLE, RULES, Rule

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "bundler"
KEBAB = re.compile(r"[a-z]+(-[a-z]+)+")
NO_RULES = {
    "last-change",
    "first-parent",
    "tag-commit",
    "identical-tree",
    "latest-label",
    "import-values",
}
"""Words of the same form in calls and tuples of modules with findings."""


def told_rules() -> Iterator[tuple[str, str]]:
    """(place, rule): what a finding is made with, directly or by way of a tuple or a function."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "Finding" not in text and "report(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            for rule, is_sure in _rules_of(node):
                if is_sure or (KEBAB.fullmatch(rule) and rule not in NO_RULES):
                    yield f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}", rule


def _rules_of(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """(text, whether it is surely a rule)."""
    if isinstance(node, ast.Call):
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        is_finding = name in ("Finding", "finding", "_report", "report")
        for index, argument in enumerate(node.args[:2]):
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, is_finding and index == 0
    elif isinstance(node, ast.Tuple) and node.elts:
        first = node.elts[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value, False
    elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("RULE"):
        yield str(ast.literal_eval(node.value)), True


def test_no_finding_has_a_rule_outside_of_the_catalogue() -> None:
    unknown = sorted(f"{rule} ({place})" for place, rule in told_rules() if rule not in RULES)
    assert unknown == []


def test_every_rule_of_the_catalogue_is_told_somewhere() -> None:
    """Also in modules that only pass it on."""
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "rules.py")
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


def codes(of: type[BundlerError] = BundlerError) -> Iterator[str]:
    yield of.code
    for each in of.__subclasses__():
        yield from codes(each)


def test_no_rule_has_the_name_of_an_errors_code_but_means_something_else() -> None:
    assert errors.__doc__
    assert set(codes()) & set(RULES) <= {
        "failed",
        "migration-barrier",
        "not-ready",
        "version-exists",
    }


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_is_named_and_told_in_a_line(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert RULES[rule.name] is rule
    assert 10 < len(rule.says) <= 100
    assert "\n" not in rule.says
    assert not rule.says.endswith(".")


def environment(*, protected: bool, **rules: Policy) -> Environment:
    given = {name.replace("_", "-"): policy for name, policy in rules.items()}
    return Environment("stage", (), protected, rules=given)


def test_a_project_changes_how_grave_a_rule_is_unless_it_is_fixed() -> None:
    rule, fixed = RULES["plain-secret"], RULES["no-object"]
    assert rule.severity(environment(protected=False)) == "error"
    assert rule.severity(environment(protected=True, plain_secret="ignore")) == "ignore"
    assert fixed.severity(environment(protected=False, no_object="ignore")) == "error"


def test_advice_is_told_where_an_environment_is_protected() -> None:
    rule = RULES["missing-requests"]
    assert rule.severity(environment(protected=True)) == "warning"
    assert rule.severity(environment(protected=False)) == "ignore"


def test_what_a_cluster_would_refuse_cannot_be_ignored() -> None:
    for name in ("schema", "removed-api", "no-object", "duplicate-object", "selector-changed"):
        assert name not in CHANGEABLE


# --- docs/rules.md ------------------------------------------------------------------------------


def rows(stage: str) -> list[str]:
    return [
        f"| `{rule.name}` | {rule.says} | {grave(rule)} | {rule.fixed or '**yes**'} |"
        for rule in RULES.values()
        if rule.stage == stage
    ]


def grave(rule: Rule) -> str:
    if rule.otherwise == rule.protected:
        return rule.protected
    return f"{rule.protected}; {rule.otherwise} where nothing is protected"


@pytest.mark.parametrize("stage", dict.fromkeys(rule.stage for rule in RULES.values()))
def test_the_page_of_rules_shows_the_catalogue(stage: str) -> None:
    """Each stage's table stands below `<!-- stage -->`."""
    page = (ROOT / "docs" / "rules.md").read_text()
    table = page.partition(f"<!-- {stage} -->\n")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == rows(stage)
