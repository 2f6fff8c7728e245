"""Options that several commands share, each described once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bundler.cli.output import FORMAT, Format
from bundler.deploy.limits import FOREVER, Limits
from bundler.errors import ConfirmationNeeded, UsageError
from bundler.model import duration

MAX_REASON = 1000
_PATIENCE = ("image", "crash", "restarts", "refused")


def _remember_format(value: Format) -> Format:
    if value is Format.sarif:
        raise UsageError("only validate and publish answer in SARIF", hint="use -o json")
    return _remember_any_format(value)


def _remember_any_format(value: Format) -> Format:
    FORMAT.set(value)
    return value


def seconds(text: str | float) -> float:
    """Seconds of `90s`, `10m`, `1h30m` or a plain number."""
    try:
        return duration.seconds(text)
    except duration.InvalidDuration as error:
        raise UsageError(str(error), hint="such as 90s, 10m or 1h30m") from error


def duration_of(text: str | float) -> float:
    """As `seconds`; what is wrong is told with the option's name."""
    try:
        return seconds(text)
    except UsageError as error:
        raise typer.BadParameter(f"{error.message}, {error.hint}") from error


def limits(timeout: float | None, stall: float | None, patience: str) -> Limits:
    """How long to wait. Raises UsageError where `patience` is not such as its metavar shows."""
    found: dict[str, Any] = {}
    for part in filter(None, patience.split(",")):
        name, _, value = part.strip().partition("=")
        if name not in _PATIENCE or (name == "restarts" and not value.isdecimal()):
            raise UsageError(
                f"{part!r} is no patience",
                hint=f"there are {', '.join(_PATIENCE)}, as in image=2m,restarts=5",
            )
        found[name] = int(value) if name == "restarts" else seconds(value)
    if timeout is not None:
        found["timeout"] = timeout
    return Limits(stall=stall or FOREVER, **found)


def require_consent(is_given: bool, hint: str) -> None:
    """Raises ConfirmationNeeded where nobody could be asked."""
    if not (is_given or sys.stdin.isatty()):
        raise ConfirmationNeeded("there is no terminal to ask on", hint=hint)


def one_line(reason: str) -> str:
    """A reason as it is recorded. Raises UsageError for none, and for a very long one."""
    words = " ".join(reason.split())
    if not 0 < len(words) <= MAX_REASON:
        raise UsageError(
            f"a reason of {len(words)} characters", hint=f"say why in 1 to {MAX_REASON}"
        )
    if any("\ud800" <= character <= "\udfff" for character in words):
        raise UsageError("the reason is not UTF-8", hint="say it in the terminal's own encoding")
    return words


