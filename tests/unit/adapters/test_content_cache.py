"""What is kept is what was asked for, whatever happens to the folder."""

from __future__ import annotations

import os
import resource
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.adapters.cache_folder import SHARES
from bundler.adapters.content_cache import MAX_ENTRY_BYTES, CachedImages, ContentCache
from bundler.errors import NotFound, VerificationFailed
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from tests.fakes.registry import InMemoryRegistry, image

CONTENT = b'{"schemaVersion": 2}'
DIGEST = Digest.of(CONTENT)
REPOSITORY = Repository("oci", "registry.test/shop/cart")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "content"


@pytest.fixture
def cache(folder: Path) -> ContentCache:
    return ContentCache(folder)


@pytest.fixture
def registry() -> InMemoryRegistry:
    registry = InMemoryRegistry()
    registry.put_image(REPOSITORY, "v1", "cart")
    return registry


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def in_one_share(count: int, size: int) -> list[bytes]:
    """Contents of a size whose digests begin with the same digit."""
    contents = (f"{number}".encode().ljust(size) for number in range(count * SHARES * 4))
    return [content for content in contents if Digest.of(content).hex[0] == "0"][:count]


# --- the folder ---


def test_what_is_kept_is_found_again_by_another_process(cache: ContentCache, folder: Path) -> None:
    assert cache.get(DIGEST) is None
    cache.put(DIGEST, CONTENT)
    assert ContentCache(folder).get(DIGEST) == CONTENT
    assert [path.name for path in kept(folder)] == [DIGEST.hex]


def test_nobody_else_can_look_into_it(cache: ContentCache, folder: Path) -> None:
    cache.put(DIGEST, CONTENT)
    (file,) = kept(folder)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage", [b"", b"tampered", CONTENT + b"\n", b"x" * (MAX_ENTRY_BYTES * 2)]
)
def test_what_is_damaged_counts_as_absent_and_is_replaced(
    cache: ContentCache, folder: Path, damage: bytes
) -> None:
    cache.put(DIGEST, CONTENT)
    kept(folder)[0].write_bytes(damage)
    assert cache.get(DIGEST) is None
    cache.put(DIGEST, CONTENT)
    assert cache.get(DIGEST) == CONTENT


@pytest.mark.parametrize("obstacle", ["folder", "pipe", "loop", "dangling"])
def test_what_is_no_file_is_not_waited_for(
    cache: ContentCache, folder: Path, obstacle: str
) -> None:
    cache.put(DIGEST, CONTENT)
    (file,) = kept(folder)
    file.unlink()
    if obstacle == "folder":
        file.mkdir()
    elif obstacle == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(file if obstacle == "loop" else folder / "nowhere")
    assert cache.get(DIGEST) is None
    cache.put(DIGEST, CONTENT)
    assert cache.get(DIGEST) == (None if obstacle == "folder" else CONTENT)


def test_content_of_another_digest_is_not_kept(cache: ContentCache, folder: Path) -> None:
    cache.put(DIGEST, b"other")
    assert not kept(folder)


def test_large_content_is_kept_up_to_a_limit(cache: ContentCache) -> None:
    largest = os.urandom(MAX_ENTRY_BYTES)
    for content, expected in ((largest, largest), (largest + b"x", None)):
        cache.put(Digest.of(content), content)
        assert cache.get(Digest.of(content)) == expected


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ContentCache(tmp_path / "file" / "content")
    cache.put(DIGEST, CONTENT)
    assert cache.get(DIGEST) is None


def test_a_disk_without_room_is_no_error(cache: ContentCache, folder: Path) -> None:
    cache.put(DIGEST, CONTENT)
    large = os.urandom(100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        cache.put(Digest.of(large), large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cache.get(Digest.of(large)) is None
    assert [path.name for path in kept(folder)] == [DIGEST.hex]


def test_the_oldest_are_dropped_where_there_is_no_room(folder: Path) -> None:
    contents = in_one_share(20, 1000)
    cache = ContentCache(folder, max_bytes=10_000 * SHARES)
    for number, content in enumerate(contents):
        cache.put(Digest.of(content), content)
        path = folder / "0" / Digest.of(content).hex
        if path.exists():
            os.utime(path, (number, number))
        assert sum(file.stat().st_size for file in kept(folder)) <= 10_000
    found = [cache.get(Digest.of(content)) is not None for content in contents]
    assert found == sorted(found)
    assert found[-1]


def test_what_earlier_processes_kept_counts_too(folder: Path) -> None:
    for content in in_one_share(20, 1000):
        ContentCache(folder, max_bytes=10_000 * SHARES).put(Digest.of(content), content)
    assert sum(file.stat().st_size for file in kept(folder)) <= 10_000


def test_what_a_killed_process_left_is_dropped_in_time(folder: Path) -> None:
    (folder / "0").mkdir(parents=True)
    left = folder / "0" / ".0123456789abcdef"
    left.write_bytes(b"x" * 5000)
    os.utime(left, (1, 1))
    for content in in_one_share(10, 1000):
        ContentCache(folder, max_bytes=10_000 * SHARES).put(Digest.of(content), content)
    assert not left.exists()


def test_many_may_keep_the_same_at_once(folder: Path) -> None:
    contents = [os.urandom(100) for _ in range(50)]
    caches = [ContentCache(folder) for _ in range(8)]

    def keep(cache: ContentCache) -> list[bytes | None]:
        for content in contents:
            cache.put(Digest.of(content), content)
        return [cache.get(Digest.of(content)) for content in contents]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == contents for found in pool.map(keep, caches))
    assert len(kept(folder)) == len(contents)


def test_a_thousand_reads_take_no_time_to_speak_of(cache: ContentCache) -> None:
    contents = [os.urandom(1500) for _ in range(1000)]
    for content in contents:
        cache.put(Digest.of(content), content)
    digests = [Digest.of(content) for content in contents]
    start = time.process_time()
    assert [cache.get(digest) for digest in digests] == contents
    assert time.process_time() - start < 0.5


# --- images ---


def test_contents_are_asked_for_once_and_tags_every_time(
    registry: InMemoryRegistry, folder: Path
) -> None:
    config = image("cart").config
    for _ in range(3):
        images = CachedImages(registry, ContentCache(folder))
        digest = images.resolve(REPOSITORY, "v1")
        assert digest == image("cart").digest
        assert images.resolve(REPOSITORY, digest) == digest
        assert images.tags(REPOSITORY) == ("v1",)
        assert images.manifest(REPOSITORY, digest) == image("cart").manifest.content
        assert images.blob(REPOSITORY, config.descriptor) == config.content
    assert registry.requests == {"resolve": 6, "tags": 3, "manifest": 1, "blob": 1}


def test_a_content_of_another_size_than_described_is_refused(
    registry: InMemoryRegistry, cache: ContentCache
) -> None:
    images = CachedImages(registry, cache)
    config = image("cart").config.descriptor
    images.blob(REPOSITORY, config)
    with pytest.raises(VerificationFailed):
        images.blob(REPOSITORY, Descriptor(config.media_type, config.digest, config.size + 1))


def test_what_is_not_there_is_not_kept(registry: InMemoryRegistry, cache: ContentCache) -> None:
    images = CachedImages(registry, cache)
    for _ in range(2):
        with pytest.raises(NotFound):
            images.manifest(REPOSITORY, DIGEST)
    assert registry.requests == {"manifest": 2}
