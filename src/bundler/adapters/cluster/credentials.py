"""Where a cluster is and who we are to it, as the `kubernetes` package's loader reads it.

The loader is asked again from scratch where a cluster no longer accepts what it gave. What it
leaves undone is done here: kubectl's choice of the current context, `as` and its like, and errors
of exec plugins, which it only logs. Its own messages can quote a whole user entry, so only those
that are known not to are passed on.

It is not asked where there is nothing to it but a token: to import it takes longer than to read
the file and all that a target holds.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml

from bundler.errors import NoConnection

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REFRESH_SECONDS = 10.0
"""The loader's refresh runs an exec plugin for every token with less than five minutes left."""
_PLAIN = frozenset(
    {
        "server",
        "certificate-authority",
        "certificate-authority-data",
        "insecure-skip-tls-verify",
        "tls-server-name",
    }
)
"""What a cluster's entry may say that is read without the loader."""
_SPEAKABLE = re.compile(r"exec: |\[Errno \d+\] |File does not exist: ")


@dataclass(frozen=True)
class Endpoint:
    """How to reach an API server; all that a pool of connections is made of."""

    host: str
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    is_verified: bool
    tls_server_name: str | None
    proxy: str | None
    ca_data: str | None = None
    """The authorities themselves, where no file has them."""

    @property
    def server(self) -> str:
        """The host as messages may show it."""
        scheme, separator, rest = self.host.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class Loaded(NamedTuple):
    token: Callable[[], str | None]
    """The Authorization header, fresh."""
    endpoint: Endpoint
    impersonation: tuple[tuple[str, str], ...] = ()


class Credentials:
    """What one load gave, kept fresh; safe to use from several threads."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self._lock = threading.RLock()
        self._set(load())

    def _set(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._generation = getattr(self, "_generation", 0) + 1
        self._token = loaded.token()
        self._checked = time.monotonic()

    def current(self) -> tuple[int, Endpoint, Mapping[str, str], tuple[tuple[str, str], ...]]:
        """Number of the load, endpoint, the Authorization header, impersonation headers."""
        with self._lock:
            if time.monotonic() - self._checked > _REFRESH_SECONDS:
                with _logged(), suppress(Exception):  # the server says whether the old one does
                    self._token = self._loaded.token() or self._token
                self._checked = time.monotonic()
            authorization = {"Authorization": self._token} if self._token else {}
            return (
                self._generation,
                self._loaded.endpoint,
                authorization,
                self._loaded.impersonation,
            )

    def reload(self, generation: int) -> None:
        """Load all again, unless another thread has done so since that load."""
        with self._lock:
            if generation == self._generation:
                self._set(self._load())


def _token(configuration: Any) -> str | None:
    # Its name is `authorization` or `BearerToken`, by the version of the loader.
    name = next(iter(configuration.api_key), None)
    value = configuration.get_api_key_with_prefix(name) if name else None
    # It keeps the line end of a token file.
    return _header(str(value).strip(), "the token") if value else None


def _header(value: str, what: str) -> str:
    """The value; refused here, as http.client would quote it."""
    if not (value.isascii() and value.isprintable()):
        raise NoConnection(
            f"{what} of the cluster's user holds characters that cannot be sent",
            hint="see where it comes from: a file, an exec plugin or the kubeconfig",
        )
    return value


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What the loader logs: its only word on an exec plugin that fails."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    root, collect = logging.getLogger(), Collect()
    root.addHandler(collect)
    try:
        yield messages
    finally:
        root.removeHandler(collect)


# --- kubeconfig ---------------------------------------------------------------------------------


def load_kubeconfig(kubeconfig: str | None, context: str | None) -> Loaded:
    """Files named by us, by $KUBECONFIG or by custom, merged. Raises NoConnection."""
    paths = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return _plain(paths, context) or _load_by_library(paths, context)


def _load_by_library(paths: str, context: str | None) -> Loaded:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, kube_config

    try:
        files = kube_config.KubeConfigMerger(paths).config_files  # type: ignore[no-untyped-call]
        chosen = _Chosen.of(files, paths, context)
        configuration = Configuration()
        with _logged() as messages:
            kube_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=paths, context=chosen.context, client_configuration=configuration
            )
        _check_exec_plugin(chosen, configuration, messages)
        impersonation = tuple(_impersonation(chosen.user))
    except (ConfigException, OSError) as error:
        raise _unusable(paths, _spoken([str(error)])) from error
    except NoConnection:
        raise
    except Exception as error:  # the loader trusts the shape of what it reads
        raise _unusable(paths, "") from error
    proxy = chosen.cluster.get("proxy-url")
    endpoint = _endpoint(configuration, str(proxy) if proxy else None)
    return Loaded(partial(_token, configuration), endpoint, impersonation)


def _plain(path: str, context: str | None) -> Loaded | None:
    """Of one file whose user has a token and nothing else; None where there is more to it.

    Nothing is told of what is wrong here: the loader meets it again.
    """
    if os.pathsep in path or getproxies():
        return None
    with suppress(Exception):
        file = Path(path).expanduser()
        document = yaml.load(file.read_bytes(), yaml.CSafeLoader)
        chosen = _Chosen.of({path: document}, path, context)
        cluster, token = chosen.cluster, chosen.user.get("token")
        is_plain = chosen.user.keys() == {"token"} and cluster.keys() <= _PLAIN
        if is_plain and isinstance(token, str) and token.strip():
            header = _header(f"Bearer {token.strip()}", "the token")
            return Loaded(lambda: header, _plain_endpoint(cluster, file.absolute().parent))
    return None


def _plain_endpoint(cluster: Mapping[str, Any], folder: Path) -> Endpoint:
    data, name = (cluster.get(f"certificate-authority{end}") for end in ("-data", ""))
    file = folder / name if name and not data else None
    if file:
        file.stat()  # it raises where there is none
    return Endpoint(
        host=cluster["server"].rstrip("/"),
        ca_file=str(file) if file else None,
        cert_file=None,
        key_file=None,
        is_verified=not cluster.get("insecure-skip-tls-verify"),
        tls_server_name=cluster.get("tls-server-name"),
        proxy=None,
        ca_data=base64.b64decode(data).decode() if data else None,
    )


def _check_exec_plugin(chosen: _Chosen, configuration: Any, messages: list[str]) -> None:
    if "exec" in chosen.user and not configuration.api_key and not configuration.cert_file:
        command = Path(str(chosen.user["exec"].get("command", ""))).name
        raise NoConnection(
            f"context {chosen.context!r}: the exec plugin {command!r} gave no credentials"
            f"{_spoken(messages)}",
            hint="run it by hand; most need a login first",
        )


class _Chosen(NamedTuple):
    context: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    @classmethod
    def of(cls, files: Mapping[str, Any], paths: str, context: str | None) -> _Chosen:
        """The context that is named, or kubectl's: the first that a file calls current."""
        if not files:
            raise NoConnection(
                f"{paths}: no such kubeconfig",
                hint="name one with --kubeconfig or $KUBECONFIG",
            )
        contexts = _named(files, "contexts", "context")
        current = (str(file.get("current-context") or "") for file in files.values())
        name = context or next(filter(None, current), None)
        known = ", ".join(sorted(contexts)) or "none"
        if name is None:
            raise NoConnection(f"{paths} has no current context", hint=f"--context: {known}")
        if name not in contexts:
            raise NoConnection(f"{paths} has no context {name!r}", hint=f"it has: {known}")
        chosen = contexts[name]
        cluster = _named(files, "clusters", "cluster").get(str(chosen.get("cluster")))
        if not cluster or not cluster.get("server"):
            raise NoConnection(
                f"context {name!r}: its cluster {chosen.get('cluster')!r} has no server",
                hint=f"correct it in {paths}",
            )
        if not re.match(r"https?://[^/]", str(cluster["server"])):
            raise NoConnection(
                f"context {name!r}: the server of its cluster is no http or https URL",
                hint=f"correct it in {paths}",
            )
        users = _named(files, "users", "user")
        if chosen.get("user") and str(chosen["user"]) not in users:
            raise NoConnection(
                f"context {name!r}: there is no user {chosen['user']!r}",
                hint=f"correct it in {paths}",
            )
        return cls(name, cluster, users.get(str(chosen.get("user")), {}))


