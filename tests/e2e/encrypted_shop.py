"""A small shop whose repository has Secrets that SOPS encrypted, and an age key for them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults import small_shop
from tests.git_history import git
from tools.build import binary_path

REGEX = ("--encrypted-regex", "^(data|stringData)$")


class AgeKey:
    """A key pair; `file` is what a runner has, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "key.txt"
        made = [str(binary_path("age-keygen")), "-o", str(self.file)]
        subprocess.run(made, check=True, capture_output=True)
        shown = [str(binary_path("age-keygen")), "-y", str(self.file)]
        self.recipient = subprocess.run(
            shown, check=True, capture_output=True, text=True
        ).stdout.strip()

    def encrypted(self, text: str, *options: str) -> str:
        """A YAML text as SOPS encrypts it."""
        how = ("--age", self.recipient, *(options or REGEX), "--filename-override", "s.yaml")
        return self._sops("encrypt", *how, stdin=text)

    def encrypted_alone(self, text: str) -> str:
        """The same with a MAC that covers encrypted values only, which a file has to say."""
        rule = {"age": self.recipient, "encrypted_regex": REGEX[1], "mac_only_encrypted": True}
        rules = self.file.with_name("rules.yaml")
        rules.write_text(json.dumps({"creation_rules": [rule]}))
        how = ("--config", str(rules), "encrypt", "--filename-override", "s.yaml")
        return self._sops(*how, stdin=text)

    def with_value(self, text: str, key: str, value: str) -> str:
        """An encrypted text with another value at `stringData.<key>`; the others stay."""
        file = self.file.with_name("edited.yaml")
        file.write_text(text)
        place = f'["stringData"]["{key}"]'
        self._sops("set", "--value-stdin", str(file), place, stdin=json.dumps(value))
        changed = file.read_text()
        file.unlink()
        return changed

    def _sops(self, *arguments: str, stdin: str) -> str:
        done = subprocess.run(
            [str(binary_path("sops")), *arguments],
            input=stdin,
            env={**os.environ, "SOPS_AGE_KEY_FILE": str(self.file)},
            cwd=self.file.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def secret(name: str, **values: str) -> str:
    """A Secret in clear, as a person writes it: keys in no order."""
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in values.items())
    return (
        "kind: Secret\napiVersion: v1\nmetadata:\n    name: "
        f"{name}\n    creationTimestamp: null\ntype: Opaque\nstringData:\n{lines}"
    )


def deployment(name: str, *, uses: str = "", key: str = "") -> dict[str, Any]:
    """A workload of the one service that takes its environment from a Secret, or one key of it."""
    labels = {"app": name}
    container: dict[str, Any] = {"name": "main", "image": "registry.example.com/shop/cart"}
    if key:
        reference = {"secretKeyRef": {"name": uses, "key": key}}
        container["env"] = [{"name": "VALUE", "valueFrom": reference}]
    elif uses:
        container["envFrom"] = [{"secretRef": {"name": uses}}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


class EncryptedShop:
    """`folder/repo`, published to `folder/registry`: the environment `stage` has one overlay."""

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        small_shop.build(folder, "ocidir://../registry/shop")
        self.repository = folder / "repo"
        self.registry = folder / "registry"
        self._targets = {name: {"namespace": namespace} for name, namespace in targets.items()}
        self._declare(kustomize="overlays/stage")

    def _declare(self, **source: Any) -> None:
        file = self.repository / "bundler.yaml"
        project = json.loads(file.read_text())
        project["environments"]["stage"] = {**source, "targets": self._targets}
        file.write_text(json.dumps(project))

    def reference(self, tag: str) -> str:
        return f"ocidir://{self.registry / 'shop'}:{tag}"

    def tag(self, tag: str, files: Mapping[str, str | dict[str, Any]], **more: Any) -> None:
        """Commit an overlay that has these files as resources, and tag it.

        `more` goes into its kustomization.
        """
        overlay = self.repository / "overlays" / "stage"
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (overlay / name).write_text(text)
        names = [name for name in files if name.endswith(".yaml")]
        document = {**small_shop.KUSTOMIZATION, "resources": ["cart.yaml", *names], **more}
        (overlay / "kustomization.yaml").write_text(json.dumps(document))
        self._commit(tag)

    def tag_chart(self, tag: str, templates: Mapping[str, str]) -> None:
        """Commit a chart of the service with these templates, in place of the overlay; tag it."""
        image = {"repository": "registry.example.com/shop/cart", "digest": ""}
        cart = json.dumps(deployment("cart")).replace(
            f'"{image["repository"]}"', "{{ .Values.image.repository }}@{{ .Values.image.digest }}"
        )
        files = {
            "Chart.yaml": json.dumps({"apiVersion": "v2", "name": "shop", "version": "1.0.0"}),
            "values.yaml": json.dumps({"image": image}),
            "templates/cart.yaml": cart,
            **{f"templates/{name}": text for name, text in templates.items()},
        }
        for name, text in files.items():
            path = self.repository / "charts" / "shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._declare(helm={"chart": "charts/shop"})
        self._commit(tag)

    def _commit(self, tag: str) -> None:
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "--message", f"Prepare {tag}")
        git(self.repository, "tag", tag)
