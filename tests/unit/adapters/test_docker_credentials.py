from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.registry.docker_credentials import Credential, DockerCredentials
from bundler.errors import CouldNotCheck
from tests.memory import MEBIBYTE, peak_of

HOST = "registry.test:5000"
CANARY = "canary-secret"


def encoded(user: str, password: str = CANARY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., DockerCredentials]:
    def configure(**configuration: Any) -> DockerCredentials:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(configuration))
        return DockerCredentials([path], helper_seconds=10)

    return configure


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install `docker-credential-test`, a Python program; it counts its runs in a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(program: str) -> Path:
        runs = tmp_path / "runs"
        path = folder / "docker-credential-test"
        path.write_text(
            f"#!{sys.executable}\nimport sys, json, time\n"
            f"server = sys.stdin.read()\n"
            f"open({str(runs)!r}, 'a').write(server + '\\n')\n{program}\n"
        )
        path.chmod(0o755)
        return runs

    return install


def user(credential: Credential | None) -> str | None:
    return credential.username if credential else None


@pytest.mark.requirement("B-85")
def test_each_host_has_its_own_credentials(configure: Callable[..., DockerCredentials]) -> None:
    credentials = configure(auths={HOST: encoded("a"), "other.test": encoded("b")})
    assert user(credentials.find(HOST, "shop")) == "a"
    assert user(credentials.find("other.test", "shop")) == "b"
    assert credentials.find("registry.test", "shop") is None


def test_the_most_specific_path_wins(configure: Callable[..., DockerCredentials]) -> None:
    credentials = configure(
        auths={
            HOST: encoded("host"),
            f"{HOST}/team": encoded("team"),
            f"{HOST}/team/cart": encoded("cart"),
        }
    )
    assert user(credentials.find(HOST, "team/cart")) == "cart"
    assert user(credentials.find(HOST, "team/cart/v2")) == "cart"
    assert user(credentials.find(HOST, "team/cartoon")) == "team"
    assert user(credentials.find(HOST, "teams")) == "host"


@pytest.mark.parametrize("key", [f"https://{HOST}", f"http://{HOST}/v2/", f"https://{HOST}/v1/"])
def test_a_key_may_be_a_url(configure: Callable[..., DockerCredentials], key: str) -> None:
    assert user(configure(auths={key: encoded("a")}).find(HOST, "shop")) == "a"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(
    configure: Callable[..., DockerCredentials], key: str, host: str
) -> None:
    assert user(configure(auths={key: encoded("hub")}).find(host, "library/redis")) == "hub"


def test_passwords_may_hold_colons_and_other_letters(
    configure: Callable[..., DockerCredentials],
) -> None:
    found = configure(auths={HOST: encoded("a", "p:ä:ß")}).find(HOST, "shop")
    assert found is not None
    assert found.password == "p:ä:ß"
    assert base64.b64decode(found.basic.split()[1]).decode() == "a:p:ä:ß"


def test_files_are_asked_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "podman.json").write_text(json.dumps({"auths": {HOST: encoded("podman")}}))
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {HOST: encoded("docker"), "other.test": encoded("other")}})
    )
    environment = {
        "REGISTRY_AUTH_FILE": str(tmp_path / "podman.json"),
        "DOCKER_CONFIG": str(tmp_path),
        "HOME": "/nonexistent",
    }
    credentials = DockerCredentials.from_environment(environment)
    assert user(credentials.find(HOST, "shop")) == "podman"
    assert user(credentials.find("other.test", "shop")) == "other"


def test_without_variables_the_home_folder_is_searched(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {HOST: encoded("home")}}))
    credentials = DockerCredentials.from_environment({"HOME": str(tmp_path)})
    assert user(credentials.find(HOST, "shop")) == "home"
    assert DockerCredentials.from_environment({}).find(HOST, "shop") is None


@pytest.mark.requirement("B-86")
def test_the_files_of_podman_and_others_are_searched_too(tmp_path: Path) -> None:
    for folder, place in (("run", "one.test"), (".config", "two.test"), ("config", "three.test")):
        file = tmp_path / folder / "containers/auth.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"auths": {f"{place}/team": encoded(folder)}}))
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    credentials = DockerCredentials.from_environment(environment)
    assert user(credentials.find("one.test", "team/shop")) == "run"
    assert user(credentials.find("two.test", "team")) == ".config"
    assert credentials.find("two.test", "other") is None
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    credentials = DockerCredentials.from_environment(environment)
    assert user(credentials.find("three.test", "team")) == "config"
    assert [str(path.relative_to(tmp_path)) for path in credentials.files] == [
        ".docker/config.json",
        "run/containers/auth.json",
        "config/containers/auth.json",
    ]


