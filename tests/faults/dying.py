"""`bundler`, killed at a rename: `python dying.py MOMENT ARGUMENTS`.

Moments 0, 2, 4 are just before the first, second, third rename or link; 1, 3, 5 just after them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any


def die_at(moment: int) -> None:
    moments = count()  # its next() is atomic

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            first = next(moments) * 2
            if first == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **named)
            if first + 1 == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in ("replace", "rename", "link"):
        setattr(os, name, dying(getattr(os, name)))


if __name__ == "__main__":
    die_at(int(sys.argv.pop(1)))
    from bundler.__main__ import main

    main()
