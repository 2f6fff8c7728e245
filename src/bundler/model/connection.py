"""Where a target is, for the runner that applies; a bundle never knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


@dataclass(frozen=True)
class Destination:
    """What names a target, and the namespace that its objects go to."""

    project: str
    environment: str
    target: str
    namespace: str

    @property
    def place(self) -> str:
        return f"{self.environment}/{self.target}"


@dataclass(frozen=True)
class Identity:
    """What tells a cluster or a folder from every other, whatever way leads there."""

    kind: Literal["cluster", "directory", "git"]
    value: str
    """UID of the kube-system namespace; the folder's full path; or `URL branch:path`."""
    is_expected: bool = field(default=False, compare=False)
    """Whether whoever runs us named it beforehand."""

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class GitFolder(NamedTuple):
    """A folder of a branch of a repository."""

    repository: str
    """URL, or path of a folder."""
    branch: str
    path: str


@dataclass(frozen=True)
class TargetConnection:
    """How a target is reached: a folder, one of a git repository, a pod's own account, or a context
    of a kubeconfig."""

    context: str | None = None
    kubeconfig: str | None = None
    in_cluster: bool = False
    directory: str | None = None
    cluster: str | None = None
    """UID of the kube-system namespace that must be found there."""
    git: GitFolder | None = None

    @property
    def is_given(self) -> bool:
        return bool(
            self.context or self.kubeconfig or self.in_cluster or self.directory or self.git
        )
