"""A process killed at any request or rename harms nothing, and the next one succeeds."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.registry.docker_credentials import DockerCredentials
from bundler.adapters.registry.oci_registry import OciRegistry
from bundler.model.reference import Digest, Repository
from bundler.ports import ArtifactReader
from tests.e2e.conftest import Result, run_bundler
from tests.faults import dying, small_shop
from tests.faults.fault_proxy import Exchange, Fault, FaultProxy
from tests.faults.scenarios import MAX_INDEX, artifact_of
from tools.registries import Distribution

VERSION = small_shop.VERSION


@dataclass
class Shop:
    """A repository and what was published of it once, undisturbed."""

    folder: Path
    kustomize: Path
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        small_shop.build(self.folder, "ocidir://../whole")
        result = self.run("publish", VERSION, "--repo", "repo", "-o", "json", cache="whole-cache")
        assert result.exit_code == 0, result.stderr
        self.digest = Digest.parse(result.value["digest"])

    def fresh(self, prefix: str) -> str:
        return f"{prefix}-{secrets.token_hex(4)}"

    def environment(self, cache: str) -> dict[str, str]:
        folder = str(self.folder / cache)
        return {"BUNDLER_CACHE": folder, "BUNDLER_KUSTOMIZE": str(self.kustomize)}

    def run(self, *arguments: str, cache: str) -> Result:
        return run_bundler(*arguments, cwd=self.folder, environment=self.environment(cache))

    def start(self, *command: str, cache: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env={**os.environ, **self.environment(cache)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def finish(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it ended by itself, with success; else it was killed."""
        _, stderr = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), stderr.decode()
        return process.returncode == 0

    def check_cache(self, cache: str) -> None:
        """What has a digest for a name has its content; renders are named by what they are of."""
        for path in (self.folder / cache).rglob("*"):
            is_render = "renders" in path.relative_to(self.folder / cache).parts
            if path.is_file() and not path.name.startswith(".") and not is_render:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, path

    def check_published(self, reader: ArtifactReader, repository: Repository) -> bool:
        """Whether the version is there; then it is complete."""
        digest = reader.resolve(repository, VERSION)
        if digest is None:
            return False
        assert digest == self.digest
        artifact_of(reader, repository, digest)
        return True

    def check_image(self, reader: ArtifactReader, repository: Repository) -> None:
        """The image of the shop is there with all its layers."""
        [digest] = [entry["digest"] for entry in small_shop.image_index(self.folder)]
        artifact_of(reader, repository, Digest.parse(digest))

    def publish(self, place: str, cache: str) -> None:
        """To the end, after a killed attempt."""
        result = self.run(
            "publish", VERSION, "--repo", "repo", "--deploy-registry", place, "-o", "json",
            cache=cache,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert Digest.parse(result.value["digest"]) == self.digest


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, kustomize_path: Path) -> Shop:
    return Shop(tmp_path_factory.mktemp("killed"), kustomize_path)


@pytest.fixture(scope="session")
def proxy(distribution: Distribution) -> Iterator[FaultProxy]:
    with FaultProxy(distribution.host) as running:
        yield running


@pytest.mark.requirement("B-83")
def test_a_publish_to_a_folder_killed_at_any_rename_can_be_repeated(shop: Shop) -> None:
    for moment in count():
        assert moment < MAX_INDEX
        place, cache = shop.fresh("registry"), shop.fresh("cache")
        options = ("--repo", "repo", "--deploy-registry", f"ocidir://{place}")
        command = (dying.__file__, str(moment), "publish", VERSION, *options)
        is_over = shop.finish(shop.start(*command, cache=cache))
        reader, repository = OciLayout(shop.folder), Repository("ocidir", place)
        shop.check_cache(cache)
        assert shop.check_published(reader, repository) or not is_over
        if is_over:
            break
        shop.publish(f"ocidir://{place}", cache)
        assert shop.check_published(reader, repository)
        shop.check_cache(cache)
    assert moment >= 2 * 6, "the layout, three blobs, the manifest, the index"


def test_a_pull_killed_at_its_rename_leaves_all_or_nothing(shop: Shop) -> None:
    for moment in count():
        assert moment < MAX_INDEX
        out = shop.folder / shop.fresh("out")
        options = ("ocidir://whole:" + VERSION, "-d", str(out))
        command = (dying.__file__, str(moment), "pull", *options)
        is_over = shop.finish(shop.start(*command, cache="whole-cache"))
        assert not out.exists() or (out / "release.json").is_file()
        if is_over:
            break
        if not out.exists():
            assert shop.run("pull", *options, cache="whole-cache").exit_code == 0
    assert moment >= 2


