"""What bundler.yaml's findings say, and where they point."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters import project_file
from bundler.adapters.document_schemas import DocumentSchemas
from bundler.adapters.kubernetes_schemas import KubernetesSchemas
from bundler.errors import ProjectFileInvalid

PROJECT = """
apiVersion: bundler/v1
kind: Project
name: shop
deployRegistry: oci://registry.example.com/deploy/shop
images: {registry: "%s"}
services:
  cart: {path: cart}
  orders: {path: orders%s}
"""


def findings(registry: str = "registry.example.com/shop", orders: str = "") -> list[str | None]:
    with pytest.raises(ProjectFileInvalid) as raised:
        project_file.parse(
            (PROJECT % (registry, orders)).encode(),
            Path("/"),
            DocumentSchemas(),
            KubernetesSchemas(),
        )
    return [finding.pointer for finding in raised.value.findings]


@pytest.mark.parametrize("registry", ["https://registry.example.com/shop", "R/Shop", "a b"])
def test_a_wrong_registry_is_told_once_and_where_it_is_written(registry: str) -> None:
    assert findings(registry) == ["/images/registry"]


@pytest.mark.parametrize("image", ["x.example.com/orders:v1", "https://x.example.com/orders"])
def test_a_wrong_image_is_told_at_its_service(image: str) -> None:
    assert findings(orders=f", image: '{image}'") == ["/services/orders/image"]
