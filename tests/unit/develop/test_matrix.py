"""The forms that CI systems read, and what they do not take."""

from __future__ import annotations

import json

import pytest
import yaml

from bundler.develop import matrix
from bundler.develop.affected import Affected, AffectedService, Branch

COMMIT = "c" * 40


def plan(count: int, *, path: str = "services/a", push: bool = True) -> Affected:
    tags = (COMMIT, "latest") if push else ()
    services = tuple(
        AffectedService(f"s{n}", f"shop/s{n}", COMMIT, tags, ("new",), (path, "libs/x"))
        for n in range(count)
    )
    branch = Branch("develop")
    return Affected(COMMIT, (), None, branch, "develop", push, services, 0, 0, ())


def test_a_matrix_for_github_holds_a_job_for_each_service() -> None:
    rows = json.loads(matrix.github(plan(2)))["include"]
    assert [row["service"] for row in rows] == ["s0", "s1"]
    assert rows[0]["path"] == "services/a"
    assert (rows[0]["tag"], rows[0]["tags"]) == (COMMIT, [COMMIT, "latest"])
    assert json.loads(matrix.github(plan(0))) == {"include": []}


def test_what_is_not_pushed_has_no_tag_that_could_be_used_by_mistake() -> None:
    [row] = json.loads(matrix.github(plan(1, push=False)))["include"]
    assert (row["tag"], row["tags"]) == ("", [])
    [variables] = rows_of_gitlab(plan(1, push=False))
    assert variables["TAGS"] == ""


def rows_of_gitlab(found: Affected) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = yaml.safe_load(matrix.gitlab(found))[".affected"]["parallel"][
        "matrix"
    ]
    return rows


@pytest.mark.parametrize("path", ['sp ace/ü"q*[x]', "a: b", "# c", "{d}", "- e", "\N{OX}"])
def test_paths_with_any_characters_come_through(path: str) -> None:
    [row] = rows_of_gitlab(plan(1, path=path))
    assert row["FOLDER"] == path
    assert json.loads(matrix.github(plan(1, path=path)))["include"][0]["path"] == path


def test_more_jobs_than_a_matrix_may_have_are_told() -> None:
    assert not matrix.github_warnings(plan(256))
    assert "257 services" in matrix.github_warnings(plan(257))[0]
    assert not matrix.gitlab_warnings(plan(200))
    assert "201 services" in matrix.gitlab_warnings(plan(201))[0]


def test_names_that_gitlab_would_drop_the_pipeline_for_are_told() -> None:
    [warning] = matrix.gitlab_warnings(plan(1, path="deep/" * 25))
    assert "s0" in warning
    assert "255" in warning
