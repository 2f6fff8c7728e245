"""Threads for a step's requests and programs, left at once when the step is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def threads(
    count: int, *, waits: bool = False, abandons: bool = False
) -> Iterator[ThreadPoolExecutor]:
    """A pool whose work is done at the end of the block, unless the caller `abandons` the rest.

    Where the block is left by an exception, what has not been started never is, and what runs is
    waited for only if the caller `waits`: it does where the work cleans up behind itself.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
        pool.shutdown(wait=not abandons, cancel_futures=abandons)
    except BaseException:
        pool.shutdown(wait=waits, cancel_futures=True)
        raise
