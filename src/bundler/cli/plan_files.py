"""Plans as files: what `bundler plan --out` writes and `bundler apply --plan` reads."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from bundler.cli import identity, wiring
from bundler.deploy.reviewed import ReviewedPlan
from bundler.errors import UsageError, VerificationFailed
from bundler.manifests import read_json
from bundler.model.frozen_plan import FrozenPlan

_MADE_BY = "bundler plan --out writes one"
_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


def later(time: str, seconds: float) -> str:
    """A time in the form of ours (`identity.now`), some seconds after another."""
    moved = datetime.strptime(time, _FORMAT) + timedelta(seconds=seconds)
    return moved.strftime("%Y-%m-%dT%H:%M:%SZ")


def write(path: Path, plan: FrozenPlan) -> None:
    """For nobody else to read: it holds what stands in a target. Raises UsageError."""
    content = json.dumps(plan.as_dict(), indent=2) + "\n"
    wiring.write_file(path, content.encode(), private=True)


def read(path: Path) -> ReviewedPlan:
    """Raises UsageError where it is no plan, VerificationFailed where it was changed."""
    try:
        document = read_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=_MADE_BY) from error
    except ValueError as error:
        raise UsageError(f"{path} is no plan: {error}", hint=_MADE_BY) from error
    findings = wiring.document_schemas().check("plan", document)
    if findings:
        raise UsageError(f"{path} is no plan", hint=_MADE_BY, findings=findings)
    try:
        plan = FrozenPlan.from_dict(document)
    except ValueError as error:
        raise VerificationFailed(
            f"{path}: {error}", hint="a plan is not edited: make a new one"
        ) from error
    return ReviewedPlan(plan, identity.now)
