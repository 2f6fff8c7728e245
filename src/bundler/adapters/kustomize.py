"""Renders overlays with `kustomize` (or `kubectl kustomize`), run as a program.

The overlay is not touched: a generated kustomization takes it as its resource and puts the pins on
top. The program runs without network, plugins, credentials
or a home folder, and only after every kustomization that it could reach was read and found local.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from bundler.adapters import programs
from bundler.adapters.kustomization_scan import find_kustomization, scan
from bundler.errors import RenderFailed, ToolMissing
from bundler.model.bundle import PinnedOverlay
from bundler.model.finding import Finding

NEEDED = "v5.0.0"
SECONDS = 120.0
MAX_OUTPUT = 64 * 1024 * 1024
_LONGEST_WORDS = 4_000
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)\S*")
_OUR_LAYER = re.compile(
    r"^accumulating resources: accumulation err='accumulating resources from '[^']*': "
    r"'[^']*' must resolve to a file': (?:recursed accumulation of path '[^']*': )?"
)
"""How kustomize begins when the fault is in the overlay, below the kustomization of the pins."""
_HOW = (
    f"install kustomize {NEEDED} or newer and put it on PATH: "
    "https://kubectl.docs.kubernetes.io/installation/kustomize/"
)

# kustomize pins `containers` and `initContainers` wherever they stand; these it has to be told of.
_POD_SPECS = {
    "Pod": "spec",
    "PodTemplate": "template/spec",
    "ReplicationController": "spec/template/spec",
    "Deployment": "spec/template/spec",
    "StatefulSet": "spec/template/spec",
    "DaemonSet": "spec/template/spec",
    "ReplicaSet": "spec/template/spec",
    "Job": "spec/template/spec",
    "CronJob": "spec/jobTemplate/spec/template/spec",
}
IMAGE_FIELDS = {
    "images": [
        {"kind": kind, "path": f"{spec}/{field}"}
        for kind, spec in _POD_SPECS.items()
        for field in ("ephemeralContainers[]/image", "volumes[]/image/reference")
    ]
}


class Kustomize:
    """Implements `bundler.ports.Renderer`."""

    name = "kustomize"

    def __init__(self, program: str | None = None, *, seconds: float = SECONDS) -> None:
        """`program` is a path or name; None is `kustomize` on PATH, else `kubectl`'s own."""
        self._program = program
        self._seconds = seconds
        self._version: str | None = None

    def version(self) -> str:
        """Such as `v5.8.2`. Raises ToolMissing."""
        if self._version is None:
            self._version = self._ask_version()
        return self._version

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        """The YAML documents of an overlay with its pins on top; see the port."""
        root = Path(tree).resolve()
        self.version()
        _check(root, overlay)
        with _generated(root, overlay) as folder:
            try:
                done = programs.run(
                    [*self._build_command(), str(folder)],
                    environment=_environment(folder / "home"),
                    folder=folder,
                    seconds=self._seconds,
                    max_output=MAX_OUTPUT,
                )
            except (programs.TimeLimit, programs.OutputLimit) as error:
                raise _failure(overlay, str(error)) from error
            except OSError as error:
                raise _missing(self._build_command()[0]) from error
            if done.code:
                raise _failure(overlay, _words(done.words, root, folder, overlay))
            return done.output

    def _build_command(self) -> list[str]:
        program = self._found()
        is_kubectl = Path(program).name.startswith("kubectl")
        return [program, "kustomize" if is_kubectl else "build"]

    def _found(self) -> str:
        names = [self._program] if self._program else ["kustomize", "kubectl"]
        for name in names:
            if found := shutil.which(name):
                return str(Path(found).absolute())
        raise _missing(names[0])

    def _ask_version(self) -> str:
        program, verb = self._build_command()
        is_kubectl = verb == "kustomize"
        arguments = ["version", "--client"] if is_kubectl else ["version"]
        with tempfile.TemporaryDirectory(prefix="bundler-") as folder:
            try:
                done = programs.run(
                    [program, *arguments],
                    environment=_environment(Path(folder)),
                    folder=Path(folder),
                    seconds=self._seconds,
                    max_output=MAX_OUTPUT,
                )
            except (OSError, programs.TimeLimit, programs.OutputLimit) as error:
                raise ToolMissing(f"{program}: cannot be run: {error}", hint=_HOW) from error
        return _read_version(program, done.output.decode(errors="replace"), is_kubectl)