def _named(files: Mapping[str, Any], section: str, key: str) -> dict[str, Mapping[str, Any]]:
    """Name → entry; where two files name one thing alike, the first counts."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in files.values():
        for item in file.get(section) or ():
            found.setdefault(str(item["name"]), item.get(key) or {})
    return found


def _impersonation(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """kubectl's `as`; without it we would act with more rights than the user chose."""
    named: list[tuple[str, Any]] = [
        ("Impersonate-User", user.get("as")),
        ("Impersonate-Uid", user.get("as-uid")),
        *(("Impersonate-Group", group) for group in user.get("as-groups") or ()),
    ]
    for key, values in (user.get("as-user-extra") or {}).items():
        named += [(f"Impersonate-Extra-{key}", value) for value in values]
    for name, value in named:
        if value:
            yield _header(name, "a key"), _header(str(value), name)


def _endpoint(configuration: Any, proxy_url: str | None) -> Endpoint:
    host = str(configuration.host)
    proxy = proxy_url or configuration.proxy
    if not proxy_url and proxy and proxy_bypass(urlsplit(host).netloc):
        proxy = None  # the loader takes $HTTPS_PROXY, but not $NO_PROXY
    return Endpoint(
        host=host.rstrip("/"),
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        is_verified=bool(configuration.verify_ssl),
        tls_server_name=configuration.tls_server_name,
        proxy=proxy or None,
    )


def _spoken(messages: list[str]) -> str:
    """Those of the loader's messages that quote nothing of the file, as one line."""
    told = (" ".join(text.split())[:300] for text in messages if _SPEAKABLE.match(text))
    return "".join(f": {text}" for text in told)


def _unusable(paths: str, reason: str) -> NoConnection:
    return NoConnection(
        f"{paths} is not a usable kubeconfig{reason}",
        hint="`kubectl config view` shows how it is read",
    )


# --- in a cluster -------------------------------------------------------------------------------


def load_in_cluster(folder: Path) -> Loaded:
    """The service account of the pod that we run in. Raises NoConnection."""
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.incluster_config import InClusterConfigLoader

    configuration = Configuration()
    try:
        loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
            token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt")
        )
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise NoConnection(
            f"no service account of a pod in {folder}: {str(error).rstrip('.')}",
            hint="outside of a cluster, name a context",
        ) from error
    return Loaded(partial(_token, configuration), _endpoint(configuration, None))
