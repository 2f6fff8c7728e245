"""What a push must build, as the matrix of a CI system's jobs."""

from __future__ import annotations

import json
from typing import Any

from bundler.develop.affected import Affected, AffectedService

GITHUB_JOBS = 256
GITLAB_JOBS = 200
GITLAB_NAME = 255
"""How long a job's name may be: GitLab drops the whole pipeline without a word."""
_OWN_NAME = 32
"""What is left for the name that the job itself has."""
# A pipeline without jobs fails.
_NOTHING_IN_GITLAB = """\
.affected:
  rules:
    - when: never
nothing affected:
  script:
    - echo no service is affected
"""


def github(affected: Affected) -> str:
    """One line of JSON for `strategy.matrix`."""
    include = [
        {
            "service": service.name,
            "image": service.image,
            "commit": service.commit,
            "tag": service.tags[0] if service.tags else "",
            "tags": list(service.tags),
            "path": service.paths[0],
        }
        for service in affected.services
    ]
    return _json({"include": include}) + "\n"


def github_warnings(affected: Affected) -> list[str]:
    count = len(affected.services)
    if count <= GITHUB_JOBS:
        return []
    return [f"{count} services are affected: a matrix of GitHub has at most {GITHUB_JOBS} jobs"]


def gitlab(affected: Affected) -> str:
    """A child pipeline's YAML: the hidden job `.affected`, which a job of yours extends."""
    if not affected.services:
        return _NOTHING_IN_GITLAB
    rows = [_json(_variables(service)) for service in affected.services]
    head = [".affected:", "  parallel:", "    matrix:"]
    return "\n".join([*head, *(f"      - {row}" for row in rows)]) + "\n"


def gitlab_warnings(affected: Affected) -> list[str]:
    count = len(affected.services)
    warnings = []
    if count > GITLAB_JOBS:
        warnings.append(
            f"{count} services are affected: a matrix of GitLab has at most {GITLAB_JOBS} jobs"
        )
    long = [s.name for s in affected.services if _name_length(s) > GITLAB_NAME - _OWN_NAME]
    if long:
        warnings.append(
            f"the jobs of {', '.join(long)} get names of nearly {GITLAB_NAME} characters, "
            "more than GitLab may take: build them in jobs of their own"
        )
    return warnings


def _variables(service: AffectedService) -> dict[str, str]:
    return {
        "SERVICE": service.name,
        "IMAGE": service.image,
        "COMMIT": service.commit,
        "TAGS": " ".join(service.tags),
        "FOLDER": service.paths[0],
    }


def _name_length(service: AffectedService) -> int:
    """Of `: [a, b, c]`, which GitLab appends to the job's own name."""
    return len(f": [{', '.join(_variables(service).values())}]")


def _json(value: Any) -> str:
    """On one line, which is YAML as well; keys keep their order, for jobs are named by it."""
    return json.dumps(value, ensure_ascii=False)
