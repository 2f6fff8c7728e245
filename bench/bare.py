"""Push, pull and copy by a Python that imports next to nothing: how fast Python can be at it.

`python -S bench/bare.py push LAYOUT HOST NAME`, `pull HOST NAME FOLDER` or
`copy HOST NAME HOST NAME`: the same requests as `bundler` makes, without retries, authentication
or checks but of digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

VERSION = "v1.0.0"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Read = Callable[[str], bytes]


def ask(
    line: HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[bytes, str]:
    line.request(method, path, body, {"Accept": MANIFEST, "Content-Type": MANIFEST})
    answer = line.getresponse()
    return answer.read(), answer.headers.get("Location", "")


def parts_of(manifest: bytes) -> list[str]:
    document: dict[str, Any] = json.loads(manifest)
    return [part["digest"] for part in (document["config"], *document["layers"])]


def at_once(*work: Callable[[], None]) -> None:
    threads = [Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read_all(host: str, name: str) -> dict[str, bytes]:
    """Digest → bytes; the manifest is under its tag."""
    line = HTTPConnection(host)
    found = {VERSION: ask(line, "GET", f"/v2/{name}/manifests/{VERSION}")[0]}

    def read(digest: str, line: HTTPConnection) -> None:
        found[digest] = ask(line, "GET", f"/v2/{name}/blobs/{digest}")[0]
        assert digest == f"sha256:{hashlib.sha256(found[digest]).hexdigest()}"

    first, *others = dict.fromkeys(parts_of(found[VERSION]))
    at_once(
        lambda: read(first, line),
        *[lambda d=digest: read(d, HTTPConnection(host)) for digest in others],
    )
    return found


def read_layout(folder: str) -> dict[str, bytes]:
    def content(digest: str) -> bytes:
        with open(f"{folder}/blobs/sha256/{digest[7:]}", "rb") as file:  # noqa: PTH123
            return file.read()

    with open(f"{folder}/index.json", "rb") as file:  # noqa: PTH123
        manifest = content(json.load(file)["manifests"][0]["digest"])
    return {VERSION: manifest, **{digest: content(digest) for digest in parts_of(manifest)}}


def write_all(found: dict[str, bytes], host: str, name: str) -> None:
    def write(digest: str) -> None:
        line = HTTPConnection(host)
        ask(line, "HEAD", f"/v2/{name}/blobs/{digest}")
        place = urlsplit(ask(line, "POST", f"/v2/{name}/blobs/uploads/")[1])
        ask(line, "PUT", f"{place.path}?{place.query}&digest={digest}", found[digest])

    tag = f"/v2/{name}/manifests/{VERSION}"
    at_once(*[lambda d=digest: write(d) for digest in found if digest != VERSION])
    line = HTTPConnection(host)
    ask(line, "HEAD", tag)
    ask(line, "PUT", tag, found[VERSION])
    ask(line, "HEAD", tag)


def main(what: str, *places: str) -> None:
    if what == "push":
        write_all(read_layout(places[0]), *places[1:])
    elif what == "copy":
        write_all(read_all(*places[:2]), *places[2:])
    else:
        os.makedirs(places[2])  # noqa: PTH103
        for digest, content in read_all(*places[:2]).items():
            with open(f"{places[2]}/{digest[7:19] or digest}", "wb") as file:  # noqa: PTH123
                file.write(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
