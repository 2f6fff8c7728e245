from __future__ import annotations

import pytest

from bundler.bundles import versions
from bundler.model.release import InvalidTag, ReleaseTag, SemVer


@pytest.mark.requirement("B-33")
def test_a_plus_becomes_an_underscore_and_the_name_stays() -> None:
    tag = ReleaseTag.parse("v1.2.0+b7")
    assert (tag.name, tag.version) == ("v1.2.0+b7", "v1.2.0_b7")


@pytest.mark.requirement("B-33")
@pytest.mark.parametrize("name", ["release/1.2", "v" + "1" * 128, "refs/heads/x"])
def test_a_name_that_no_registry_takes_is_refused(name: str) -> None:
    with pytest.raises(InvalidTag, match="not a legal tag"):
        _ = ReleaseTag.parse(name).version


@pytest.mark.parametrize(
    "name",
    ["-v", "--upload-pack=x", "a;b", "$(x)", "v1..2", "v1@{0}", "v1.lock", "ü", "", "a b",
     "v1\u20240\u20240", "\u04751.0.0", "v\uff11.0.0", "v1.0.0\n", "v1.0.0\u200b", "-"],
)  # fmt: skip
def test_a_name_that_git_could_misread_is_refused(name: str) -> None:
    with pytest.raises(InvalidTag):
        ReleaseTag.parse(name)


def test_a_full_ref_names_its_tag() -> None:
    assert ReleaseTag.parse("refs/tags/v1.0.0").name == "v1.0.0"


def test_versions_are_ordered_as_semver_says() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
               "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.10.0"]  # fmt: skip
    parsed = [SemVer.parse(text) for text in ordered]
    assert None not in parsed
    assert sorted(parsed, key=lambda v: v or SemVer((0, 0, 0))) == parsed


@pytest.mark.parametrize("text", ["1.0", "01.0.0", "v1", "release-1", "1.0.0-", "1.0.0-01"])
def test_other_names_are_no_semantic_versions(text: str) -> None:
    assert SemVer.parse(text) is None


def test_a_registry_lists_versions_newest_first_and_no_referrers() -> None:
    tags = ["v1.9.0", "latest", "v1.10.0", "sha256-" + "a" * 64, "v1.10.0-rc.1"]
    assert versions(tags) == ["v1.10.0", "v1.10.0-rc.1", "v1.9.0", "latest"]
