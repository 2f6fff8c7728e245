"""What the answers of API servers mean."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.cluster.connection import Answer
from bundler.adapters.cluster.errors import refusal
from bundler.errors import (
    BundlerError,
    FieldConflict,
    NotFound,
    PermissionRefused,
    Refused,
    Unreachable,
)

WEBHOOK = 'admission webhook "policy.example.com" denied the request: password is correct-horse'


def status(code: int, message: str, *causes: dict[str, str]) -> Answer:
    details: dict[str, Any] = {"name": "x", "causes": list(causes)}
    return Answer(code, {"kind": "Status", "message": message, "details": details, "code": code})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(400, "strict decoding error: unknown field"), Refused),
        (status(400, WEBHOOK), Refused),
        (status(403, 'User "me" cannot list resource "pods" in API group'), PermissionRefused),
        (status(403, 'roles "r" is forbidden: user "me" (groups=["a"]) is attempting to grant RBAC '
                     "permissions not currently held"), PermissionRefused),
        (status(403, 'pods "p" is forbidden: exceeded quota: q, requested: pods=1'), Refused),
        (status(403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest"'), Refused),
        (status(403, WEBHOOK), Refused),
        (status(404, 'namespaces "x" not found'), NotFound),
        (status(409, "object is being deleted"), Refused),
        (status(409, "Apply failed", {"reason": "FieldManagerConflict"}), FieldConflict),
        (status(422, "invalid"), Refused),
        (status(429, "slow down"), Unreachable),
        (status(500, "etcdserver: leader changed"), Unreachable),
        (status(500, "failed to create typed patch object (a/b; v1): .x: field not"), Refused),
        (status(500, 'failed calling webhook "policy.example.com": no endpoints'), Refused),
        (status(503, "the server is starting"), Unreachable),
    ],
)  # fmt: skip
def test_an_answer_becomes_the_error_that_fits(answer: Answer, error: type[BundlerError]) -> None:
    made = refusal(answer, "Pod/shop/app")
    assert type(made) is error
    assert str(made).startswith("Pod/shop/app: ")


def test_every_manager_of_a_field_that_we_want_is_named() -> None:
    def cause(manager: str, field: str) -> dict[str, str]:
        message = f'conflict with "{manager}" using apps/v1'
        return {"reason": "FieldManagerConflict", "message": message, "field": field}

    causes = (cause("hpa", ".spec.replicas"), cause("helm", ".spec.b"), cause("helm", ".spec.a"))
    made = refusal(status(409, "Apply failed", *causes), "Deployment/shop/app")
    assert str(made) == (
        "Deployment/shop/app: helm manages .spec.a, .spec.b; hpa manages .spec.replicas"
    )


@pytest.mark.parametrize("code", [400, 403, 422, 500])
def test_a_webhook_that_refuses_a_secret_is_named_without_its_words(code: int) -> None:
    made = refusal(status(code, WEBHOOK), "Secret/shop/login", is_secret=True)
    assert type(made) is Refused
    assert "policy.example.com" in str(made)
    assert "correct-horse" not in str(made)


def test_a_long_answer_is_cut() -> None:
    assert len(str(refusal(status(422, "x" * 100_000), "Pod/shop/app"))) < 1100
