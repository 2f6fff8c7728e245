"""What git's own words mean: which error, and what to do next."""

from __future__ import annotations

import re

from bundler.errors import (
    AccessRefused,
    BundlerError,
    CouldNotCheck,
    SourceInvalid,
    ToolMissing,
    Unreachable,
)

_CREDENTIALS = re.compile(
    r"could not read (?:Username|Password)|terminal prompts disabled|Authentication failed"
    r"|Permission denied|Host key verification failed|returned error: (?:401|403|407)"
    r"|HTTP Basic: Access denied|Access denied(?! or repository not exported)|not authorized",
    re.IGNORECASE,
)
_NO_REPOSITORY = re.compile(
    r"does not appear to be a git repository|repository '.*' not found|returned error: 404"
    r"|Repository not found|access denied or repository not exported|does not exist"
    r"|project you were looking for could not be found",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"Could not resolve|Failed to connect|Couldn't connect|Connection (?:refused|timed out|reset"
    r"|closed)|unable to (?:connect|look up)|No route to host|Network is unreachable|timed out"
    r"|returned error: (?:429|5\d\d)|hung up unexpectedly|early EOF|SSL|TLS|certificate"
    r"|transfer closed|Empty reply",
    re.IGNORECASE,
)
_FROM_REMOTE = re.compile(
    r"promisor remote|Could not read from remote repository|unable to access '|from remote"
)
_PREFIX = re.compile(r"(?:fatal|error|remote): ")
_USERINFO = re.compile(r"(?<=://)[^/\s']*@")


def git_missing() -> ToolMissing:
    return ToolMissing("git is not installed", hint="install git 2.30 or newer")


def without_userinfo(text: str) -> str:
    """A text without the user and password of any URL in it."""
    return _USERINFO.sub("", text)


def failure_of(action: str, words: bytes) -> BundlerError:
    """The error of a command on a repository here, which in a partial clone may ask elsewhere."""
    told = without_userinfo(words.decode(errors="replace").strip()) or "failed without a word"
    if not _FROM_REMOTE.search(told):
        return SourceInvalid(f"{action}: {told}")
    lacks = "a partial clone lacks objects, and its remote does not give them"
    if refused := _line(_CREDENTIALS, told):
        hint = "log in to the remote, then run it again"
        return AccessRefused(f"{lacks}: {refused}", hint=hint)
    return Unreachable(
        f"{lacks}: {_line(_NO_REPOSITORY, told) or _line(_NO_ANSWER, told) or _first(told)}",
        hint="run it again when the remote answers, or in a clone without --filter",
    )


def remote_failure(url: str, words: str) -> BundlerError:
    """The error of a command that asked another repository."""
    shown, told = without_userinfo(url), without_userinfo(words)
    if refused := _line(_CREDENTIALS, told):
        return AccessRefused(
            f"{shown} asks for credentials that git has not: {refused}",
            hint="give git a credential helper or an ssh key that may read it; "
            "servers say the same of a repository that does not exist",
        )
    if absent := _line(_NO_REPOSITORY, told):
        return SourceInvalid(
            f"{shown} is no repository: {absent}",
            hint="correct the service's `repository` in bundler.yaml",
        )
    if silent := _line(_NO_ANSWER, told):
        return Unreachable(f"{shown} does not answer: {silent}", hint="run it again later")
    return CouldNotCheck(f"{shown} could not be asked: {_first(told)}")


def _line(meaning: re.Pattern[str], words: str) -> str | None:
    """The first line that has a meaning, without git's prefix."""
    found = next((line for line in words.splitlines() if meaning.search(line)), None)
    return _PREFIX.sub("", found.strip()) if found else None


def _first(words: str) -> str:
    """Git's first complaint."""
    lines = [line for line in words.splitlines() if _PREFIX.match(line)]
    chosen = (lines or words.split("\n") or [""])[0]
    return _PREFIX.sub("", chosen.strip()) or "it failed without a word"
