"""How long to wait, as the options say it."""

from __future__ import annotations

import pytest

from bundler.cli.options import limits
from bundler.deploy.limits import FOREVER, Limits
from bundler.errors import UsageError


def test_without_options_the_documented_limits_hold() -> None:
    assert limits(None, None, "") == Limits(
        timeout=600.0, stall=FOREVER, image=30.0, restarts=3, crash=60.0, refused=10.0
    )


def test_each_limit_can_be_another() -> None:
    assert limits(60.0, 240.0, "image=2m, crash=90s,refused=5,restarts=7") == Limits(
        timeout=60.0, stall=240.0, image=120.0, restarts=7, crash=90.0, refused=5.0
    )


def test_no_time_without_a_move_is_no_limit() -> None:
    assert limits(60.0, 0.0, "").stall == FOREVER


@pytest.mark.parametrize("text", ["image", "pull=3s", "image=soon", "restarts=few", "restarts=-1"])
def test_what_is_no_patience_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits(600.0, None, text)
    assert caught.value.hint
