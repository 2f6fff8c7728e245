"""Which texts look like secrets: known forms of tokens, and values of keys that say so.

Every pattern is bounded and begins where a word does, so that a text of any length is searched in
linear time. What refers to a secret that is elsewhere (`$(NAME)`, `${NAME}`, `{{ … }}`, a file) is
none; what was never filled in (`changeme`) is a placeholder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Found(NamedTuple):
    what: str
    """Such as `a GitHub token`."""
    line: int | None = None
    """In a text of several lines."""
    is_placeholder: bool = False


# --- known forms --------------------------------------------------------------------------------


class _Form(NamedTuple):
    what: str
    marks: tuple[str, ...]
    """One of them is in every such token: looking for it first is cheap."""
    pattern: re.Pattern[str]


def _form(what: str, marks: str, pattern: str) -> _Form:
    return _Form(what, tuple(marks.split("|")), re.compile(rf"(?<![A-Za-z0-9_-]){pattern}"))


_FORMS = (
    _form("an AWS access key", "AKIA|ASIA", r"A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _form(
        "a GitHub token",
        "ghp_|gho_|ghu_|ghs_|ghr_|github_pat_",
        r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
    ),
    _form(
        "a GitLab token",
        "glpat-|gldt-|glrt-|glcbt-|glptt-|glft-|glsoat-|glagent-",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_.-]{20,255}",
    ),
    _form("a Slack token", "xox", r"xox[abceoprs]-(?:[0-9A-Za-z]{1,64}-){0,4}[0-9A-Za-z]{8,255}"),
    _form(
        "a Slack webhook",
        "hooks.slack.com/",
        r"hooks\.slack\.com/services/T[0-9A-Za-z]{6,14}/B[0-9A-Za-z]{6,14}/[0-9A-Za-z]{16,64}",
    ),
    _form("a Google API key", "AIza", r"AIza[0-9A-Za-z_-]{35}"),
    _form("a Stripe key", "_live_", r"[rs]k_live_[0-9A-Za-z]{16,255}"),
    _form("an npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _form("a PyPI token", "pypi-", r"pypi-AgE[A-Za-z0-9_-]{50,255}"),
    _form("a Docker Hub token", "dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{20,64}"),
    _form("a SendGrid key", "SG.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _form("a Vault token", "hvs.", r"hvs\.[A-Za-z0-9_-]{24,255}"),
    _form("an age key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _form("a DigitalOcean token", "dop_v1_", r"dop_v1_[0-9a-f]{64}"),
    _form("an API key", "sk-", r"sk-(?:proj|svcacct|ant-api03|or-v1)-[A-Za-z0-9_-]{32,255}"),
    _form("an Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _form(
        "a JSON Web Token",
        "eyJ",
        r"eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{0,1000}",
    ),
    _form(
        "a private key",
        "PRIVATE KEY",
        r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
        r"[\s\S]{1,200}?[A-Za-z0-9+/=]{32}",
    ),
)
_ANY_MARK = re.compile("|".join(re.escape(mark) for form in _FORMS for mark in form.marks))
_SHORT = 500
"""Up to here one search for all marks is faster than one for each; beyond, it is the other way."""
_URL = re.compile(r"://[^\s:@/'\"<>]{0,100}:([^\s@/?#,'\"]{1,200})@")
_SAMPLE = re.compile(
    r"EXAMPLE|placeholder|change[-_ ]?me|replace[-_ ]?me|your[-_]|x{5}|dummy|redacted",
    re.IGNORECASE,
)


def in_text(text: str) -> Iterator[Found]:
    """What looks like a secret anywhere in a text, kind by kind."""
    if len(text) > _SHORT or _ANY_MARK.search(text):
        for form in _FORMS:
            if any(mark in text for mark in form.marks):
                for match in form.pattern.finditer(text):
                    is_sample = bool(_SAMPLE.search(match[0]))
                    yield Found(form.what, _line(text, match.start()), is_sample)
    if "://" in text and "@" in text:
        for match in _URL.finditer(text):
            if not _refers(match[1]):
                is_placeholder = bool(_PLACEHOLDER.fullmatch(match[1]))
                yield Found("a URL with a password", _line(text, match.start()), is_placeholder)
    if _has_key(text):
        yield from _assigned(text)


def _line(text: str, position: int) -> int | None:
    return text.count("\n", 0, position) + 1 if "\n" in text.strip() else None


# --- keys and values ----------------------------------------------------------------------------

_MARKS = ("pass", "pwd", "token", "secret", "masterauth")
_MARK_OF_KEYS = re.compile(r"(?:api|access|private|auth|encryption|signing)[-_.]?key")
_ASSIGNED = re.compile(
    r"(?<![A-Za-z0-9_.$-])[-_]{0,2}"
    r"(?P<key>(?:[A-Za-z0-9]{1,40}[_.-]{1,2}){0,8}[A-Za-z0-9]{1,60})"
    r"[\"']?[ \t]{0,8}(?:=>|:=|=|:)[ \t]{0,8}"
    r"(?P<value>\"[^\"\n]{0,400}\"|'[^'\n]{0,400}'|[^\s\"'&;,|)\]}]{1,400})"
)
_WORDS = re.compile(r"[A-Z]{1,60}(?![a-z])|[A-Z]?[a-z]{1,60}")
_PASSWORDS = frozenset(
    ["password", "passwd", "passphrase", "pwd", "pass", "requirepass", "masterauth"]
)
_TOKENS = frozenset(["token", "secret", "apikey", "secretkey", "accesskey", "privatekey"])
_OF_KEYS = frozenset(["api", "secret", "access", "private", "auth", "encryption", "signing"])
_REFERENCE = re.compile(
    r"[$%@{(\[]|[~.]{0,2}/|[a-z]:\\|ENC\[|![A-Za-z]|ref\+|arn:|op:|"
    r"(?:file|env|vault|secrets?|sm|ssm|gcpsm|awssm|k8s|bao|projects)[:/]|"
    r"(?:os|process|env|config|settings|secrets|var|local|self|this|args|input)[.\[(]",
    re.IGNORECASE,
)
_NEVER_FILLED = re.compile(
    r"change[-_ ]?(?:me|it|this)|replace[-_ ]?(?:me|it|this|with)|fix[-_ ]?me|fill[-_ ]?(?:me|in)|"
    r"your(?:[-_ ]|pass|token|secret|key)|placeholder|to[-_ ]?do(?![a-z])|insert[-_ ]|\*\*\*|"
    r"x{4}|\.\.\.",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"<[^>]*>|(.)\1{2,}|pass(?:word|wd|phrase)?\d{0,3}|passw0rd|pwd|secret|token|api_?key|"
    r"test(?:ing)?\d{0,3}|foo(?:bar)?|bar|baz|sample|demo|dummy|example|redacted|hidden|tbd|unset|"
    rf".{{0,80}}?(?:{_NEVER_FILLED.pattern}).{{0,400}}",
    re.IGNORECASE,
)
_NO_VALUE = frozenset([
    "true", "false", "yes", "no", "on", "off", "null", "nil", "none", "~", "enabled", "disabled",
    "required", "optional", "empty", "undefined", "default", "string", "str", "text", "basic",
    "bearer", "jwt", "oauth", "oauth2", "oidc", "ldap", "env", "file", "vault", "always",
    "never", "|", ">", "|-", ">-", "md5", "sha1", "sha256", "sha512", "bcrypt", "scrypt",
    "argon2", "argon2id",
])  # fmt: skip
_FILE = re.compile(
    r"[\w./-]{1,200}\.(?:txt|pem|key|crt|cer|ya?ml|json|toml|ini|conf|cfg|env|properties|jks|p12|pfx|"
    r"sh|py|js|ts|html?|xml|php|gpg|asc|age|secret|token|password)",
    re.IGNORECASE,
)
_LETTERS_FIRST = re.compile(r"[A-Za-z]{0,60}[0-9]{0,4}|[A-Za-z0-9]{1,3}")
_OF_A_TOKEN = re.compile(r"[^\s\"'<>\\]{16,400}")
_LONGEST = 400
_LEAST_ENTROPY = 3.0
"""Bits a character; names and words of this length have less."""


def of_key(key: str, value: str) -> Found | None:
    """Whether a value is the password or token that its key says it is."""
    return _keyed(key, value.strip(), _is_literal)


def _assigned(text: str) -> Iterator[Found]:
    """`KEY=value`, `key: value`, `"key": "value"` in a text, one or several a line."""
    has_lines = "\n" in text.strip()
    for number, line in enumerate(text.split("\n"), 1):
        if not _has_key(line) or line.lstrip().startswith(("#", "//")):
            continue
        for match in _ASSIGNED.finditer(line):
            value = match["value"].strip("\"'")
            found = _keyed(match["key"], value, _is_strong)
            # `password=password` is a call in some language, `password: <…>` a help text.
            if found and (not found.is_placeholder or _NEVER_FILLED.search(value)):
                yield found._replace(line=number if has_lines else None)


def _has_key(text: str) -> bool:
    """Whether a key that `_meant` knows can be in it; cheap, as most texts have none."""
    lower = text.lower()
    return any(mark in lower for mark in _MARKS) or (
        "key" in lower and bool(_MARK_OF_KEYS.search(lower))
    )


def _keyed(key: str, value: str, is_password: Callable[[str], bool]) -> Found | None:
    what = _meant(key)
    if what is None or not value or len(value) > _LONGEST or _refers(value):
        return None
    if _PLACEHOLDER.fullmatch(value):
        return Found(what, is_placeholder=True)
    is_secret = is_password if what == "a password" else _is_token
    return Found(what) if is_secret(value) else None


def _meant(key: str) -> str | None:
    """What the last words of a key say that its value is."""
    words = [word.lower() for word in _WORDS.findall(key[-200:])]
    if not words:
        return None
    if words[-1] in _PASSWORDS:
        return "a password"
    of_key = len(words) > 1 and words[-1] == "key" and words[-2] in _OF_KEYS
    if words[-1] in _TOKENS or of_key or words[-3:] == ["secret", "key", "base"]:
        return "a token or key"
    return None


def _refers(value: str) -> bool:
    """Whether a value says where a secret is, in the words of some tool or language."""
    inner = any(mark in value for mark in ("$(", "${", "{{", "<%", "%(", "("))
    return inner or bool(_REFERENCE.match(value))


def _is_literal(value: str) -> bool:
    """Whether a value of its own, such as a variable's, is the password itself."""
    return (
        len(value) >= 4
        and not any(c.isspace() for c in value)
        and value.lower() not in _NO_VALUE
        and "://" not in value
        and not _FILE.fullmatch(value)
    )


def _is_strong(value: str) -> bool:
    """Whether a value in the midst of text is a password, and not a word of the text."""
    kinds = (str.isdigit, str.islower, str.isupper, lambda c: not c.isalnum() and c not in "-_.:")
    variety = sum(any(kind(c) for c in value) for kind in kinds)
    return len(value) >= 6 and variety >= 2 and not value.istitle() and _is_literal(value)


def _is_token(value: str) -> bool:
    """Whether a value is random: no name, version or file has that much variety."""
    return (
        bool(_OF_A_TOKEN.fullmatch(value))
        and "://" not in value
        and not _FILE.fullmatch(value)
        and any(c.isdigit() for c in value)
        and not all(_LETTERS_FIRST.fullmatch(part) for part in re.split(r"[-_.:/]", value))
        and _entropy(value) >= _LEAST_ENTROPY
    )


def _entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)
