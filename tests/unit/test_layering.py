"""The layers of docs/architecture.md, checked on the source itself."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bundler"
PURE_STANDARD_LIBRARY = set(sys.stdlib_module_names) - {
    "asyncio", "builtins", "ctypes", "glob", "http", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "socketserver", "ssl", "subprocess", "sys", "tempfile", "time", "urllib", "uuid",
}  # fmt: skip
SHARED = {
    "bundler.errors",
    "bundler.ports",
    "bundler.archives",
    "bundler.manifests",
    "bundler.yaml_scalars",
    "bundler.parallel",
    "bundler.bundles",
}
ALLOWED = {
    "model": {"bundler.model"},
    "errors": {"bundler.model"},
    "ports": {"bundler.model", "bundler.ports"},
    "archives": {"bundler.model"},
    "manifests": {"bundler.model", "yaml"},
    "yaml_scalars": {"bundler.model", "yaml"},
    "parallel": set(),
    "bundles": {"bundler.model", *(SHARED - {"bundler.bundles"})},
    "publish": {"bundler.model", *SHARED, "bundler.publish"},
    "deploy": {"bundler.model", *SHARED, "bundler.deploy"},
    "develop": {"bundler.model", *SHARED, "bundler.develop"},
    "draft": {"bundler.model", *SHARED, "bundler.draft"},
    "relocate": {"bundler.model", *SHARED, "bundler.relocate"},
}
NEEDED_FILES = {"ports": {"pathlib"}}
"""PurePath in a signature opens no file."""


def modules() -> Iterator[Path]:
    yield from sorted(SOURCE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "bundler":
                yield from (f"bundler.{alias.name}" for alias in node.names)


def is_allowed(name: str, path: Path) -> bool:
    own = layer(path)
    if name in ("__future__", "bundler"):
        return True
    if name.partition(".")[0] in sys.stdlib_module_names:
        pure = PURE_STANDARD_LIBRARY | NEEDED_FILES.get(own, set())
        if own in ("publish", "deploy", "develop", "draft", "relocate") and name == "pathlib":
            return pure_paths_only(path)
        return name.partition(".")[0] in pure
    return any(name == prefix or name.startswith(prefix + ".") for prefix in ALLOWED[own])


def pure_paths_only(path: Path) -> bool:
    """Paths as names are values; a `Path` could open files."""
    return all(
        alias.name in ("PurePath", "PurePosixPath")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "pathlib"
        for alias in node.names
    )


def test_every_layer_imports_only_what_it_may() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in modules()
        if layer(path) in ALLOWED
        for name in imports(path)
        if not is_allowed(name, path)
    ]
    assert not wrong


def test_adapters_do_not_know_the_flows_or_the_commands() -> None:
    forbidden = (
        "bundler.cli", "bundler.publish", "bundler.deploy", "bundler.develop", "bundler.relocate",
        "typer", "click",
    )  # fmt: skip
    wrong = [
        f"{path.name} imports {name}"
        for path in modules()
        if layer(path) == "adapters"
        for name in imports(path)
        if name.startswith(forbidden)
    ]
    assert not wrong


def test_commands_reach_adapters_through_the_wiring_only() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in modules()
        if layer(path) == "cli" and not path.stem.startswith("wiring")
        for name in imports(path)
        if name.startswith("bundler.adapters")
    ]
    assert not wrong


def calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, node.lineno
            elif isinstance(node.func, ast.Name):
                yield node.func.id, node.lineno


@pytest.mark.parametrize(
    ("method", "home"),
    [
        ("write_revision", "record.py"),
        ("write_inventory", "record.py"),
        ("drop_revision", "record.py"),
        ("drop_inventory", "record.py"),
        ("apply", "apply.py"),
        ("delete", "apply.py"),
    ],
)
def test_one_module_changes_objects_and_one_writes_the_record(method: str, home: str) -> None:
    wrong = [
        f"{path.name}:{line}"
        for path in modules()
        if layer(path) == "deploy" and path.name != home
        for name, line in calls(path)
        if name == method
    ]
    assert not wrong


def test_only_the_commands_print() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in modules()
        if layer(path) != "cli"
        for name, line in calls(path)
        if name == "print"
    ]
    assert not wrong


def test_names_say_what_a_thing_is() -> None:
    vague = {
        "manager", "helper", "helpers", "util", "utils", "common", "context", "data", "info",
        "handler", "processor", "engine",
    }  # fmt: skip
    assert not [path.name for path in modules() if vague & set(path.stem.split("_"))]
