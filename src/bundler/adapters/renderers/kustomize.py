"""Renders overlays with `kustomize` (or `kubectl kustomize`), run as a program.

The overlay is not touched: what is put on top of it is a generated kustomization that has it as its
resource. The program runs without network, plugins, credentials or a home folder, and only after
every kustomization that it could reach was read and found local.

Images are pinned in what was rendered, not here: kustomize goes through all objects once for each
entry of `images`, which makes the pins of 200 services take twenty times as long as the overlay.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from bundler.adapters import programs
from bundler.adapters.renderers import program as renderer_program
from bundler.adapters.renderers.kustomization_scan import NAMES, find_kustomization, scan
from bundler.adapters.renderers.kustomize_generators import (
    GeneratedConfigMap,
    generated_config_maps,
)
from bundler.adapters.renderers.near_paths import near_folder
from bundler.errors import RenderFailed, ToolMissing
from bundler.manifests import read_documents
from bundler.model.bundle import PinnedOverlay
from bundler.model.finding import Finding

NEEDED = "v5.0.0"
_HELM = (
    "install helm 3, which kustomize runs, and put it on PATH: https://helm.sh/docs/intro/install/"
)
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)\S*")
_OUR_LAYER = re.compile(
    r"^accumulating resources: accumulation err='accumulating resources from '[^']*': "
    r"'[^']*' must resolve to a file': (?:recursed accumulation of path '[^']*': )?"
)
"""How kustomize begins when the fault is in the overlay, below what is put on top."""
_WARNING = re.compile(r"^# Warning: .*\n", re.MULTILINE)
"""What kustomize says of old fields, before it says what is wrong."""
_HOW = (
    f"install kustomize {NEEDED} or newer and put it on PATH: "
    "https://kubectl.docs.kubernetes.io/installation/kustomize/"
)
_BEFORE_OWN_CHANGES = frozenset(
    {
        "apiVersion", "kind", "resources", "bases", "crds", "openapi", "configurations",
        "configMapGenerator", "secretGenerator", "generatorOptions", "generators",
    }
)  # fmt: skip


class Kustomize:
    """Implements `bundler.ports.Renderer`."""

    name = "kustomize"

    def __init__(
        self,
        program: str | None = None,
        helm: str | None = None,
        *,
        seconds: float = renderer_program.SECONDS,
    ) -> None:
        """`program` is a path or name; None is `kustomize` on PATH, else `kubectl`'s own.

        `helm`, by default that on PATH, is what inflates charts that overlays have.
        """
        self._program = program
        self._helm = helm
        self._seconds = seconds
        self._version: str | None = None

    def version(self) -> str:
        """Such as `v5.8.2`. Raises ToolMissing."""
        if self._version is None:
            self._version = self._ask_version()
        return self._version

    def render(self, tree: PurePath, overlay: PinnedOverlay) -> bytes:
        """The YAML documents of an overlay; see the port."""
        root = Path(tree).resolve()
        self.version()
        has_charts = _check(root, overlay)
        with _scratch() as scratch:
            folder = _on_top(scratch, root, overlay)
            try:
                done = renderer_program.run(
                    [*self._build_command(), str(folder), *self._flags(has_charts)],
                    home=scratch / "home",
                    folder=scratch,
                    seconds=self._seconds,
                )
            except (programs.TimeLimit, programs.OutputLimit) as error:
                raise _failure(overlay, str(error)) from error
            except OSError as error:
                raise _missing(self._build_command()[0]) from error
            if done.code:
                raise _failure(overlay, _words(done.words, root, scratch, overlay))
            return done.output

    def render_part(self, tree: PurePath, overlay: PinnedOverlay, components: int) -> bytes:
        """An overlay before its own changes; see the port."""
        with _part(Path(tree).resolve() / overlay.folder, components) as is_something:
            return self.render(tree, overlay) if is_something else b""

    def _build_command(self) -> list[str]:
        program = self._found()
        is_kubectl = Path(program).name.startswith("kubectl")
        return [program, "kustomize" if is_kubectl else "build"]

    def _flags(self, has_charts: bool) -> list[str]:
        """Raises ToolMissing where charts need helm."""
        if not has_charts:
            return []
        helm = renderer_program.find([self._helm or "helm"])
        if helm is None:
            raise ToolMissing("helm is not installed, and an overlay has charts", hint=_HELM)
        return ["--enable-helm", "--helm-command", helm]

    def _found(self) -> str:
        names = [self._program] if self._program else ["kustomize", "kubectl"]
        found = renderer_program.find(names)
        if found is None:
            raise _missing(names[0])
        return found

    def _ask_version(self) -> str:
        program, verb = self._build_command()
        is_kubectl = verb == "kustomize"
        arguments = ["version", "--client"] if is_kubectl else ["version"]
        with tempfile.TemporaryDirectory(prefix="bundler-") as folder:
            try:
                done = renderer_program.run(
                    [program, *arguments],
                    home=Path(folder),
                    folder=Path(folder),
                    seconds=self._seconds,
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


def _check(root: Path, overlay: PinnedOverlay) -> bool:
    """Whether the overlay has charts. Raises RenderFailed with all that is refused in it."""
    folder = overlay.folder
    place = overlay.place
    if find_kustomization(root / folder) is None:
        raise _no_overlay(root, overlay)
    protected = overlay.pinned.environment.protected
    findings, has_charts = scan(root, folder, place, protected=protected)
    if findings:
        problems = f"{len(findings)} problem{'s' if len(findings) > 1 else ''}"
        raise RenderFailed(f"{place}: overlay {folder} has {problems}", findings=findings)
    return has_charts


def _no_overlay(root: Path, overlay: PinnedOverlay) -> RenderFailed:
    folder, place = overlay.folder, root / overlay.folder
    what = "is a file, not a folder" if place.is_file() else "is not in the tree"
    what = "has no kustomization.yaml" if place.is_dir() else what
    near = near_folder(root, folder, NAMES)
    meant = f"did you mean {near}? Else " if near else ""
    file = "" if place.is_file() else f"commit {folder}/kustomization.yaml before tagging, or "
    key = f"environments.{overlay.pinned.environment.name}.kustomize"
    hint = f"{meant}{file}change {key}"
    return RenderFailed(f"{overlay.place}: overlay {folder} {what}", hint=hint)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder outside of the tree, with a home for the program."""
    with tempfile.TemporaryDirectory(prefix="bundler-render-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        yield folder


@contextmanager
def _part(folder: Path, components: int) -> Iterator[bool]:
    """A folder whose kustomization has for a while what comes before its own changes alone.

    Gives whether that is anything: kustomize refuses to build nothing.
    """
    file = find_kustomization(folder)
    before = file.read_bytes() if file else b""
    documents = read_documents(before)
    if file is None or not documents or not isinstance(documents[0], Mapping):
        yield True  # rendering it says what is wrong
        return
    kept = {key: value for key, value in documents[0].items() if key in _BEFORE_OWN_CHANGES}
    kept["components"] = (documents[0].get("components") or [])[:components]
    try:
        file.write_text(json.dumps(kept), "utf-8")
        yield any(value for key, value in kept.items() if key not in ("apiVersion", "kind"))
    finally:
        file.write_bytes(before)


def _on_top(scratch: Path, root: Path, overlay: PinnedOverlay) -> Path:
    """The folder to build: the overlay, or a kustomization above it where something is put on top.

    That lies outside the tree, as kustomize takes no resource from a folder around its own.
    """
    folder = (root / overlay.folder).resolve()
    generated = generated_config_maps(folder) if overlay.config_maps else ()
    wanted = [each for each in generated if each.name in overlay.config_maps]
    if not wanted:
        return folder
    base = os.path.relpath(folder, scratch)
    document = generated_kustomization(base, wanted, overlay.config_maps)
    (scratch / "kustomization.yaml").write_text(json.dumps(document), "utf-8")
    return scratch


def generated_kustomization(
    base: str,
    generated: Iterable[GeneratedConfigMap],
    config_maps: Mapping[str, Mapping[str, str]],
) -> Mapping[str, Any]:
    """The kustomization that is put on top of the overlay (in JSON, which is YAML).

    Values are quoted, as kustomize takes one pair of quotes away.
    """
    generators = [
        {
            "name": each.name,
            **({"namespace": each.namespace} if each.namespace else {}),
            "behavior": "merge",
            "literals": [
                f'{key}="{value}"' for key, value in sorted(config_maps[each.name].items())
            ],
        }
        for each in dict.fromkeys(generated)
    ]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "configMapGenerator": generators,
    }


def _words(words: str, root: Path, folder: Path, overlay: PinnedOverlay) -> str:
    """What the program said, with the tree's paths as its author knows them."""
    base = overlay.folder
    text = words.replace(os.path.relpath(root / base, folder), base)
    text = renderer_program.without_root(text, root)
    text = _WARNING.sub("", text.replace(str(folder), "the generated overlay")).strip()
    text = text.removeprefix("Error: ")
    return renderer_program.shortened(_OUR_LAYER.sub("", text))


def _failure(overlay: PinnedOverlay, words: str) -> RenderFailed:
    folder = overlay.folder
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