def killing(process: Callable[[], subprocess.Popen[bytes]]) -> Fault:
    """The client is killed when its request has come; the registry does not know that."""

    def act(exchange: Exchange) -> None:
        process().send_signal(signal.SIGKILL)
        exchange.forward()
        exchange.reset()

    return Fault("killed", act)


@pytest.mark.requirement("B-83")
def test_a_publish_killed_at_any_request_can_be_repeated(shop: Shop, proxy: FaultProxy) -> None:
    running: list[subprocess.Popen[bytes]] = []
    reader = OciRegistry(credentials=DockerCredentials([]))
    for at in count():
        assert at < MAX_INDEX
        injection = proxy.inject(killing(lambda: running[-1]), at)
        name, cache = shop.fresh("killed/shop"), shop.fresh("cache")
        place, direct = f"oci://{proxy.host}/{name}", Repository("oci", f"{proxy.backend}/{name}")
        options = ("--repo", "repo", "--deploy-registry", place)
        running.append(shop.start("-m", "bundler", "publish", VERSION, *options, cache=cache))
        is_over = shop.finish(running[-1])
        proxy.clear()
        assert is_over == (injection.spoilt == 0)
        assert shop.check_published(reader, direct) or not is_over
        if is_over:
            break
        shop.publish(place, cache)
        assert shop.check_published(reader, direct)
        shop.check_cache(cache)
    assert at >= 10


def test_a_pull_killed_at_any_request_leaves_nothing(shop: Shop, proxy: FaultProxy) -> None:
    running: list[subprocess.Popen[bytes]] = []
    place = f"oci://{proxy.host}/{shop.fresh('killed/pulled')}"
    shop.publish(place, "whole-cache")
    for at in count():
        assert at < MAX_INDEX
        proxy.inject(killing(lambda: running[-1]), at)
        out = shop.folder / shop.fresh("out")
        options = (f"{place}:{VERSION}", "-d", str(out))
        running.append(shop.start("-m", "bundler", "pull", *options, cache="whole-cache"))
        is_over = shop.finish(running[-1])
        proxy.clear()
        assert out.exists() == is_over
        if is_over:
            break
        assert shop.run("pull", *options, cache="whole-cache").exit_code == 0
    assert at >= 3


IMAGES = ("--images", "--images-lookup", "registry.example.com/shop=ocidir://images")


@pytest.mark.requirement("B-83")
def test_a_copy_killed_at_any_request_can_be_repeated(shop: Shop, proxy: FaultProxy) -> None:
    running: list[subprocess.Popen[bytes]] = []
    reader = OciRegistry(credentials=DockerCredentials([]))
    for at in count():
        assert at < MAX_INDEX
        injection = proxy.inject(killing(lambda: running[-1]), at)
        name = shop.fresh("killed/copy")
        place, direct = f"oci://{proxy.host}/{name}", Repository("oci", f"{proxy.backend}/{name}")
        command = ("copy", f"ocidir://whole:{VERSION}", place, *IMAGES)
        running.append(shop.start("-m", "bundler", *command, cache="whole-cache"))
        is_over = shop.finish(running[-1])
        proxy.clear()
        assert is_over == (injection.spoilt == 0)
        is_there = shop.check_published(reader, direct)
        if is_there:
            shop.check_image(reader, direct.child("images/registry.example.com/shop/cart"))
        assert is_there or not is_over
        if is_over:
            break
        again = shop.run(*command, cache="whole-cache")
        assert again.exit_code == 0, again.stderr
        assert shop.check_published(reader, direct)
    assert at >= 15


def test_a_save_killed_at_any_rename_leaves_all_or_nothing(shop: Shop) -> None:
    contents = set()
    for moment in count():
        assert moment < MAX_INDEX
        folder = shop.folder / shop.fresh("saved")
        folder.mkdir()
        file = folder / "release.tar"
        command = ("save", f"ocidir://whole:{VERSION}", str(file), *IMAGES)
        is_over = shop.finish(
            shop.start(dying.__file__, str(moment), *command, cache="whole-cache")
        )
        assert file.exists() or not is_over
        if not file.exists():
            again = shop.run(*command, cache="whole-cache")
            assert again.exit_code == 0, again.stderr
            assert [path.name for path in folder.iterdir()] == ["release.tar"]
        contents.add(hashlib.sha256(file.read_bytes()).hexdigest())
        if is_over:
            break
    assert len(contents) == 1
    assert moment >= 10


