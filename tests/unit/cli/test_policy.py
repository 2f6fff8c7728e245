"""What the flags of plan and apply mean."""

from __future__ import annotations

import pytest

from bundler.cli import preparing
from bundler.deploy.policy import Policy
from bundler.errors import UsageError
from tests.fakes.releases import config_map, release

BUNDLE = release("v1", [config_map("settings")])


def policy(recreate: list[str] | None = None, delete: list[str] | None = None) -> Policy:
    return preparing.policy(
        BUNDLE, "stage", take_over=["helm"], recreate=recreate, no_prune=True, max_deletions=3,
        delete=delete,
    )  # fmt: skip


def test_flags_become_the_policy() -> None:
    made = policy(["Deployment/web"], ["PersistentVolumeClaim/data", "ConfigMap/shop/old"])
    assert made == Policy(
        take_over=frozenset({"helm"}),
        recreate=frozenset({"Deployment/web"}),
        prune=False,
        max_deletions=3,
        delete=frozenset({"PersistentVolumeClaim/data", "ConfigMap/shop/old"}),
    )


@pytest.mark.parametrize("name", ["web", "", "/", "Deployment/", "/web", "a/b/c/d", "a//c"])
@pytest.mark.parametrize("flag", ["recreate", "delete"])
def test_what_names_no_object_is_a_usage_error(flag: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag}") as error:
        policy(**{flag: [name]})
    assert error.value.hint is not None
    assert "Deployment/web" in error.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "PersistentVolumeClaim/data", "PersistentVolumeClaim/shop/data", "Namespace/shop",
        "PersistentVolume/v", "CustomResourceDefinition/sums.example.com",
    ],
)  # fmt: skip
def test_what_holds_others_data_or_objects_cannot_be_named_to_be_made_anew(name: str) -> None:
    with pytest.raises(UsageError, match="never made anew"):
        policy(recreate=[name])
