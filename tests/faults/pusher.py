"""A process that pushes one version: `python pusher.py FROM TO VERSION`, when a line comes.

FROM holds the version already. It prints the exit code that `bundler publish` would have.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.registry.registries import Registries
from bundler.errors import BundlerError
from bundler.model.reference import Repository
from bundler.publish.push import push
from tests.faults.scenarios import artifact_of


def main() -> None:
    source, target, version = sys.argv[1:]
    layout, repository = OciLayout(Path.cwd()), Repository("ocidir", source)
    digest = layout.resolve(repository, version)
    assert digest
    artifact = artifact_of(layout, repository, digest)
    registries, to = Registries(Path.cwd()), Repository.parse(target)
    say("ready")
    sys.stdin.readline()
    try:
        push(registries, to, artifact, version)
    except BundlerError as error:
        say(f"{error.exit_code} {error.code}")
    else:
        say(f"0 {digest}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
