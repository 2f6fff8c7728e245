"""docs/requirements.md: the statements that the product makes true, and the tests that show it.

The statements stand in the table of the file itself; the tests carry marks such as
`@pytest.mark.requirement("B-41")`, which are read from their source. `--write` brings the column
of tests up to date; without it, the exit code says whether it is.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "requirements.md"
_ROW = re.compile(r"\| (?P<id>[A-E]-\d+) \| (?P<statement>[^|]*?) \|(?:(?P<tests>[^|]*)\|)?$")


def marked_tests(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Requirement id → `file::test` of every test that is marked with it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                for identifier in _marks(node):
                    found[identifier].append(f"{path.relative_to(ROOT)}::{node.name}")
    return dict(found)


def _marks(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    return [
        argument.value
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == "requirement"
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def delivered(text: str) -> dict[str, str]:
    """Requirement id → statement, of the document's table."""
    rows = (_ROW.match(line) for line in text.splitlines())
    return {row["id"]: row["statement"] for row in rows if row}


def updated(text: str, tests: dict[str, list[str]]) -> str:
    """The document with its column of tests made anew."""

    def line(text: str) -> str:
        row = _ROW.match(text)
        if not row:
            return text
        shown = "<br>".join(f"`{test}`" for test in tests.get(row["id"], []))
        return f"| {row['id']} | {row['statement']} | {shown} |"

    return "\n".join(map(line, text.splitlines())) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = DOCUMENT.read_text()
    wanted = updated(text, marked_tests())
    if arguments.write:
        DOCUMENT.write_text(wanted)
    elif text != wanted:
        print("docs/requirements.md is out of date: make requirements", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
