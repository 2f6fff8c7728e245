"""How `--help` groups the options of commands that have many."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

PANELS = {
    "Connection": (
        "--context", "--kubeconfig", "--directory", "--targets", "--cluster", "--state-namespace",
        "--namespace",
    ),
    "What may happen": (
        "--on-failure", "--past-migrations", "--allow-downgrade", "--take-over", "--recreate",
        "--no-prune", "--max-deletions", "--delete", "--no-image-check",
    ),
    "Waiting": ("--timeout", "--stall-timeout", "--patience", "--lock-timeout"),
    "Several targets": ("--at-once", "--canary", "--keep-going"),
    "Telling others": ("--events", "--webhooks", "--metrics"),
}  # fmt: skip
_PANEL_OF = {flag: panel for panel, flags in PANELS.items() for flag in flags}


class Command(TyperCommand):
    """Shows its arguments, its own options, then those of each panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {
            panel: [] for panel in ("Arguments", "Options", *PANELS)
        }
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels[_panel(parameter)].append(record)
        for panel, records in panels.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return next((_PANEL_OF[flag] for flag in parameter.opts if flag in _PANEL_OF), "Options")
