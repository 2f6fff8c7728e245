"""The `sops` program: what goes in and comes out, and what is never told."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bundler.adapters.sops import Sops
from bundler.errors import CouldNotCheck, KeyNeeded, Refused, ToolMissing, VerificationFailed
from tests.e2e.encrypted_shop import AgeKey, secret
from tests.faults.canaries import Canaries
from tools.build import binary_path


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgeKey:
    made = AgeKey(tmp_path / "keys")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(made.file))
    return made


@pytest.fixture
def sops() -> Sops:
    return Sops(str(binary_path("sops")))


def program(folder: Path, script: str) -> str:
    path = folder / "sops"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_document_is_decrypted_however_large_it_is(key: AgeKey, sops: Sops) -> None:
    large = "x" * 900_000
    content = key.encrypted(secret("db", user="shop", large=large)).encode()
    document = sops.decrypt(content)
    assert document["stringData"] == {"user": "shop", "large": large}
    assert "sops" not in document


def test_json_is_decrypted_as_yaml(key: AgeKey, sops: Sops) -> None:
    clear = {"kind": "Secret", "metadata": {"name": "db"}, "stringData": {"z": "1", "a": "\x85é😀"}}
    content = key.encrypted(json.dumps(clear, ensure_ascii=False).replace("\x85", "\\u0085"))
    assert sops.decrypt(content.encode()) == clear


@pytest.mark.requirement("C-51")
def test_another_key_does_not_do(
    key: AgeKey, sops: Sops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = key.encrypted(secret("db", user="shop")).encode()
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(AgeKey(tmp_path / "other").file))
    with pytest.raises(KeyNeeded, match="key needed"):
        sops.decrypt(content)


def test_what_was_changed_is_refused_without_a_word_of_it(key: AgeKey, sops: Sops) -> None:
    canaries = Canaries()
    value = canaries.secret("value")
    text = key.encrypted(secret("db", user="shop", password=value))
    ours = ("    user: ", "    password: ")
    user, password = (
        line.partition(": ")[2] for line in text.splitlines() if line.startswith(ours)
    )
    for changed in (
        text.replace("name: db", "name: admin"),
        text.replace(user, password),
        text.replace("    mac: ENC[AES256_GCM,data:", "    mac: ENC[AES256_GCM,data:AAAA"),
        text.replace("data:", "data:AAAA", 1),
        "".join(line for line in text.splitlines(True) if "mac:" not in line),
    ):
        assert changed != text
        with pytest.raises(Refused) as caught:  # VerificationFailed is one
            sops.decrypt(changed.encode())
        said = f"{caught.value.message} {caught.value.hint}"
        assert not canaries.found_in(said.encode())
        assert "MAC mismatch" not in said  # it quotes the hash of the values in clear


def test_a_wrong_mac_is_told_from_a_missing_key(key: AgeKey, sops: Sops) -> None:
    text = key.encrypted(secret("db", user="shop")).replace("name: db", "name: admin")
    with pytest.raises(VerificationFailed, match="changed after it was encrypted"):
        sops.decrypt(text.encode())


def test_what_sops_cannot_read_is_refused(sops: Sops) -> None:
    for text in ("a: 1\n", "{", "sops: {mac: x, lastmodified: y}\n"):
        with pytest.raises((Refused, KeyNeeded)):
            sops.decrypt(text.encode())


@pytest.mark.requirement("C-24")
def test_nothing_that_the_program_writes_is_in_an_error(tmp_path: Path) -> None:
    canaries = Canaries()
    value = canaries.secret("value")
    for script in (
        f"echo {value}; echo {value} >&2; exit 1",
        f"echo {value}; exit 0",
        f"echo '[\"{value}\"]'; exit 0",
        f"echo {value} >&2; exit 128",
    ):
        with pytest.raises((Refused, KeyNeeded)) as caught:
            Sops(program(tmp_path, script)).decrypt(b"x: y\n")
        chain: BaseException | None = caught.value
        while chain is not None:
            assert not canaries.found_in(str(chain).encode())
            chain = chain.__cause__ or chain.__context__


def test_a_program_that_neither_reads_nor_ends_is_stopped(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CouldNotCheck, match="not done after"):
        Sops(program(tmp_path, "sleep 60"), seconds=0.2).decrypt(b"x" * 1_000_000)
    assert time.monotonic() - began < 10


def test_a_program_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing) as caught:
        Sops(str(tmp_path / "none")).decrypt(b"")
    assert "getsops" in str(caught.value.hint)


def test_the_program_has_the_runner_s_environment_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "keys.txt")
    script = """cat >/dev/null; printf '{"key": "%s", "in": "%s"}' "$SOPS_AGE_KEY_FILE" "$PWD" """
    found = Sops(program(tmp_path, script)).decrypt(b"x: y\n")
    assert found == {"key": "keys.txt", "in": str(Path.cwd())}
    assert os.environ["SOPS_AGE_KEY_FILE"] == "keys.txt"
