from __future__ import annotations

import pytest

from bundler.model.image_tags import image_tags, is_template

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("template", "tags"),
    [
        ("{commit}", [COMMIT]),
        ("v-{short}", ["v-0123456"]),
        ("{short:12}", ["012345678901"]),
        ("{branch}-{short}", ["main-0123456", "release-1.x-0123456"]),
    ],
)
def test_a_template_names_the_images_of_a_commit(template: str, tags: list[str]) -> None:
    assert is_template(template)
    assert list(image_tags(template, COMMIT, ["main", "release/1.x"])) == tags


@pytest.mark.parametrize(
    "template",
    ["latest", "{branch}", "{commit", "{short:0}", "{short:3}", "-{short}", "a/{commit}"],
)
def test_a_template_without_a_commit_or_legal_tags_is_none(template: str) -> None:
    assert not is_template(template)
