"""`python -m bundler`, and what the installed commands start."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    # Until the program is loaded, ctrl-C just ends it: there is nothing to undo or to tell.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Loading makes many objects and no garbage; a short run hardly makes any.
    gc.set_threshold(100_000, 50, 50)
    from bundler.cli import main as run_program

    run_program()


if __name__ == "__main__":
    main()
