"""Inventory and revisions as JSON documents (schemas/inventory.json, schemas/revision.json).

Readers accept unknown keys, so that an older bundler can look at what a newer one left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bundler.model.inventory import Inventory
from bundler.model.objects import ObjectRef
from bundler.model.revision import Revision, Who

_API_VERSION = "bundler/v1"


def inventory_document(objects: Iterable[tuple[ObjectRef, str]]) -> dict[str, Any]:
    listed = [{**ref._asdict(), "uid": uid} for ref, uid in objects]
    return {"apiVersion": _API_VERSION, "kind": "Inventory", "objects": listed}


def read_inventory(document: Mapping[str, Any]) -> Inventory:
    """Raises ValueError where it is none."""
    try:
        return Inventory(
            {
                ObjectRef(*(str(item[field]) for field in ObjectRef._fields)): str(item["uid"])
                for item in document["objects"]
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an inventory") from error


def revision_document(revision: Revision) -> dict[str, Any]:
    return {
        "number": revision.number,
        "project": revision.project,
        "environment": revision.environment,
        "target": revision.target,
        "tag": revision.tag,
        "version": revision.version,
        "commit": revision.commit,
        "commitTime": revision.commit_time,
        "digest": revision.digest,
        "reference": revision.reference,
        "status": revision.status,
        "outcome": revision.outcome,
        "started": revision.started,
        "finished": revision.finished,
        "durationSeconds": revision.duration_seconds,
        "lastChecked": revision.last_checked,
        "changes": dict(revision.changes),
        "who": {
            "authenticated": revision.who.authenticated,
            "claimed": revision.who.claimed,
            "job": revision.who.job,
        },
    }


def read_revision(document: Mapping[str, Any]) -> Revision:
    """Raises ValueError where it is none."""
    try:
        who = document["who"]
        return Revision(
            number=int(document["number"]),
            project=document["project"],
            environment=document["environment"],
            target=document["target"],
            tag=document["tag"],
            version=document["version"],
            commit=document["commit"],
            commit_time=document["commitTime"],
            digest=document["digest"],
            reference=document["reference"],
            status=document["status"],
            outcome=document["outcome"],
            started=document["started"],
            finished=document["finished"],
            duration_seconds=document["durationSeconds"],
            last_checked=document["lastChecked"],
            changes=dict(document["changes"]),
            who=Who(who.get("authenticated"), who.get("claimed"), who.get("job")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a revision") from error
