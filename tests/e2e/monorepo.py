"""A small monorepo whose CI builds what `bundler affected` says, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundler.adapters.schemas.document_schemas import DocumentSchemas
from tests.e2e.conftest import Bundler
from tests.git_history import git
from tools.sample_shop import File, ImageLayout, image_labels

PROJECT = """\
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: ocidir://../registry/shop
ignore: ["*.md", "docs/"]
images:
  registry: registry.example.com/shop
  lookup: ocidir://../images
services:
  cart: {paths: [services/cart], uses: [money]}
  orders: {paths: [services/orders], uses: [ui]}
  search: {paths: [services/search, go.mod]}
libraries:
  money: {paths: [libs/money]}
  ui: {paths: [libs/ui], uses: [money]}
"""
FILES = {
    "services/cart/main": "0",
    "services/orders/main": "0",
    "services/search/main": "0",
    "libs/money/lib": "0",
    "libs/ui/lib": "0",
    "go.mod": "0",
}
ZEROS = "0" * 40


class Monorepo:
    """A repository in `folder/repo`, and its images in `folder/images`."""

    def __init__(self, folder: Path, bundler: Bundler, *, main: str = "main") -> None:
        self.path = folder / "repo"
        self._images = folder / "images"
        self._layouts: dict[str, ImageLayout] = {}
        self._bundler = bundler
        self.path.mkdir()
        self.git("init", "--quiet", f"--initial-branch={main}")
        self.commit("Start", {"bundler.yaml": PROJECT, **FILES})

    def git(self, *arguments: str) -> str:
        return git(self.path, *arguments)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def commit(self, subject: str, files: dict[str, str]) -> str:
        """Write files and commit them to the branch that is checked out."""
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", subject)
        return self.head

    def project(self, *changes: tuple[str, str]) -> dict[str, str]:
        """The project file with some text replaced."""
        text = PROJECT
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        return {"bundler.yaml": text}

    def plan(self, since: str, *options: str, **variables: str) -> Any:
        """The value of `bundler affected -o json`, checked against its schema."""
        arguments = ("--since", since, "--repo", "repo", "-o", "json", *options)
        result = self._bundler("affected", *arguments, **variables)
        assert result.exit_code == 0, result.stdout + result.stderr
        assert not DocumentSchemas().check("result-affected", result.value)
        return result.value

    def affected(self, since: str, *options: str) -> set[str]:
        return set(self.plan(since, *options)["services"])

    def push(self, since: str) -> Any:
        """What CI does with the branch that is checked out: plan, build, tag; the plan."""
        plan = self.plan(since)
        for name, service in plan["services"].items():
            if service["tags"]:
                self._build(name, service, plan["branch"])
        return plan

    def _build(self, name: str, service: Any, branch: str) -> None:
        files = {
            line.partition("\t")[2]: File(line.encode())
            for line in self.git("ls-tree", "-r", "HEAD", "--", *service["paths"]).splitlines()
        }
        if name not in self._layouts:
            self._layouts[name] = ImageLayout(self._images / name)
        labels = image_labels(service["commit"], branch)
        self._layouts[name].add(files, service["tags"], labels, datetime(2025, 1, 1, tzinfo=UTC))
        self._layouts[name].close()

    def tags_of(self, name: str) -> set[str]:
        """The tags that CI pushed, and that no later push took."""
        return set(self._layouts[name].tags) if name in self._layouts else set()

    def digests_of(self, name: str) -> dict[str, object]:
        return {tag: entry["digest"] for tag, entry in self._layouts[name].tags.items()}

    def resolve(self, tag: str) -> Any:
        """service → (commit, digest) of a release."""
        result = self._bundler("resolve", tag, "--repo", "repo", "-o", "json")
        assert result.exit_code == 0, result.stdout + result.stderr
        services = result.value["services"]
        return {name: (each["commit"], each["digest"]) for name, each in services.items()}
