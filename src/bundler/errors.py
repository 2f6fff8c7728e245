"""Every error that a user can meet, with what it is about, a hint and an exit code.

BundlerError                    1  failed
├── NotFound                    1  a version that was never published
├── ImagesMissing               1  services without an acceptable image, all of them
├── RenderFailed                1  an overlay that does not build
├── UsageError                  2  nothing was changed
│   ├── ProjectFileInvalid      2  bundler.yaml is absent or wrong
│   ├── SourceInvalid           2  no such tag, a shallow clone, no repository
│   ├── ToolMissing             2  kustomize or git is not installed
│   ├── NoConnection            2  a target without a connection
│   ├── KeyNeeded               2  an encrypted Secret that cannot be decrypted here
│   └── ConfirmationNeeded      2  no terminal to ask on
├── Refused                     4  a rule says no
│   ├── BranchRefused           4  the tag is not on an allowed branch
│   ├── ImagesRefused           4  images that are not what their tags say, all of them
│   ├── ValidationFailed        4  findings in the bundle, all of them
│   ├── VersionExists           4  published before with other content
│   ├── VerificationFailed      4  not ours, truncated or tampered
│   ├── OwnershipRefused        4  an object belongs to somebody else
│   │   └── FieldConflict       4  fields that others manage
│   ├── ImmutableField          4  it cannot be changed in place, only made anew
│   ├── PermissionRefused       4  the target does not let us
│   ├── PlanChanged             4  what was reviewed is not so any more, all differences
│   └── MigrationBarrier        4  an older release would find its data migrated
├── NotReady                    5  applied, but not ready
├── TryAgain                    6  nothing is known to be wrong
│   ├── Unreachable             6  a registry or a cluster does not answer
│   ├── CouldNotCheck           6  a registry answers, but not the question
│   │   └── AccessRefused       6  it asks for credentials that we have not
│   └── Locked                  6  somebody else applies
└── Interrupted               130  from the keyboard; 143 by SIGTERM
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar, Self

from bundler.model.finding import Finding


class BundlerError(Exception):
    """An error told in one line: `message` starts with the thing, `hint` says what to do next."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str | None = None, findings: Iterable[Finding] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)

    def reworded(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        findings: Iterable[Finding] | None = None,
    ) -> Self:
        """The same error told otherwise; what is not given stays."""
        again = type(self).__new__(type(self), message or self.message)
        vars(again).update(vars(self))
        again.message = message or self.message
        again.hint = hint or self.hint
        again.findings = self.findings if findings is None else tuple(findings)
        return again


class NotFound(BundlerError):
    code = "not-found"


class ImagesMissing(BundlerError):
    code = "images-missing"


class RenderFailed(BundlerError):
    code = "render-failed"


class UsageError(BundlerError):
    code = "usage"
    exit_code = 2


class ProjectFileInvalid(UsageError):
    code = "project-file-invalid"


class SourceInvalid(UsageError):
    code = "source-invalid"


class ToolMissing(UsageError):
    code = "tool-missing"


class NoConnection(UsageError):
    code = "no-connection"


class KeyNeeded(UsageError):
    code = "key-needed"


class ConfirmationNeeded(UsageError):
    code = "confirmation-needed"


class Refused(BundlerError):
    code = "refused"
    exit_code = 4


class BranchRefused(Refused):
    code = "branch-refused"


class ImagesRefused(Refused):
    code = "images-refused"


class ValidationFailed(Refused):
    code = "validation-failed"


class VersionExists(Refused):
    code = "version-exists"


class VerificationFailed(Refused):
    code = "verification-failed"


class OwnershipRefused(Refused):
    code = "ownership-refused"


class FieldConflict(OwnershipRefused):
    code = "field-conflict"

    def __init__(
        self, message: str, *, managers: Mapping[str, Collection[str]], hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.managers = managers
        """Who manages fields that we want otherwise → these fields."""


class ImmutableField(Refused):
    code = "immutable-field"

    def __init__(
        self, message: str, *, fields: Collection[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.fields = tuple(fields)
        """As the target names them; none where it does not."""


class PermissionRefused(Refused):
    code = "permission-refused"


class PlanChanged(Refused):
    code = "plan-changed"


class MigrationBarrier(Refused):
    code = "migration-barrier"


class NotReady(BundlerError):
    code = "not-ready"
    exit_code = 5


class TryAgain(BundlerError):
    code = "try-again"
    exit_code = 6


class Unreachable(TryAgain):
    code = "unreachable"


class CouldNotCheck(TryAgain):
    code = "could-not-check"


class AccessRefused(CouldNotCheck):
    code = "access-refused"


class Locked(TryAgain):
    code = "locked"


class Interrupted(BundlerError):
    code = "interrupted"
    exit_code = 130
