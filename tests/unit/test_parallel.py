from __future__ import annotations

import threading
import time

import pytest

from bundler.parallel import threads


def test_all_work_is_done_at_the_end_of_the_block() -> None:
    with threads(2) as pool:
        futures = [pool.submit(time.sleep, 0.01) for _ in range(6)]
    assert all(future.done() for future in futures)


@pytest.mark.parametrize("waits", [False, True])
def test_an_interruption_starts_nothing_more(waits: bool) -> None:
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)

    with pytest.raises(KeyboardInterrupt), threads(1, waits=waits) as pool:
        running, queued = pool.submit(work), pool.submit(work)
        assert started.wait(10)
        if waits:
            threading.Timer(0.05, release.set).start()
        raise KeyboardInterrupt
    assert queued.cancelled()
    assert running.done() is waits
    release.set()
