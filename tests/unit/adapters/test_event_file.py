"""Events as lines of a file."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from bundler.adapters.event_file import EventFile
from bundler.errors import UsageError


@pytest.mark.requirement("E-09")
def test_each_event_is_a_line_behind_those_that_are_there(tmp_path: Path) -> None:
    path, told = tmp_path / "events", list[str]()
    for number in (1, 2):
        file = EventFile(path, told.append)
        file({"event": "start", "message": f"zoë\n{number}"})
        file.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["zoë\n1", "zoë\n2"]
    assert told == []


def test_runs_that_share_a_file_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events"
    files = [EventFile(path, pytest.fail) for _ in range(4)]

    def write(file: EventFile) -> None:
        for _ in range(200):
            file({"message": "x" * 3000})

    threads = [threading.Thread(target=write, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(json.loads(line)["message"]) for line in path.read_text().splitlines()} == {3000}
    for file in files:
        file.close()


@pytest.mark.parametrize("name", ["none/events", ""])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_done(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        EventFile(tmp_path / name, pytest.fail)


def test_a_full_disk_is_told_once_and_stops_nothing() -> None:
    told: list[str] = []
    file = EventFile(Path("/dev/full"), told.append)
    for _ in range(2):
        file({"event": "start"})
    file.close()
    assert len(told) == 1
    assert "no space left" in told[0]
