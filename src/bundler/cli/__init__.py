"""The commands: parse, wire, one call, print.

Every error ends here: as text or as a value, with its exit code, never as a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from itertools import pairwise
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from bundler import __version__
from bundler.cli import output
from bundler.cli.panels import Command
from bundler.errors import BundlerError, Interrupted, UsageError

INTERRUPTED = Interrupted.exit_code
TERMINATED = 143
_UNWINDING_SECONDS = 4.0
"""How long an interrupted command has to release its lock and to record how it ended."""

COMMANDS = {
    "init": "A first bundler.yaml, from what the repository holds.",
    "affected": "What a push must build.",
    "resolve": "Which image each service of a release has, and why.",
    "render": "What a release would install, as YAML.",
    "explain": "Where a value of a target comes from.",
    "who-uses": "What refers to a ConfigMap or Secret.",
    "validate": "Whether a release would be accepted; every finding.",
    "publish": "From a release tag to a version in the deploy registry.",
    "list": "What is published.",
    "inspect": "What a published release is made of.",
    "pull": "A published release as files.",
    "copy": "A published release, and its images, to another registry.",
    "save": "A published release, and its images, as one file.",
    "load": "What was saved, into a registry.",
    "plan": "What an apply would change, field by field.",
    "apply": "Install a published release into an environment.",
    "rollback": "An earlier release again, as a new revision.",
    "uninstall": "Delete what was installed.",
    "role": "The roles that are enough to apply a release.",
    "drift": "What was changed in a target since its release was applied.",
    "status": "What runs in a target, since when, and whether it is still so.",
    "history": "What ran in a target; which releases a repository has.",
}
"""Name, which is its module's too, and what it is for, in the order of `--help`."""


def program(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The program with some of its commands: loading all of them takes longer than most run."""
    app = typer.Typer(
        name="bundler",
        help="From a git tag to a running release: resolve, pin, render, validate, publish, apply.",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        callback=_program,
    )
    for name in names:
        module_name = name.replace("-", "_")
        module = import_module(f"bundler.cli.{module_name}")
        function = getattr(module, module_name, None) or getattr(module, f"{module_name}_")
        app.command(name, cls=Command, short_help=COMMANDS[name])(function)
    return app


class Terminated(SystemExit):
    """SIGTERM: unwinds like an interruption from the keyboard, so that locks are released."""


def _print_version(wanted: bool) -> None:
    if wanted:
        output.write(f"bundler {__version__}\n")
        raise typer.Exit


def _program(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Only carries the options of the program itself."""


def main() -> NoReturn:
    """Run a command and end the process with its exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)
    output.open_streams()
    code = run(sys.argv[1:])
    # All is told and released; what may be left are threads with requests that nobody waits for.
    output.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:  # noqa: PLR0911  one line for each way to end
    """Run a command; the exit code of docs/results.md."""
    try:
        wanted = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
        code = program(wanted)(arguments or ["--help"], standalone_mode=False)
        if code == INTERRUPTED:  # typer's answer to an interruption from the keyboard
            return _interrupted(INTERRUPTED)
        return code if isinstance(code, int) else 0
    except BundlerError as error:
        output.show_error(error)
        return error.exit_code
    except TyperException as error:
        return _usage(error, arguments)
    except Terminated:
        return _interrupted(TERMINATED)
    except (KeyboardInterrupt, Abort):
        return _interrupted(INTERRUPTED)
    except OSError as error:
        return _system(error)
    except Exception as error:  # the one last catch
        return _internal(error)


def _interrupted(code: int) -> int:
    hint = "run the same command again: it goes on from what stands there"
    output.show_error(Interrupted("interrupted", hint=hint))
    return code


def _usage(error: TyperException, arguments: list[str]) -> int:
    output.FORMAT.set(_format_asked_for(arguments))
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help shows what it takes" if context else None
    words = error.format_message().replace("Value error, ", "")  # pydantic's, below typer
    output.show_error(UsageError(words, hint=hint))
    return UsageError.exit_code


def _format_asked_for(arguments: list[str]) -> output.Format:
    """The output format of a command line that could not be parsed as a whole."""
    asked = os.environ.get("BUNDLER_OUTPUT", "")
    for option, value in pairwise([*arguments, ""]):
        if option in ("-o", "--output"):
            asked = value
        elif option.startswith(("-o", "--output=")):
            asked = option.removeprefix("--output=").removeprefix("-o")
    return output.Format(asked) if asked in set(output.Format) else output.Format.text


def _system(error: OSError) -> int:
    """What no adapter has told: temporary files on a full disk, a folder that is gone, ..."""
    if os.environ.get("BUNDLER_DEBUG"):
        traceback.print_exc()
    words = (error.strerror or str(error)).lower()
    where = f"{error.filename}: " if error.filename else ""
    hint = "check the current folder, $TMPDIR, their permissions and the free space"
    output.show_error(BundlerError(f"{where}{words}", hint=hint))
    return BundlerError.exit_code


def _internal(error: Exception) -> int:
    if os.environ.get("BUNDLER_DEBUG"):
        traceback.print_exc()
    output.show_error(
        BundlerError(
            f"internal error: {type(error).__name__}",
            hint="this is a mistake in bundler; BUNDLER_DEBUG=1 shows where",
        )
    )
    return BundlerError.exit_code


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    _end_soon(INTERRUPTED)
    raise KeyboardInterrupt


def _terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    _end_soon(TERMINATED)
    raise Terminated


def _end_soon(code: int) -> None:
    """Do not let servers that do not answer keep us: whoever interrupts us will not wait long."""

    def end(_signum: int, _frame: FrameType | None) -> NoReturn:
        _interrupted(code)
        output.flush()
        os._exit(code)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, _UNWINDING_SECONDS)