def _read_version(program: str, answer: str, is_kubectl: bool) -> str:
    if is_kubectl:
        answer = answer.partition("Kustomize Version:")[2]
    match = _VERSION.search(answer)
    if not match:
        raise ToolMissing(f"{program}: does not tell its version of kustomize", hint=_HOW)
    if int(match[1]) < 5:
        raise ToolMissing(f"{program}: kustomize {match[0]} is older than {NEEDED}", hint=_HOW)
    return "v" + match[0].removeprefix("v")


def _missing(name: str) -> ToolMissing:
    return ToolMissing(f"{name} is not installed", hint=_HOW)


def _check(root: Path, overlay: PinnedOverlay) -> None:
    folder = overlay.target.kustomize
    place = overlay.place
    if find_kustomization(root / folder) is None:
        what = "has no kustomization.yaml" if (root / folder).is_dir() else "is not in the tree"
        raise RenderFailed(
            f"{place}: overlay {folder} {what}",
            hint=f"commit {folder}/kustomization.yaml before tagging, "
            f"or change environments.{overlay.environment.name}.kustomize",
        )
    findings = scan(root, folder, place)
    if findings:
        problems = f"{len(findings)} problem{'s' if len(findings) > 1 else ''}"
        raise RenderFailed(f"{place}: overlay {folder} has {problems}", findings=findings)


@contextmanager
def _generated(root: Path, overlay: PinnedOverlay) -> Iterator[Path]:
    """A folder with the kustomization of the pins, and a home for the program.

    It lies outside the tree, as kustomize takes no resource from a folder around its own.
    """
    with tempfile.TemporaryDirectory(prefix="bundler-pins-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        (folder / "images.yaml").write_text(json.dumps(IMAGE_FIELDS), "utf-8")
        base = os.path.relpath((root / overlay.target.kustomize).resolve(), folder)
        document = generated_kustomization(base, overlay)
        (folder / "kustomization.yaml").write_text(json.dumps(document), "utf-8")
        yield folder


def generated_kustomization(base: str, overlay: PinnedOverlay) -> Mapping[str, Any]:
    """The kustomization that puts the pins on top of the overlay (in JSON, which is YAML)."""
    images = []
    for pin in overlay.pins:
        entry = {"name": pin.name, "newName": pin.image.name, "newTag": pin.image.tag or ""}
        digest = {"digest": str(pin.image.digest)} if pin.image.digest else {}
        images.append(entry | digest)
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "configurations": ["images.yaml"],
        "images": images,
    }


def _environment(home: Path) -> dict[str, str]:
    """PATH and nothing else of ours; what could reach the network is pointed at nothing."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
    }


def _words(words: str, root: Path, folder: Path, overlay: PinnedOverlay) -> str:
    """What the program said, with the tree's paths as its author knows them."""
    base = overlay.target.kustomize
    text = words.replace(os.path.relpath(root / base, folder), base)
    text = text.replace(f"{root}/", "").replace(str(root), ".")
    text = text.replace(str(folder), "the generated overlay").strip().removeprefix("Error: ")
    text = _OUR_LAYER.sub("", text)
    return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + " …"


def _failure(overlay: PinnedOverlay, words: str) -> RenderFailed:
    folder = overlay.target.kustomize
    finding = Finding(
        "render",
        f"kustomize: {words or 'failed without a word'}",
        file=folder,
        environment=overlay.place,
    )
    return RenderFailed(
        f"{overlay.place}: overlay {folder} does not build",
        hint=f"kustomize build {folder} at the tag shows the same",
        findings=[finding],
    )
