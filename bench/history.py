"""All candidates of all services, beside git's own log of the same history.

`python bench/history.py` makes histories of 300 services with merges and reverts, and prints for
each length our time to read the history and to name every candidate of every service, without and
with ignore patterns, that of `git log --raw -m -t`, the ratio, and our peak memory. Medians of
five runs each, in turn.
"""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.adapters.git.repository import GitRepository
from bundler.model.history import History, Input, others, preferred
from bundler.model.release import ReleaseTag

SERVICES = 300
LENGTHS = (2_500, 5_000, 10_000, 20_000)
RUNS = 5
PATHS = [f"services/s{number}" for number in range(SERVICES)]
PLAIN = [Input(path) for path in PATHS]
FILTERED = [Input(path, ("*.md", "docs/", "/services/*/test/**")) for path in PATHS]


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


def candidates(repository: GitRepository, commit: str, inputs: Sequence[Input]) -> int:
    """All candidates of all services, identical trees included; how many there are."""
    history = History.of(repository.history(commit, inputs), inputs)
    found = 0
    for each in inputs:
        mask = history.mask([each])
        first = preferred(history, mask)
        found += len(first) + sum(1 for _ in others(history, mask, first))
    return found


def measure(folder: Path) -> tuple[list[float], int]:
    """Medians in seconds (plain, with patterns, git's log), and the number of candidates."""
    repository = GitRepository(folder)
    commit = repository.revision(ReleaseTag("v1.0.0")).commit
    log = ["git", "-C", str(folder), "log", "--raw", "-m", "-t", "--format=%H", commit]
    taken: list[list[float]] = [[], [], []]
    for _ in range(RUNS):
        taken[0].append(seconds(lambda: candidates(repository, commit, PLAIN)))
        taken[1].append(seconds(lambda: candidates(repository, commit, FILTERED)))
        taken[2].append(seconds(lambda: subprocess.run(log, stdout=subprocess.DEVNULL, check=True)))
    found = candidates(repository, commit, PLAIN)
    return [statistics.median(each) for each in taken], found


def main() -> None:
    print(
        f"{'commits':>8} {'candidates':>10} {'ours':>8} {'patterns':>8} "
        f"{'git log':>8} {'ratio':>6} {'memory':>8}"
    )
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            make_history(Path(folder), length)
            (plain, filtered, log), found = measure(Path(folder))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{length:>8} {found:>10} {plain:>7.2f}s {filtered:>7.2f}s "
            f"{log:>7.2f}s {plain / log:>6.2f} {memory:>5} MB"
        )


if __name__ == "__main__":
    main()
