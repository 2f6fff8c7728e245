"""What the steps need of the world: small protocols, each implemented by an adapter and a fake.

A function asks for the smallest port that it needs. Adapters translate foreign exceptions into
`bundler.errors`; no method raises anything else for a fault of the outside.
"""

from __future__ import annotations

from bundler.ports.registry import (
    ArtifactReader,
    ArtifactRegistry,
    ArtifactWriter,
    ContentReader,
    ContentRegistry,
    ContentWriter,
    DeployRegistry,
    ManifestResolver,
    TagLister,
)
from bundler.ports.releases import FormerReleases
from bundler.ports.rendering import ChartRenderer, DocumentSchemas, ObjectSchemas, Renderer
from bundler.ports.source import (
    Branches,
    CommitReader,
    HistoryReader,
    OtherRepositories,
    ReadTree,
    ReleaseLineReader,
    RevisionReader,
    SourceReader,
    TagResolver,
    TreeEntry,
    TreeReader,
    WorkTree,
)
from bundler.ports.target import (
    CAUSES,
    Decrypter,
    DeployTarget,
    Holder,
    Identified,
    LogReader,
    Need,
    ObjectReader,
    ObjectWatcher,
    ObjectWriter,
    Observation,
    PermissionReader,
    StateReader,
    StateWriter,
    TargetLock,
)

__all__ = [
    "CAUSES",
    "ArtifactReader",
    "ArtifactRegistry",
    "ArtifactWriter",
    "Branches",
    "ChartRenderer",
    "CommitReader",
    "ContentReader",
    "ContentRegistry",
    "ContentWriter",
    "Decrypter",
    "DeployRegistry",
    "DeployTarget",
    "DocumentSchemas",
    "FormerReleases",
    "HistoryReader",
    "Holder",
    "Identified",
    "LogReader",
    "ManifestResolver",
    "Need",
    "ObjectReader",
    "ObjectSchemas",
    "ObjectWatcher",
    "ObjectWriter",
    "Observation",
    "OtherRepositories",
    "PermissionReader",
    "ReadTree",
    "ReleaseLineReader",
    "Renderer",
    "RevisionReader",
    "SourceReader",
    "StateReader",
    "StateWriter",
    "TagLister",
    "TagResolver",
    "TargetLock",
    "TreeEntry",
    "TreeReader",
    "WorkTree",
]