@pytest.fixture(scope="session")
def saved(shop: Shop) -> Path:
    """The release and its image in a file."""
    file = shop.folder / "whole.tar"
    result = shop.run("save", f"ocidir://whole:{VERSION}", str(file), *IMAGES, cache="whole-cache")
    assert result.exit_code == 0, result.stderr
    return file


@pytest.mark.requirement("B-83")
def test_a_load_killed_at_any_request_can_be_repeated(
    shop: Shop, proxy: FaultProxy, saved: Path
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    reader = OciRegistry(credentials=DockerCredentials([]))
    for at in count():
        assert at < MAX_INDEX
        injection = proxy.inject(killing(lambda: running[-1]), at)
        name = shop.fresh("killed/load")
        place, direct = f"oci://{proxy.host}/{name}", Repository("oci", f"{proxy.backend}/{name}")
        command = ("load", str(saved), place)
        running.append(shop.start("-m", "bundler", *command, cache="whole-cache"))
        is_over = shop.finish(running[-1])
        proxy.clear()
        assert is_over == (injection.spoilt == 0)
        is_there = shop.check_published(reader, direct)
        assert is_there or not is_over
        if not is_there:
            again = shop.run(*command, cache="whole-cache")
            assert again.exit_code == 0, again.stderr
            assert shop.check_published(reader, direct)
        shop.check_image(reader, direct.child("images/registry.example.com/shop/cart"))
        if is_over:
            break
    assert at >= 15


def test_a_load_into_a_folder_killed_at_any_rename_can_be_repeated(shop: Shop, saved: Path) -> None:
    reader = OciLayout(shop.folder)
    for moment in count(0, 2):  # just before each
        assert moment < MAX_INDEX
        place = shop.fresh("loaded")
        command = ("load", str(saved), f"ocidir://{place}")
        is_over = shop.finish(
            shop.start(dying.__file__, str(moment), *command, cache="whole-cache")
        )
        repository = Repository("ocidir", place)
        assert shop.check_published(reader, repository) or not is_over
        if is_over:
            break
        again = shop.run(*command, cache="whole-cache")
        assert again.exit_code == 0, again.stderr
        assert shop.check_published(reader, repository)
        shop.check_image(reader, repository.child("images/registry.example.com/shop/cart"))
    assert moment >= 10


@pytest.fixture(scope="session")
def remote(shop: Shop, proxy: FaultProxy, saved: Path) -> str:
    """The release in a registry, as it is reached through the proxy; its image is beside it."""
    place = f"oci://{proxy.host}/{shop.fresh('killed/saved')}"
    loaded = shop.run("load", str(saved), place, cache="whole-cache")
    assert loaded.exit_code == 0, loaded.stderr
    return place


def test_a_save_killed_at_any_request_leaves_nothing_that_stays(
    shop: Shop, proxy: FaultProxy, remote: str, saved: Path, tmp_path: Path
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    file = tmp_path / "release.tar"
    command = ("save", f"{remote}:{VERSION}", str(file), "--images-from", f"{remote}/images")
    for at in count():
        assert at < MAX_INDEX
        proxy.inject(killing(lambda: running[-1]), at)
        running.append(shop.start("-m", "bundler", *command, "--images", cache=shop.fresh("cache")))
        is_over = shop.finish(running[-1])
        proxy.clear()
        if is_over:
            break
        # that of the one before is gone
        assert [
            path.name.startswith(".release.tar.incomplete-") for path in tmp_path.iterdir()
        ] in (
            [],
            [True],
        )
    assert at >= 8
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == saved.read_bytes()


def test_a_save_interrupted_at_any_request_leaves_nothing(
    shop: Shop, proxy: FaultProxy, remote: str, saved: Path, tmp_path: Path
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    ends = {signal.SIGINT: 130, signal.SIGTERM: 143}
    file = tmp_path / "release.tar"
    command = ("save", f"{remote}:{VERSION}", str(file), "--images-from", f"{remote}/images")
    for at in count():
        assert at < MAX_INDEX
        number = list(ends)[at % 2]

        def interrupt(exchange: Exchange, number: int = number) -> None:
            running[-1].send_signal(number)
            running[-1].wait(timeout=5)  # whoever waits for an answer is not waited for
            exchange.reset()

        proxy.inject(Fault("interrupted", interrupt), at)
        running.append(shop.start("-m", "bundler", *command, "--images", cache=shop.fresh("cache")))
        _, stderr = running[-1].communicate(timeout=60)
        proxy.clear()
        if running[-1].returncode == 0:
            break
        assert running[-1].returncode == ends[number], stderr.decode()
        assert b"interrupted" in stderr
        assert not list(tmp_path.iterdir())
    assert at >= 8
    assert file.read_bytes() == saved.read_bytes()
