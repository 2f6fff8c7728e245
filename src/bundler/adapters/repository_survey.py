"""Looks at the files of a work tree for what builds images and what deploys them.

Nothing is executed, no link is followed and nothing is read that git ignores.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from bundler.adapters.dockerfile import copied
from bundler.adapters.git.errors import failure_of, git_missing
from bundler.adapters.git.process import environment, settings
from bundler.adapters.git.repository import GitRepository
from bundler.adapters.renderers.kustomization_scan import MAX_BYTES, NAMES, is_remote
from bundler.errors import SourceInvalid
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.objects import split_api_version
from bundler.model.survey import (
    Dockerfile,
    FoundObject,
    ImageChange,
    Kustomization,
    Survey,
    dockerfile_name,
    is_aside,
)

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_HELM = ("helmCharts", "helmChartInflationGenerator", "helmGlobals")


def work_tree(path: Path) -> Path:
    """The top of the work tree that a path lies in. Raises SourceInvalid, ToolMissing."""
    root = GitRepository(path).root
    if _git(root, "rev-parse", "--is-inside-work-tree", failure="false").strip() != "true":
        raise SourceInvalid(
            f"{root} has no work tree", hint="run it in a clone that is checked out"
        )
    return root


def survey(root: Path) -> Survey:
    """What the work tree at `root` holds, ignored files left out.

    Raises SourceInvalid in git's own words; files that cannot be read are named in the survey.
    """
    look = _Look(root)
    files = frozenset(look.files)
    found = sorted(path for path in files if dockerfile_name(path))
    return Survey(
        folder_name=root.resolve().name,
        files=files,
        dockerfiles=tuple(
            Dockerfile(path, copied(text))
            for path in found
            if not is_aside(path) and (text := look.text(path)) is not None
        ),
        kustomizations=look.kustomizations(),
        charts=tuple(
            sorted(
                dirname(path) or "."
                for path in files
                if path.rpartition("/")[2] == "Chart.yaml" and not is_aside(path)
            )
        ),
        submodules=tuple(look.submodules),
        branches=_branches(root),
        branch=_git(root, "symbolic-ref", "--quiet", "--short", "HEAD", failure="").strip() or None,
        left_out=tuple(path for path in found if is_aside(path)),
        unreadable=tuple(sorted(look.unreadable)),
    )


# --- git ----------------------------------------------------------------------------------------


def _git(root: Path, *arguments: str, failure: str | None = None) -> str:
    """The output of one command; `failure` is the answer where git exits non-zero."""
    try:
        completed = subprocess.run(
            ["git", *settings(), "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=environment(),
        )
    except FileNotFoundError as error:
        raise git_missing() from error
    if completed.returncode == 0:
        return os.fsdecode(completed.stdout)
    if failure is not None:
        return failure
    raise failure_of(f"git {arguments[0]}", completed.stderr)


def _branches(root: Path) -> frozenset[str]:
    local = _git(root, "for-each-ref", "--format=%(refname:strip=2)", "refs/heads")
    remote = _git(root, "for-each-ref", "--format=%(refname:strip=3)", "refs/remotes")
    unborn = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD", failure="")
    return frozenset((*local.splitlines(), *remote.splitlines(), *unborn.splitlines()))


# --- files --------------------------------------------------------------------------------------


class _Look:
    """One look at a work tree; every file is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root = Path(os.path.realpath(root))
        listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        paths = sorted({path for path in listed.split("\0") if path and not path.endswith("/")})
        self.submodules = [path for path in paths if _is_real_folder(root / path)]
        self.files = [
            path
            for path in paths
            if os.path.lexists(root / path) and not _is_real_folder(root / path)
        ]
        self.unreadable: set[str] = set()
        self._yaml = frozenset(p for p in self.files if p.endswith((".yaml", ".yml", ".json")))
        self._places = {
            dirname(path) or ".": path
            for name in reversed(NAMES)
            for path in self.files
            if path.rpartition("/")[2] == name
        }

    def text(self, path: str) -> str | None:
        content = self._content(path)
        return None if content is None else content.decode("utf-8", "replace")

    def _content(self, path: str) -> bytes | None:
        """A file's content; None for a link, and for what is remembered as unreadable."""
        file = self._root / path
        try:
            if os.path.realpath(file) != str(self._real_root / path):
                return None
            if not file.is_file() or file.stat().st_size > MAX_BYTES:
                raise OSError
            return file.read_bytes()
        except OSError:
            self.unreadable.add(path)
            return None

    def _documents(self, path: str) -> list[Mapping[str, Any]]:
        content = self._content(path)
        if content is None:
            return []
        try:
            documents = read_documents(content)
        except InvalidYaml:
            self.unreadable.add(path)
            return []
        return [document for document in documents if isinstance(document, Mapping)]

    # --- kustomizations ---

    def kustomizations(self) -> tuple[Kustomization, ...]:
        """Those that lie not aside, and all that they refer to."""
        waiting = [folder for folder, path in self._places.items() if not is_aside(path)]
        found: dict[str, Kustomization] = {}
        while waiting:
            folder = waiting.pop()
            if folder not in found:
                found[folder] = self._kustomization(folder)
                waiting += [*found[folder].resources, *found[folder].components]
        return tuple(found[folder] for folder in sorted(found))

    def _kustomization(self, folder: str) -> Kustomization:
        documents = self._documents(self._places[folder])
        document: dict[str, Any] = {k: v for each in documents for k, v in each.items()}
        entries = _texts(document, "resources") + _texts(document, "bases")
        resources = [self._local(folder, entry) for entry in entries]
        components = [self._local(folder, x) for x in _texts(document, "components")]
        patches = list(self._patches(folder, document))
        namespace = document.get("namespace")
        own = [obj for path in resources if path in self._yaml for obj in self._documents(path)]
        return Kustomization(
            folder=folder,
            is_component=document.get("kind") == "Component",
            namespace=namespace if isinstance(namespace, str) and namespace else None,
            resources=tuple(path for path in resources if path in self._places),
            components=tuple(path for path in components if path in self._places),
            objects=tuple(_objects([*own, *(p for p in patches if "$patch" not in p)])),
            removed=frozenset(_removed(patches)),
            images=tuple(_changes(document)),
            refused=tuple(_refused(document)),
        )

    @staticmethod
    def _local(folder: str, entry: str) -> str:
        return normpath(join(folder, entry))

    def _patches(self, folder: str, document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The strategic patches of a kustomization, from its files and in its own text."""
        listed = _mappings(document, "patches")
        for text in [p.get("patch") for p in listed] + _texts(document, "patchesStrategicMerge"):
            if isinstance(text, str) and "\n" in text:
                yield from _inline(text)
        for entry in [p.get("path") for p in listed] + _texts(document, "patchesStrategicMerge"):
            if isinstance(entry, str) and (path := self._local(folder, entry)) in self._yaml:
                yield from self._documents(path)


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


# --- what stands in documents -------------------------------------------------------------------


def _texts(document: Mapping[str, Any], key: str) -> list[str]:
    value = document.get(key)
    return [x for x in value if isinstance(x, str)] if isinstance(value, list) else []


def _mappings(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = document.get(key)
    return [x for x in value if isinstance(x, Mapping)] if isinstance(value, list) else []


def _inline(text: str) -> list[Mapping[str, Any]]:
    try:
        return [document for document in read_documents(text) if isinstance(document, Mapping)]
    except InvalidYaml:
        return []  # a list of JSON patches, or what kustomize will complain about


def _refused(document: Mapping[str, Any]) -> Iterator[str]:
    if any(key in document for key in _HELM):
        yield "a helm chart in a kustomization"
    for key in ("resources", "bases", "components"):
        yield from (entry for entry in _texts(document, key) if is_remote(entry))


def _changes(document: Mapping[str, Any]) -> Iterator[ImageChange]:
    for entry in _mappings(document, "images"):
        if isinstance(entry.get("name"), str):
            new = [entry.get(key) for key in ("newName", "newTag", "digest")]
            name, tag, digest = (str(x) if x else None for x in new)
            yield ImageChange(entry["name"], name, tag, digest)


def _removed(patches: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for patch in patches:
        if patch.get("$patch") == "delete":
            yield str(patch.get("kind")), _name(patch)


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def _objects(documents: Iterable[Mapping[str, Any]]) -> Iterator[FoundObject]:
    for document in documents:
        kind, items = document.get("kind"), document.get("items")
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            yield from _objects(item for item in items if isinstance(item, Mapping))
        elif isinstance(kind, str):
            group, _ = split_api_version(str(document.get("apiVersion", "")))
            images = tuple(sorted(set(_images(document))))
            yield FoundObject(group, kind, _name(document), images)


def _images(value: object) -> Iterator[str]:
    """The images of every list of containers, custom resources' too."""
    if isinstance(value, list):
        for inner in value:
            yield from _images(inner)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _CONTAINERS and isinstance(inner, list):
                images = (c.get("image") for c in inner if isinstance(c, Mapping))
                yield from (image for image in images if isinstance(image, str))
            yield from _images(inner)
