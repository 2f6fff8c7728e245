"""Reading history for all services at once, beside git's own log of the same history.

`python bench/history.py` makes histories of 300 services with merges and reverts, and prints for
each length our time, that of `git log --raw -m -t`, their ratio, and our peak memory. Medians of
five runs each, in turn.
"""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bundler.adapters.git import GitRepository
from bundler.model.release import ReleaseTag

SERVICES = 300
LENGTHS = (2_500, 5_000, 10_000, 20_000)
RUNS = 5
PATHS = [f"services/s{number}" for number in range(SERVICES)]


def make_history(folder: Path, length: int) -> None:
    """A third of the commits come by merges; few contents, so that trees come back."""
    chosen = random.Random(length)  # noqa: S311  the same history every time
    commits: list[str] = []

    def commit(*parents: int) -> int:
        number = len(commits) + 1
        files = (
            {chosen.randrange(SERVICES): chosen.randrange(4)}
            if parents
            else dict.fromkeys(range(SERVICES), 0)
        )
        lines = [f"commit refs/made/{number}", f"mark :{number}"]
        lines += [f"committer Ada <ada@example.com> {1_700_000_000 + number} +0000", "data 1\nx"]
        lines += [
            f"{word} :{parent}" for word, parent in zip(("from", "merge"), parents, strict=False)
        ]
        lines += [
            f"M 100644 inline {PATHS[s]}/f\ndata 1\n{content}" for s, content in files.items()
        ]
        commits.append("\n".join(lines) + "\n")
        return number

    head = commit()
    while len(commits) < length:
        if chosen.random() < 0.2:
            side = commit(head)
            head = commit(commit(head), side)
        else:
            head = commit(head)
    run = ["git", "-C", str(folder)]
    subprocess.run([*run, "init", "--quiet"], check=True)
    stream = "\n".join(commits) + f"\nreset refs/tags/v1.0.0\nfrom :{head}\n"
    subprocess.run([*run, "fast-import", "--quiet"], input=stream.encode(), check=True)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(folder: Path) -> tuple[float, float]:
    """Medians of our time and git's, in seconds."""
    repository = GitRepository(folder)
    commit = repository.revision(ReleaseTag("v1.0.0")).commit
    log = ["git", "-C", str(folder), "log", "--raw", "-m", "-t", "--format=%H", commit]
    ours, theirs = [], []
    for _ in range(RUNS):
        ours.append(seconds(lambda: repository.history(commit, PATHS)))
        theirs.append(seconds(lambda: subprocess.run(log, stdout=subprocess.DEVNULL, check=True)))
    return statistics.median(ours), statistics.median(theirs)


def main() -> None:
    print(f"{'commits':>8} {'ours':>8} {'git log':>8} {'ratio':>6} {'memory':>8}")
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            make_history(Path(folder), length)
            ours, theirs = measure(Path(folder))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{length:>8} {ours:>7.2f}s {theirs:>7.2f}s {ours / theirs:>6.2f} {memory:>6} MB")


if __name__ == "__main__":
    main()
