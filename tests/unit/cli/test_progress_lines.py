"""Progress where there is no terminal: lines of a log."""

from __future__ import annotations

import pytest

from bundler.cli.deployments import ProgressLines
from bundler.deploy.progress import READY, WAITING, Progress
from bundler.deploy.readiness import UNSEEN
from bundler.model.objects import ObjectRef

CART = ObjectRef("apps", "Deployment", "shop", "cart")


def test_the_first_moment_of_a_change_has_no_line_and_becoming_ready_has_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = ProgressLines()
    for word, message in ((WAITING, UNSEEN), (WAITING, "0 of 1 replicas are ready"), (READY, "")):
        tell(Progress("workloads", word, CART, message))
    assert capsys.readouterr().err.splitlines() == [
        "  Deployment/shop/cart waiting: 0 of 1 replicas are ready",
        "  Deployment/shop/cart ready",
    ]
