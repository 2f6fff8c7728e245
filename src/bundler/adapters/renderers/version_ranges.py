"""Version ranges as charts write them for their dependencies: `^1.2`, `~1.2.3`, `>=1 <3 || 5.x`.

The grammar is that of github.com/Masterminds/semver, which helm uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bundler.model.release import SemVer

_PART = r"(?:[0-9]+|[xX*])"
_NUMBERS = rf"v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?"
_VERSION = rf"{_NUMBERS}(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_COMPARISON = re.compile(rf"\s*(=|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*{_VERSION}\s*,?\s*")
_HYPHEN = re.compile(rf"\s*({_VERSION})\s+-\s+({_VERSION})\s*")

_Test = Callable[[SemVer], bool]


class InvalidRange(ValueError):
    """Text that is no range of versions."""


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is in a range; an empty range has all. Raises InvalidRange."""
    found = _exact(version)
    if found is None:
        raise InvalidRange(f"{version!r} is no version")
    alternatives = [_tests(each) for each in wanted.split("||")] if wanted.strip() else [[]]
    return any(all(test(found) for test in tests) for tests in alternatives)


def _exact(text: str) -> SemVer | None:
    """A version, of which trailing numbers may be missing."""
    match = re.fullmatch(_VERSION, text.strip())
    return None if match is None or _precision(match) < _given(match) else _lowest(match)


def _tests(text: str) -> list[_Test]:
    text = _HYPHEN.sub(lambda match: f">={match[1]} <={match[6]}", text)
    tests: list[_Test] = []
    position = 0
    while position < len(text):
        match = _COMPARISON.match(text, position)
        if match is None or match.end() == position:
            raise InvalidRange(f"{text.strip()!r} is no range of versions")
        tests.append(_test(match[1] or "", re.fullmatch(_VERSION, _operand(match)) or match))
        position = match.end()
    return tests


def _operand(match: re.Match[str]) -> str:
    return match[0].strip(" \t,").lstrip("=!<>~^ \t")


def _given(match: re.Match[str]) -> int:
    return sum(match[group] is not None for group in (1, 2, 3))


def _precision(match: re.Match[str]) -> int:
    """How many of the three numbers are fixed."""
    numbers = [match[group] for group in (1, 2, 3)]
    return next((i for i, n in enumerate(numbers) if n is None or not n.isdecimal()), 3)


def _lowest(match: re.Match[str]) -> SemVer:
    fixed = [int(match[group]) for group in (1, 2, 3)[: _precision(match)]]
    major, minor, patch = (*fixed, 0, 0, 0)[:3]
    return SemVer((major, minor, patch), tuple(match[4].split(".")) if match[4] else ())


def _bumped(version: SemVer, place: int) -> SemVer:
    """The next version when the number at a place is raised."""
    core = [*version.core[:place], version.core[place] + 1, 0, 0, 0][:3]
    return SemVer((core[0], core[1], core[2]))


def _test(operator: str, match: re.Match[str]) -> _Test:
    """Whether a version passes one comparison."""
    low, precision = _lowest(match), _precision(match)
    if precision == 0:
        return lambda found: not found.pre
    behind = _bumped(low, precision - 1)
    """The first version that a partial one such as `1.2` does not mean."""

    def inside(end: SemVer) -> _Test:
        return lambda found: low <= found < end

    tests: dict[str, _Test] = {
        "": (lambda found: found == low) if precision == 3 else inside(behind),
        "!=": (lambda found: found != low) if precision == 3 else (lambda f: not inside(behind)(f)),
        ">": (lambda found: found > low) if precision == 3 else (lambda found: found >= behind),
        ">=": lambda found: found >= low,
        "<": lambda found: found < low,
        "<=": (lambda found: found <= low) if precision == 3 else (lambda found: found < behind),
        "~": inside(_bumped(low, min(precision - 1, 1))),
        "^": inside(_bumped(low, _leftmost(low, precision))),
    }
    same = {"=": "", "=>": ">=", "=<": "<=", "~>": "~"}
    passes = tests[same.get(operator, operator)]
    # A pre-release is meant only where the range has one itself.
    return lambda found: (bool(low.pre) or not found.pre) and passes(found)


def _leftmost(version: SemVer, precision: int) -> int:
    """The place of the first number that is not 0, or of the last one that is given."""
    places = range(precision)
    return next((place for place in places if version.core[place]), precision - 1)
