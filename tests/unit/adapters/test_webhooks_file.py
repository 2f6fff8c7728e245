"""The runner's webhooks are read with all that is wrong told at once, and no secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from bundler.adapters.webhooks_file import read
from bundler.errors import UsageError
from bundler.model.webhook import EVENTS, Webhook

CANARY = "T0CANARY"
VARIABLES = {"SLACK": f"https://hooks.example.com/{CANARY}", "TOKEN": CANARY, "EMPTY": ""}


def hooks(tmp_path: Path, text: str, **variables: str) -> tuple[Webhook, ...]:
    file = tmp_path / "webhooks.yaml"
    file.write_text(text)
    return read(file, VARIABLES | variables, DocumentSchemas())


@pytest.mark.requirement("E-09")
def test_addresses_headers_and_keys_come_from_variables(tmp_path: Path) -> None:
    text = """
- urlFrom: {env: SLACK}
  events: [failure]
- url: https://cd.example.com:8443/hook
  headersFrom: {Authorization: {env: TOKEN}}
  secretFrom: {env: TOKEN}
"""
    slack, other = hooks(tmp_path, text)
    assert (slack.url, slack.host) == (VARIABLES["SLACK"], "hooks.example.com")
    assert slack.events == {"failure"}
    assert other.host == "cd.example.com:8443"
    assert (other.headers, other.secret) == ({"Authorization": CANARY}, CANARY.encode())
    assert other.events == EVENTS


def test_one_address_needs_no_file() -> None:
    [only] = read(None, {"BUNDLER_WEBHOOK": VARIABLES["SLACK"]}, DocumentSchemas())
    assert only.host == "hooks.example.com"
    assert CANARY not in repr(only)


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("- {}", 1),
        ("- {url: a, urlFrom: {env: SLACK}}", 1),
        ("- {urlFrom: {env: NONE}}", 1),
        ("- {urlFrom: {env: EMPTY}, secretFrom: {env: NONE}}", 2),
        (f"- {{url: 'ftp://host/{CANARY}'}}", 1),
        (f"- {{url: 'https://user:{CANARY}@host/'}}", 1),
        (f"- {{url: 'https://{CANARY} /'}}", 1),
        (f"- {{url: 'https://[{CANARY}/'}}", 1),
        (f"- {{url: 'https:///{CANARY}'}}", 1),
        ("- {urlFrom: {env: BAD}}", 1),
        ("- {url: 'https://a', headersFrom: {X: {env: BAD}}}", 1),
        (f"- {{urlFrom: 'https://{CANARY}'}}", 1),
        (f"- {{url: 'https://a', headersFrom: {{Authorization: 'Bearer {CANARY}'}}}}", 1),
        (f"- {{url: 'https://a', secretFrom: {{env: '{CANARY} x'}}}}", 1),
        (f"- {{url: 'https://a', events: ['{CANARY}']}}", 1),
        (f"https://{CANARY}", 1),
        (f"- {{url: [{CANARY}]}}\n- {{}}", 1),
    ],
)
def test_what_is_wrong_is_told_without_any_value(tmp_path: Path, text: str, findings: int) -> None:
    with pytest.raises(UsageError) as caught:
        hooks(tmp_path, text, BAD=f"{CANARY}\r\nHost: x")
    error = caught.value
    assert len(error.findings) == findings
    assert CANARY not in f"{error.message}{error.hint}{error.findings}"


@pytest.mark.parametrize("text", [f"- {{url: '{CANARY}", f"a: {CANARY}\na: {CANARY}"])
def test_what_is_no_yaml_is_told_without_its_text(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        hooks(tmp_path, text)
    assert CANARY not in f"{caught.value.message}{caught.value.findings}"


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none", {}, DocumentSchemas())
