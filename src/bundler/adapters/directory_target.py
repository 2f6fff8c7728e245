"""A folder as the target of a deploy, for Flux or Argo CD to follow or to look at.

One YAML file for each object, `<namespace or _cluster>/<kind>.<group>/<name>.yaml`; the state lies
in `.bundler/`. Each file is replaced atomically. Nobody waits for readiness here: what is written
is all that can be said.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bundler.errors import Locked, OwnershipRefused, PermissionRefused, Refused, Unreachable
from bundler.manifests import InvalidYaml, read_documents, read_json, write_documents
from bundler.model.claim import NO_CLAIM, Claim
from bundler.model.connection import Identity
from bundler.model.inventory import Inventory
from bundler.model.objects import KubernetesObject, ObjectRef, owner_of
from bundler.model.reference import Digest
from bundler.model.revision import Revision, TargetState
from bundler.model.sops import CommittedObject, is_encrypted, is_secret, placed
from bundler.ports import Holder, Need, ObjectWatcher

STATE_FOLDER = ".bundler"
_API_VERSION = "bundler/v1"
_CLUSTER = "_cluster"
_LOCK = "lock"
_TEMPORARY = "tmp-"
_MAX_NAME = 255


class DirectoryTarget:
    """One place in a folder; implements `bundler.ports.DeployTarget` but for readiness."""

    def __init__(self, directory: Path, *, project: str, environment: str, target: str) -> None:
        self._root = directory
        self._stem = f"bundler.{project}.{environment}.{target}"

    # --- objects --------------------------------------------------------------------------------

    def live(self, wanted: Mapping[ObjectRef, str]) -> Mapping[ObjectRef, KubernetesObject]:
        found = {ref: self._read_object(ref) for ref in wanted}
        return {ref: obj for ref, obj in found.items() if obj is not None}

    def autoscalers(
        self,
        namespaces: Collection[str],  # noqa: ARG002
    ) -> Mapping[ObjectRef, ObjectRef]:
        """Nothing scales files."""
        return {}

    def apply(
        self,
        obj: KubernetesObject,
        *,
        dry_run: bool = False,
        claim: Claim = NO_CLAIM,  # noqa: ARG002
    ) -> KubernetesObject:
        """Write the whole object, or the text that it was committed as; nothing else stays there.

        A file that was not written by us is refused, and so is a Secret in the clear.
        """
        ref = ObjectRef.of(obj)
        content = obj.content if isinstance(obj, CommittedObject) else None
        if content is None:
            _refuse_clear_secret(obj)
        present = self._read_object(ref)
        if present is not None and owner_of(present) != owner_of(obj):
            raise OwnershipRefused(
                f"{ref}: {self._path(ref)} belongs to {owner_of(present) or 'somebody else'}",
                hint="remove the file, or name another folder",
            )
        if not dry_run:
            self._write(self._path(ref), content or write_documents([obj]))
        return _with_uid(_seen(obj, content) if content else obj)

    def delete(self, ref: ObjectRef, uid: str, owner: str | None = None) -> None:
        if uid != _uid(ref):
            raise Refused(f"{ref} has another UID")
        present = self._read_object(ref) if owner else None
        if present and owner_of(present) != owner:
            raise OwnershipRefused(f"{ref}: not deleted, as it belongs to {owner_of(present)}")
        path = self._path(ref)
        with _told(path):
            path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            with suppress(OSError):  # it is not empty, or somebody was faster
                folder.rmdir()

    def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:  # noqa: ARG002
        """A folder knows no permissions but those of its files."""
        return ()

    @property
    def watcher(self) -> ObjectWatcher | None:
        return None

    @property
    def keeps_encrypted(self) -> bool:
        return True

    def identity(self) -> Identity:
        with _told(self._root):
            return Identity("directory", str(self._root.resolve()))

    def _path(self, ref: ObjectRef) -> Path:
        """The file of an object. Raises Refused where a link would lead out of the folder."""
        kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
        place = _file_name(ref.namespace) if ref.namespace else _CLUSTER
        path = self._root / place / _file_name(kind.lower()) / f"{_file_name(ref.name)}.yaml"
        root = self._root.resolve()
        if not path.resolve().is_relative_to(root) or len(path.name.encode()) > _MAX_NAME:
            raise Refused(f"{ref}: no file in {self._root} can have its name")
        return path

    def _read_object(self, ref: ObjectRef) -> KubernetesObject | None:
        path = self._path(ref)
        with _told(path):
            try:
                content = path.read_bytes()
                documents = read_documents(content)
            except FileNotFoundError:
                return None
            except InvalidYaml as error:
                raise Refused(f"{path}:{error.line or 1}: {error}", hint="remove it") from error
        if len(documents) == 1 and is_encrypted(documents[0]):
            documents = [self._placed(documents[0], ref, content)]
        if len(documents) != 1 or not _is_object(documents[0], ref):
            raise Refused(f"{path} is not {ref}", hint="remove it")
        return _with_uid(documents[0])

    def _placed(self, document: Any, ref: ObjectRef, content: bytes) -> Any:
        """An encrypted document cannot say whose it is: the inventory that has it does."""
        metadata = document.get("metadata")
        if not isinstance(metadata, dict):
            return document
        for stem in [self._stem, *_stems(self._state, "")]:
            inventory = _read_json(self._state / f"{stem}.json")
            if inventory is not None and ref in Inventory.of_dicts(inventory["objects"]).objects:
                owner = "/".join(stem.split(".")[1:])
                return _seen(placed(document, owner, ref.namespace), content)
        return {**document, "metadata": {"namespace": ref.namespace, **metadata}}

    # --- state ----------------------------------------------------------------------------------

    @property
    def _state(self) -> Path:
        return self._root / STATE_FOLDER

    def read(self) -> TargetState:
        return _read_state(self._state, self._stem)

    def prepare(self) -> None:
        with _told(self._state):
            self._state.mkdir(parents=True, exist_ok=True)

    def write_inventory(self, inventory: Inventory) -> None:
        document = {
            "apiVersion": _API_VERSION,
            "kind": "Inventory",
            "objects": inventory.as_dicts(),
        }
        self._write(self._inventory, _json(document))

    def drop_inventory(self) -> None:
        with _told(self._inventory):
            self._inventory.unlink(missing_ok=True)

    @property
    def _inventory(self) -> Path:
        return self._state / f"{self._stem}.json"

    def write_revision(self, revision: Revision) -> None:
        self._write(self._revision(revision.number), _json(revision.as_dict()))

    def drop_revision(self, number: int) -> None:
        with _told(self._revision(number)):
            self._revision(number).unlink(missing_ok=True)

    def _revision(self, number: int) -> Path:
        return self._state / f"{self._stem}.v{number}.json"

    def authenticated(self) -> str | None:
        return None

    # --- lock -----------------------------------------------------------------------------------

    @contextmanager
    def held(self, holder: str) -> Iterator[None]:
        """Held by an open file, so that it is free again when its holder dies."""
        self.prepare()
        path = self._state / _LOCK
        with _told(path):
            file = path.open("a+", encoding="utf-8")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise Locked(
                    f"{self._root} is locked by {file.read().strip() or 'somebody'}",
                    hint="wait until it is done",
                ) from error
            file.truncate(0)
            file.write(f"{holder}\n")
            file.flush()
            self._clean()
            try:
                yield
            finally:
                file.truncate(0)

    def locked_by(self) -> Holder | None:
        """A killed holder's name stays in the file, so the lock itself is tried, for a moment."""
        path = self._state / _LOCK
        with _told(path):
            try:
                name = path.read_text(encoding="utf-8", errors="replace").strip()
                with path.open("rb") as file:
                    return Holder(name, _since(file), None) if name and _is_held(file) else None
            except FileNotFoundError:
                return None

    def _clean(self) -> None:
        """Remove what a killed run was about to write."""
        with _told(self._state):
            for path in self._state.glob(f"{_TEMPORARY}*"):
                path.unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = self._state / f"{_TEMPORARY}{os.getpid()}-{threading.get_ident()}"
        with _told(path):
            self._state.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)