OutputFormat = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        envvar="BUNDLER_OUTPUT",
        metavar="<text|json|yaml>",
        help="How to print the result.",
        callback=_remember_format,
        is_eager=True,
    ),
]
FindingsFormat = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        envvar="BUNDLER_OUTPUT",
        help="How to print the result; as SARIF, its findings.",
        callback=_remember_any_format,
        is_eager=True,
    ),
]
Repo = Annotated[
    Path,
    typer.Option("--repo", envvar="BUNDLER_REPO", help="The git repository, or a folder in it."),
]
TagArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[TAG]", help="The release's git tag; in CI the pipeline's own tag by default."
    ),
]
TagOption = Annotated[
    str | None,
    typer.Option("--tag", help="The release's git tag; in CI the pipeline's own tag by default."),
]
DeployRegistry = Annotated[
    str | None,
    typer.Option(
        "--deploy-registry",
        envvar="BUNDLER_DEPLOY_REGISTRY",
        metavar="oci://…|ocidir://…",
        help="The deploy registry; the project file's by default.",
    ),
]
RecordedRegistry = Annotated[
    str | None,
    typer.Option(
        "--deploy-registry",
        envvar="BUNDLER_DEPLOY_REGISTRY",
        metavar="oci://…|ocidir://…",
        help="Where releases are pulled from; by default, where each was pulled from then.",
    ),
]
PlainHttp = Annotated[
    bool,
    typer.Option(
        "--plain-http",
        envvar="BUNDLER_PLAIN_HTTP",
        help="Talk to registries without TLS; loopback addresses need no flag.",
    ),
]
WaitImages = Annotated[
    float,
    typer.Option(
        "--wait-images",
        envvar="BUNDLER_WAIT_IMAGES",
        parser=duration_of,
        metavar="DURATION",
        help="How long to wait for images whose builds still run, as in 10m.",
        show_default="0s",
    ),
]
Kustomize = Annotated[
    str | None,
    typer.Option(
        "--kustomize",
        envvar="BUNDLER_KUSTOMIZE",
        help="The kustomize program; from PATH by default.",
    ),
]
Sops = Annotated[
    str | None,
    typer.Option("--sops", envvar="BUNDLER_SOPS", help="The sops program; from PATH by default."),
]
Helm = Annotated[
    str | None,
    typer.Option(
        "--helm",
        envvar="BUNDLER_HELM",
        help="The helm program; from PATH by default.",
    ),
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="A version such as v1.4.0, or oci://…, ocidir://… with :VERSION or @sha256:….",
    ),
]
Context = Annotated[
    str | None, typer.Option("--context", envvar="BUNDLER_CONTEXT", help="The kubeconfig context.")
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", envvar="KUBECONFIG", help="Kubeconfig file, or several merged."),
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory", envvar="BUNDLER_DIRECTORY", help="Install into a folder, not a cluster."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        envvar="BUNDLER_CLUSTER",
        metavar="UID",
        help="The cluster that it has to be: UID of its namespace kube-system.",
    ),
]
AllowDowngrade = Annotated[
    bool | None,
    typer.Option(
        "--allow-downgrade/--no-allow-downgrade",
        envvar="BUNDLER_ALLOW_DOWNGRADE",
        help="Whether an older release may replace a newer one; else only where nothing is "
        "protected.",
        show_default=False,
    ),
]
TargetsFile = Annotated[
    Path | None,
    typer.Option(
        "--targets",
        envvar="BUNDLER_TARGETS",
        help="A file that connects targets; see docs/targets.md.",
    ),
]
StateNamespace = Annotated[
    str | None,
    typer.Option(
        "--state-namespace",
        envvar="BUNDLER_STATE_NAMESPACE",
        help="Where revisions and inventory are kept; the target's namespace by default.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="BUNDLER_STATE_NAMESPACE",
        help="Where to look for revisions; the whole cluster by default.",
    ),
]
ImageRegistry = Annotated[
    str | None,
    typer.Option(
        "--image-registry",
        envvar="BUNDLER_IMAGE_REGISTRY",
        metavar="PLACE",
        help="Pull the release's images from where bundler copy put them.",
    ),
]
NoImageCheck = Annotated[
    bool,
    typer.Option(
        "--no-image-check",
        envvar="BUNDLER_NO_IMAGE_CHECK",
        help="Do not ask the image registries, which this machine cannot reach.",
    ),
]
EventsFile = Annotated[
    Path | None,
    typer.Option(
        "--events",
        envvar="BUNDLER_EVENTS",
        metavar="FILE",
        help="Append a JSON line for each event to this file.",
    ),
]
WebhooksFile = Annotated[
    Path | None,
    typer.Option(
        "--webhooks",
        envvar="BUNDLER_WEBHOOKS",
        metavar="FILE",
        help="Post events to the webhooks of this file, and to $BUNDLER_WEBHOOK.",
    ),
]
MetricsFile = Annotated[
    Path | None,
    typer.Option(
        "--metrics",
        envvar="BUNDLER_METRICS",
        metavar="FILE",
        help="Write Prometheus metrics of how it ended to this file.",
    ),
]
OnlyEnvironment = Annotated[str | None, typer.Option("--env", help="Only this environment.")]
Environment = Annotated[str, typer.Option("--env", envvar="BUNDLER_ENV", help="The environment.")]
Target = Annotated[
    str | None, typer.Option("--target", help="Only this target of the environment.")
]
OnlyTarget = Annotated[str | None, typer.Option("--target", help="Only this target.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        envvar="BUNDLER_TIMEOUT",
        parser=duration_of,
        metavar="DURATION",
        help="How long to wait until everything is ready, as in 90s or 10m.",
        show_default="the environment's, or 10m",
    ),
]
StallTimeout = Annotated[
    float | None,
    typer.Option(
        "--stall-timeout",
        envvar="BUNDLER_STALL_TIMEOUT",
        parser=duration_of,
        metavar="DURATION",
        help="Stop waiting when nothing has moved for so long, as in 4m.",
        show_default="off",
    ),
]
Patience = Annotated[
    str,
    typer.Option(
        "--patience",
        envvar="BUNDLER_PATIENCE",
        metavar="image=30s,crash=60s,restarts=3,refused=10s",
        help="How long pods may look bad until they have failed for good.",
        show_default=False,
    ),
]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        envvar="BUNDLER_LOCK_TIMEOUT",
        parser=duration_of,
        metavar="DURATION",
        help="How long to wait for somebody else's apply to end.",
        show_default="0s",
    ),
]
TakeOver = Annotated[
    list[str] | None,
    typer.Option(
        "--take-over",
        metavar="MANAGER",
        help="Take fields over from this field manager, such as helm or kubectl-client-side-apply;"
        " again for others.",
    ),
]
Recreate = Annotated[
    list[str] | None,
    typer.Option(
        "--recreate",
        metavar="KIND/NAME",
        help="Delete this object and make it anew if it cannot be changed in place; again for"
        " others.",
    ),
]
NoPrune = Annotated[
    bool, typer.Option("--no-prune", help="Delete nothing that the release does not have.")
]
MaxDeletions = Annotated[
    int | None,
    typer.Option(
        "--max-deletions",
        envvar="BUNDLER_MAX_DELETIONS",
        min=0,
        metavar="N",
        help="Refuse, before anything changes, to delete more objects than these.",
    ),
]
Delete = Annotated[
    list[str] | None,
    typer.Option(
        "--delete",
        metavar="KIND/NAME",
        help="Delete this object, which the release does not have any more, although its kind or"
        " an annotation keeps it; again for others.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="BUNDLER_YES", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
OnFailure = Annotated[
    Literal["halt", "rollback"] | None,
    typer.Option(
        "--on-failure",
        envvar="BUNDLER_ON_FAILURE",
        help="Leave a release that fails as it is, or go back to the former one.",
        show_default="the environment's, or halt",
    ),
]
PastMigrations = Annotated[
    bool,
    typer.Option(
        "--past-migrations",
        help="Go back behind a migration that is not reversible; the data stays as it is.",
    ),
]
