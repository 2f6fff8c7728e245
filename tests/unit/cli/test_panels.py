"""The help of commands with many options shows them in panels."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from bundler.cli import program
from bundler.cli.panels import PANELS


def told(command: str) -> dict[str, list[str]]:
    """Panel → its flags, as `--help` shows them."""
    shown = CliRunner().invoke(program(), [command, "--help"], color=False).stdout
    panels: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            panels[line.removesuffix(":")] = []
        elif line.startswith("  -") and panels:
            [*_, last] = panels.values()
            last += [word.rstrip(",") for word in line.split() if word.startswith("--")]
    return panels


def test_an_apply_shows_each_option_in_its_panel() -> None:
    panels = told("apply")
    assert list(panels) == ["Arguments", "Options", *PANELS]
    assert panels["Waiting"] == ["--timeout", "--stall-timeout", "--patience", "--lock-timeout"]
    assert "--env" in panels["Options"]


@pytest.mark.parametrize(
    ("command", "other"), [("rollback", "apply"), ("uninstall", "rollback"), ("plan", "apply")]
)
def test_what_a_command_lets_happen_is_called_as_in_the_others(command: str, other: str) -> None:
    assert set(told(command)["What may happen"]) <= set(told(other)["What may happen"])


def test_every_flag_of_a_panel_is_one_of_a_command() -> None:
    shown = {flag for command in ("apply", "history") for each in told(command).values()
             for flag in each}  # fmt: skip
    assert {flag for flags in PANELS.values() for flag in flags} <= shown