def find_states(directory: Path) -> list[tuple[str, str, str, TargetState]]:
    """Every (project, environment, target, state) that a folder holds."""
    folder = directory / STATE_FOLDER
    found = []
    for stem in _stems(folder, r"\.v\d+"):
        _, project, environment, target = stem.split(".")
        found.append((project, environment, target, _read_state(folder, stem)))
    return found


def _stems(folder: Path, rest: str) -> list[str]:
    """`bundler.<project>.<environment>.<target>` of the files of a state; `rest` is a pattern."""
    pattern = re.compile(rf"(bundler\.[^.]+\.[^.]+\.[^.]+){rest}\.json")
    with _told(folder):
        names = [pattern.fullmatch(path.name) for path in folder.glob("bundler.*.json")]
    return sorted({name[1] for name in names if name})


def _read_state(folder: Path, stem: str) -> TargetState:
    inventory = _read_json(folder / f"{stem}.json")
    with _told(folder):
        paths = list(folder.glob(f"{stem}.v*.json"))
    documents = [_read_json(path) for path in paths]
    try:
        revisions = [Revision.of_dict(document) for document in documents if document is not None]
        return TargetState(
            Inventory() if inventory is None else Inventory.of_dicts(inventory["objects"]),
            tuple(sorted(revisions, key=lambda revision: revision.number)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{folder}: the state of {stem} is damaged", hint="restore it") from error


def _read_json(path: Path) -> Any:
    """The document of a file; None where there is none."""
    with _told(path):
        try:
            return read_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Refused(f"{path} is damaged: {error}", hint="restore it") from error


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _file_name(text: str) -> str:
    """A name as part of a path: nothing but `a-z 0-9 . -`, the rest as `%` and its hex bytes.

    Two names never share a file, not even where case does not count.
    """
    encoded = "".join(
        chr(byte) if re.match(rb"[a-z0-9.-]", bytes([byte])) else f"%{byte:02x}"
        for byte in text.encode()
    )
    return re.sub(r"^\.", "%2e", encoded)


def _is_object(document: Any, ref: ObjectRef) -> bool:
    is_mapping = isinstance(document, dict) and isinstance(document.get("metadata"), dict)
    return is_mapping and ObjectRef.of(document) == ref


def _is_held(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _since(file: IO[bytes]) -> str:
    """When a file was last written."""
    written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    return written.strftime("%Y-%m-%dT%H:%M:%SZ")


def _uid(ref: ObjectRef) -> str:
    return hashlib.sha256("/".join(ref).encode()).hexdigest()


def _with_uid(obj: KubernetesObject) -> KubernetesObject:
    return {**obj, "metadata": {**obj["metadata"], "uid": _uid(ObjectRef.of(obj))}}


def _seen(obj: KubernetesObject, content: bytes) -> KubernetesObject:
    """An object with the digest of its text: who compares sees every change of it."""
    return {**obj, "text": str(Digest.of(content))}


def _refuse_clear_secret(obj: KubernetesObject) -> None:
    """Raises Refused for a Secret with values."""
    if is_secret(obj) and any(obj.get(field) for field in ("data", "stringData")):
        raise Refused(
            f"{ObjectRef.of(obj)}: a Secret in the clear is not written to a folder",
            hint="encrypt it with SOPS, or let the cluster make it (External Secrets, Sealed "
            "Secrets)",
        )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Translate what the file system says."""
    try:
        yield
    except PermissionError as error:
        raise PermissionRefused(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from error
