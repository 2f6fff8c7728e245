"""The main job on the sample shop, as a tutorial: every command is printed before it runs.

Builds the shop's git history and images, publishes two releases into a folder registry, looks at
them, installs them into stage (a directory, or a real control plane), and goes back.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.build import binary_path
from tools.control_plane import ControlPlane

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
DEPLOY_REGISTRY = "ocidir://registry/shop"


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


class Shell:
    """Runs commands in the demo's folder, printing each one first."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(self, command: str) -> None:
        print(f"$ {command}", flush=True)
        completed = subprocess.run(
            shlex.split(command), cwd=DEMO, env=self._environment, check=False
        )
        if completed.returncode:
            sys.exit(completed.returncode)


def run(shell: Shell, connection: str) -> None:
    print("$ cd demo; . ../.venv/bin/activate")
    say("A shop of small services and two libraries: its git history, and the images that the")
    print("# develop flow built for every commit on main, each tagged with its commit id.")
    shell("python ../tools/sample_shop.py .")
    shell("git -C shop log --oneline --graph -8 v1.1.0")

    shell("head -20 shop/bundler.yaml")

    say("Tag v1.0.0 was pushed. In CI this is the whole job: resolve, pin, render, validate, push.")
    shell("bundler publish v1.0.0 --repo shop")
    say("Some commits later: v1.1.0. One library changed, so did every service that uses it.")
    shell("bundler publish v1.1.0 --repo shop")
    say("Why does catalog have this image? Every service's story can be told.")
    shell("bundler resolve v1.2.0 --repo shop --explain catalog")
    say("And what did the commits since v1.0.0 have CI build?")
    shell("bundler affected --since v1.0.0 --head v1.1.0 --branch main --repo shop")

    say("A job that runs again finds that nothing is left to do.")
    shell("bundler publish v1.1.0 --repo shop")

    say("From here on no source is needed: only the deploy registry.")
    print(f"$ export BUNDLER_DEPLOY_REGISTRY={DEPLOY_REGISTRY}")
    shell("bundler list")
    shell("bundler inspect v1.1.0")

    say("Install v1.0.0 into stage. On a terminal it asks; --yes is for CD runners.")
    shell(f"bundler apply v1.0.0 --env stage {connection} --yes")
    say("What would v1.1.0 change? Every field, before anything is done.")
    shell(f"bundler plan v1.1.0 --env stage {connection}")
    say("Only that changes, and what is gone is deleted last.")
    shell(f"bundler apply v1.1.0 --env stage {connection} --yes")
    shell(f"bundler status {connection}")
    say("Was it wrong? Back to the release before, as a new revision; history goes on.")
    shell(f"bundler rollback --env stage {connection} --yes")
    shell(f"bundler history {connection}")
    say("And is it still as the release has it?")
    shell(f"bundler drift {connection}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=["directory", "cluster"], default="directory")
    target = parser.parse_args().target
    started = time.monotonic()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    programs = [str(Path(sys.executable).parent), str(binary_path("kustomize").parent)]
    environment = os.environ | {
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
        "BUNDLER_DEPLOY_REGISTRY": DEPLOY_REGISTRY,
    }
    if target == "cluster":
        say("A real control plane: etcd, API server, controllers, scheduler; kwok for the nodes.")
        with ControlPlane() as control_plane:
            kubeconfig = {"KUBECONFIG": str(control_plane.kubeconfig)}
            print("# Its nodes pull nothing: the images are in a folder, and not asked for.")
            print("$ export BUNDLER_NO_IMAGE_CHECK=1")
            kubeconfig["BUNDLER_NO_IMAGE_CHECK"] = "1"
            run(Shell(environment | kubeconfig), f"--kubeconfig {control_plane.kubeconfig}")
    else:
        run(Shell(environment), "--directory stage")
        say("What stands in the folder now, for a git repository that Flux or Argo CD follows:")
        Shell(environment)("find stage -name *.yaml")
    print(f"\n# Done in {time.monotonic() - started:.0f} s. Everything is in {DEMO.name}/.")


if __name__ == "__main__":
    main()