def test_a_file_that_is_absent_or_empty_has_no_credentials(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    credentials = DockerCredentials([tmp_path / "absent.json", tmp_path / "empty.json"])
    assert credentials.find(HOST, "shop") is None


@pytest.mark.parametrize(
    "text",
    [
        f'{{"auths": "{CANARY}"',
        "[]",
        f'{{"auths": ["{CANARY}"]}}',
        f'{{"auths": {{"{HOST}": "{CANARY}"}}}}',
        f'{{"auths": {{"{HOST}": {{"auth": "{CANARY}"}}}}}}',
        f'{{"auths": {{"{HOST}": {{"auth": "Y2FuYXJ5"}}}}}}',
        f'{{"auths": {{"{HOST}": {{"username": ["{CANARY}"]}}}}}}',
        f'{{"credHelpers": {{"{HOST}": "../{CANARY[:3]}"}}}}',
        '{"credsStore": ["x"]}',
        "\xff" * 3,
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_no_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CouldNotCheck, match=str(path)) as caught:
        DockerCredentials([path]).find(HOST, "shop")
    assert CANARY not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_secrets_are_not_shown() -> None:
    credential = Credential("file", "user", CANARY, CANARY, CANARY)
    assert CANARY not in repr(credential)


# --- helpers ---

ANSWER = f'print(json.dumps({{"Username": "helped", "Secret": "{CANARY}"}}))'


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_a_helper_is_asked_once_for_a_host(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path], key: str
) -> None:
    runs = helper(ANSWER)
    credentials = configure(**{key: {HOST: "test"} if key == "credHelpers" else "test"})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: credentials.find(HOST, f"shop/{n}"), range(16)))
    assert {user(credential) for credential in found} == {"helped"}
    assert runs.read_text() == f"{HOST}\n"


def test_a_helper_knows_docker_hub_by_its_old_name(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path]
) -> None:
    runs = helper(ANSWER)
    assert user(configure(credsStore="test").find("docker.io", "library/redis")) == "helped"
    assert runs.read_text() == "https://index.docker.io/v1/\n"


def test_an_empty_entry_leaves_it_to_the_store(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path]
) -> None:
    helper(ANSWER)
    assert user(configure(auths={HOST: {}}, credsStore="test").find(HOST, "shop")) == "helped"


def test_a_helper_may_answer_an_identity_token(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path]
) -> None:
    helper(f'print(json.dumps({{"Username": "<token>", "Secret": "{CANARY}"}}))')
    found = configure(credsStore="test").find(HOST, "shop")
    assert found is not None
    assert found.identity_token == CANARY
    assert found.basic == ""


def test_a_helper_without_an_entry_has_no_credentials(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path]
) -> None:
    helper('print("credentials not found in native keychain"); sys.exit(1)')
    assert configure(credsStore="test").find(HOST, "shop") is None


@pytest.mark.parametrize(
    "program",
    [
        f'print("{CANARY}"); print("{CANARY}", file=sys.stderr); sys.exit(1)',
        f'print("{CANARY}")',
        "print('[]')",
        'print(json.dumps({"Username": 1, "Secret": []}))',
        "pass",
    ],
)
def test_a_helper_that_fails_is_an_error_without_its_words(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path], program: str
) -> None:
    helper(program)
    with pytest.raises(CouldNotCheck, match="docker-credential-test") as caught:
        configure(credsStore="test").find(HOST, "shop")
    assert CANARY not in f"{caught.value.message} {caught.value.hint}"


def test_a_helper_that_hangs_is_ended_with_its_children(
    configure: Callable[..., DockerCredentials], helper: Callable[[str], Path], tmp_path: Path
) -> None:
    helper("import subprocess; subprocess.run(['sleep', '60'])")
    configure(credsStore="test")
    credentials = DockerCredentials([tmp_path / "config.json"], helper_seconds=0.5)
    start = time.monotonic()
    with pytest.raises(CouldNotCheck, match="did not answer"):
        credentials.find(HOST, "shop")
    assert time.monotonic() - start < 20


@pytest.mark.requirement("B-86")
@pytest.mark.parametrize(("stream", "megabytes"), [("stdout", 1000), ("stderr", 100)])
def test_a_helper_that_prints_without_an_end_takes_little_time_and_memory(
    configure: Callable[..., DockerCredentials],
    helper: Callable[[str], Path],
    stream: str,
    megabytes: int,
) -> None:
    helper(f"[sys.{stream}.write('{CANARY}' * 77_000) for _ in range({megabytes})]; sys.exit(1)")
    start = time.monotonic()

    def ask() -> None:
        with pytest.raises(CouldNotCheck, match="docker-credential-test") as caught:
            configure(credsStore="test").find(HOST, "shop")
        assert CANARY not in f"{caught.value.message} {caught.value.hint}"

    assert peak_of(ask) < 50 * MEBIBYTE
    assert time.monotonic() - start < 10


def test_a_helper_that_is_not_installed_is_an_error(
    configure: Callable[..., DockerCredentials],
) -> None:
    with pytest.raises(CouldNotCheck, match="docker-credential-absent cannot be started"):
        configure(credsStore="absent").find(HOST, "shop")
