"""How runs ended, as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.adapters.metrics_file import MetricsFile
from bundler.deploy.events import Event, EventKind
from bundler.errors import UsageError


def event(kind: EventKind, second: int = 0, target: str = "eu", release: str = "v1") -> Event:
    at = f"2026-01-01T00:00:{second:02}Z"
    changes = {"created": 2, "deleted": 0}
    return Event(kind, at, "shop", "prod", target, release, "sha256:1", 1, changes=changes)


def written(path: Path, *events: Event) -> dict[str, float]:
    """Sample → value, as the file says at the end."""
    file = MetricsFile(path, pytest.fail)
    for each in events:
        file(each.as_dict())
    assert not path.exists() or not events, "nothing is there before the end"
    file.close()
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


PLACE = 'project="shop",environment="prod",target="eu"'


@pytest.mark.requirement("E-09")
def test_how_each_target_ended_is_told_by_gauges(tmp_path: Path) -> None:
    path = tmp_path / "bundler.prom"
    other = event("refused", 9, "us")
    found = written(path, event("start"), event("wave"), event("success", 7), other)
    assert found[f"bundler_apply_success{{{PLACE}}}"] == 1
    assert found[f"bundler_apply_duration_seconds{{{PLACE}}}"] == 7
    assert found[f'bundler_apply_objects{{{PLACE},action="created"}}'] == 2
    info = f'{PLACE},release="v1",digest="sha256:1",outcome="success"'
    assert found[f"bundler_apply_info{{{info}}}"] == 1
    assert found['bundler_apply_success{project="shop",environment="prod",target="us"}'] == 0
    text = path.read_text()
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)), "a family stands in one place"
    assert path.stat().st_mode & 0o777 == 0o644, "the collector is another user"


def test_a_release_that_was_taken_back_is_no_success(tmp_path: Path) -> None:
    events = (
        event("start", release="v2"), event("failure", 3, release="v2"),
        event("rollback", 4), event("success", 8),
    )  # fmt: skip
    found = written(tmp_path / "bundler.prom", *events)
    assert found[f"bundler_apply_success{{{PLACE}}}"] == 0
    assert found[f"bundler_apply_duration_seconds{{{PLACE}}}"] == 8
    info = f'{PLACE},release="v2",digest="sha256:1",outcome="failure"'
    assert found[f"bundler_apply_info{{{info}}}"] == 1


def test_labels_are_escaped_and_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "bundler.prom"
    path.write_text("what was there")
    file = MetricsFile(path, pytest.fail)
    file(event("success", release='a"b\\c').as_dict())
    assert path.read_text() == "what was there"
    file.close()
    assert 'release="a\\"b\\\\c"' in path.read_text()
    assert "what was there" not in path.read_text()


def test_a_file_that_cannot_be_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(UsageError, match="metrics cannot be written there"):
            MetricsFile(path, pytest.fail)


def test_a_folder_that_went_away_is_a_warning(tmp_path: Path) -> None:
    folder, told = tmp_path / "folder", list[str]()
    folder.mkdir()
    file = MetricsFile(folder / "bundler.prom", told.append)
    file(event("success").as_dict())
    folder.rmdir()
    file.close()
    assert len(told) == 1 and "metrics are lost" in told[0]
