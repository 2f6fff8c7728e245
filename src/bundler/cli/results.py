"""Results as values (docs/results.md) and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bundler.bundles import Listed
from bundler.cli.output import printable, short, table
from bundler.model.commits import CommitSummary
from bundler.model.lock import ImageLock, ResolvedImage
from bundler.model.reference import Repository
from bundler.model.replacement import Replacement
from bundler.publish.pack import recorded, rfc3339
from bundler.publish.search import SHOWN_TRIES

if TYPE_CHECKING:
    from bundler.publish.flow import Ignored, Published  # applying needs nothing of it


def lock_value(lock: ImageLock) -> dict[str, Any]:
    """What the release document holds of a lock, and its evidence: who, when, what was tried."""
    value = recorded(lock)
    return {
        "release": {"tag": lock.revision.tag.name, "commit": lock.revision.commit},
        **value,
        "services": {
            name: described | _evidence(lock.services[name], lock.summaries)
            for name, described in value["services"].items()
        },
    }


def _evidence(image: ResolvedImage, summaries: Mapping[str, CommitSummary]) -> dict[str, Any]:
    first = list(image.tried.first[:SHOWN_TRIES])
    tried = {"tried": {"first": first, "count": image.tried.count}}
    summary = summaries.get(image.commit)
    return (summary_value(summary) if summary else {}) | tried


def summary_value(summary: CommitSummary) -> dict[str, str]:
    return {
        "subject": summary.subject,
        "author": summary.author,
        "date": rfc3339(summary.time),
    }


def image_value(image: ResolvedImage) -> dict[str, Any]:
    return {
        "image": image.image,
        "tag": image.tag,
        "digest": str(image.digest),
        "commit": image.commit,
        "resolvedVia": image.resolved_via,
    }


def resolved_value(lock: ImageLock) -> dict[str, Any]:
    return lock_value(lock) | {"warnings": [warning.as_dict() for warning in lock.warnings]}


def lock_lines(lock: ImageLock) -> Iterator[str]:
    yield f"{lock.revision.tag} is commit {lock.revision.commit}"
    yield ""
    rows = [_service_row(name, image, lock) for name, image in lock.services.items()]
    yield from table(rows, ("SERVICE", "COMMIT", "FOUND VIA", "DIGEST", "DATE", "CHANGE"))
    if lock.libraries:
        yield ""
        rows_of_libraries = [(name, short(commit)) for name, commit in lock.libraries.items()]
        yield from table(rows_of_libraries, ("LIBRARY", "COMMIT"))
    if lock.external:
        yield ""
        external = [(name, short(digest)) for name, digest in lock.external.items()]
        yield from table(external, ("EXTERNAL IMAGE", "DIGEST"))


def _service_row(name: str, image: ResolvedImage, lock: ImageLock) -> tuple[str, ...]:
    summary = lock.summaries.get(image.commit)
    date, change = ("-", "-")
    if summary:
        date, change = rfc3339(summary.time)[:10], f"{_cut(summary.subject)} ({summary.author})"
    found = image.resolved_via + (
        f", {image.tried.count} tried before" if image.tried.count else ""
    )
    return (name, short(image.commit), found, short(image.digest), date, change)


def _cut(text: str, limit: int = 50) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def published_value(published: Published, dry_run: bool) -> dict[str, Any]:
    value = lock_value(published.lock) | {
        "digest": str(published.digest),
        "status": published.status,
        "removed": list(published.removed),
        "warnings": [warning.as_dict() for warning in published.warnings],
    }
    if replaced := published.replaced:
        value["replaced"] = {"digest": str(replaced.digest), "reason": replaced.reason}
    return value if dry_run else {"reference": str(published.reference)} | value


def published_lines(published: Published) -> Iterator[str]:
    yield from lock_lines(published.lock)
    yield ""
    if published.removed:
        yield f"removed since the previous release: {', '.join(published.removed)}"
    if published.status == "unchanged":
        yield f"unchanged: {published.reference}"
    elif published.reference is None:
        yield f"dry run, nothing was pushed: it would be {published.digest}"
    else:
        yield f"published {published.reference}"
    if published.replaced:
        yield f"in place of {published.replaced.digest}: {published.replaced.reason}".rstrip(": ")


def ignored_value(ignored: Ignored) -> dict[str, Any]:
    return {
        "release": {"tag": ignored.tag.name},
        "status": "ignored",
        "reason": ignored.reason,
    }


def ignored_lines(ignored: Ignored) -> Iterator[str]:
    yield f"{ignored.tag} is ignored: {ignored.reason}"


def listed_lines(registry: Repository, listed: Sequence[Listed]) -> list[str]:
    rows = [(x.version, short(x.digest), x.created, short(x.commit)) for x in listed]
    if not rows:
        return [f"nothing is published in {registry}"]
    return table(rows, ("VERSION", "DIGEST", "COMMITTED", "COMMIT"))


def release_lines(reference: str, release: Mapping[str, Any]) -> Iterator[str]:
    """A release document for people."""
    yield from table(
        [
            ("project", release["project"]),
            ("tag", release["tag"]),
            ("commit", release["commit"]),
            ("committed", release["commitTime"]),
            ("source", release.get("source", "-")),
            ("reference", reference),
            ("rendered by", ", ".join(f"{n} {v}" for n, v in release["renderers"].items())),
        ]
    )
    services = [
        (name, short(s["commit"]), s["resolvedVia"], f"{s['image']}@{s['digest']}")
        for name, s in release["services"].items()
    ]
    yield ""
    yield from table(services, ("SERVICE", "COMMIT", "FOUND VIA", "IMAGE"))
    yield from migration_lines(release)
    if release["libraries"]:
        libraries = [(name, short(lib["commit"])) for name, lib in release["libraries"].items()]
        yield ""
        yield from table(libraries, ("LIBRARY", "COMMIT"))
    if release["external"]:
        external = [(name, image["digest"]) for name, image in release["external"].items()]
        yield ""
        yield from table(external, ("EXTERNAL IMAGE", "DIGEST"))
    targets = [
        (f"{name}/{target}", t["namespace"], env["kubernetes"], _protection(env), len(t["files"]))
        for name, env in release["environments"].items()
        for target, t in env["targets"].items()
    ]
    yield ""
    yield from table(targets, ("TARGET", "NAMESPACE", "KUBERNETES", "PROTECTED", "FILES"))


def replaced_value(replacement: Replacement) -> dict[str, Any]:
    record = replacement.as_dict()
    before = {"digest": str(replacement.digest), "commit": replacement.commit}
    return before | {key: record[key] for key in ("reason", "who", "when")}


def replacement_lines(replacements: Sequence[Replacement]) -> Iterator[str]:
    """What a version had before."""
    rows = [
        (short(r.digest), short(r.commit), r.when, r.who.claimed or "-", r.reason)
        for r in replacements
    ]
    if rows:
        yield ""
        yield from table(rows, ("REPLACED", "COMMIT", "WHEN", "WHO (CLAIMED)", "REASON"))


def _protection(environment: Mapping[str, Any]) -> str:
    return "yes" if environment["protected"] else "no"


def migration_lines(release: Mapping[str, Any]) -> Iterator[str]:
    """What of a release document changes stored data, which going back to an older one leaves."""
    for name, service in release["services"].items():
        migrations = service.get("migrations")
        if migrations:
            how = f" by Job {migrations['job']}" if migrations.get("job") else ""
            back = "reversible" if migrations["reversible"] else "not reversible"
            yield printable(f"{name} migrates its data{how}, {back}")
