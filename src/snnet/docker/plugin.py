"""The plugin's public class: settings, start and stop."""

from __future__ import annotations

import logging
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from snnet import plugins
from snnet.checks import shown
from snnet.cluster import Cluster
from snnet.contract import InvalidRequest, Registry, SnnetError, Timeout
from snnet.node import ComputeNode
from snnet.system.files import locked, private_directory

from .app import RunningRequests, cluster_protocol, make_app, protocol
from .migration import migrate
from .server import Listener, Server, TcpListener, Tls, UnixListener, parse_address

if TYPE_CHECKING:
    from typing import Self

PLUGIN_FOLDER = Path("/run/docker/plugins")
SPEC_FOLDER = Path("/etc/docker/plugins")
"""Folders in which Docker looks for plugins (docs.docker.com/engine/extend/plugin_api)."""

DATA_FOLDER = Path("/var/lib/snnet/docker")

_OWN = "docker/"
"""The beginning of all keys in a registry of the plugin's own."""

_LOCK_TIMEOUT = 5.0
"""Seconds to wait for another plugin of the same name to end."""

_DRAIN_TIMEOUT = 15.0
"""Seconds to wait for requests that the server has left running."""

_log = logging.getLogger("snnet.docker")


class DockerPlugin:
    """Connects containers of one Docker daemon to networks of a compute node's tenants.

    ``node`` stays the caller's: call its ``init()`` before the plugin's and its
    ``close()`` after the plugin's.  Docker must run in the node's network namespace.

    ``name`` is the driver's name for ``docker network create -d``.  The server listens on a
    Unix socket in ``folder``; with ``address`` ("host:port") and ``tls`` it listens on TCP,
    and a file in ``spec_folder`` tells Docker the address.  ``data_dir`` holds the state
    that must outlive the process, in a registry of its own.  ``registry`` is the URL of
    another one, or an open one, which stays the caller's; the documents are then those whose
    keys begin with "docker/NODE/NAME/", and nobody else may write them.

    With ``cluster``, networks and addresses are those of the cluster, and the node is that of
    a running :class:`snnet.Agent`, which creates the VNICs.  The state is then kept in the
    cluster's registry, below "v1/docker/NODE/NAME/".

    ``init()`` opens the registry and ``start()`` starts the server; ``stop()`` stops the
    server and ``close()`` closes the registry.  Each may be repeated.  Start the plugin before
    Docker and stop it after Docker: a daemon tries to reach a plugin for 15 s, then fails
    the call.
    """

    def __init__(
        self,
        node: ComputeNode,
        *,
        name: str = "snnet",
        folder: str | os.PathLike[str] = PLUGIN_FOLDER,
        address: str | None = None,
        tls: Tls | None = None,
        spec_folder: str | os.PathLike[str] = SPEC_FOLDER,
        data_dir: str | os.PathLike[str] | None = None,
        registry: str | Registry | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        if not isinstance(node, ComputeNode):
            raise InvalidRequest(f"{shown(node)} is not a ComputeNode", field="node")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name):
            raise InvalidRequest(
                f"{shown(name)} is not a valid name: use 1 to 63 characters of a-z, 0-9, '.', '_' "
                "and '-', the first of them a letter or digit",
                field="name",
            )
        if not isinstance(registry, (str, Registry, type(None))):
            raise InvalidRequest(
                f"{shown(registry)} is neither the URL of a registry nor a Registry",
                field="registry",
            )
        self.name = name
        self._node = node
        self._listener = _listener(name, _path(folder, "folder"), address, tls, spec_folder)
        self._data = DATA_FOLDER / name if data_dir is None else _path(data_dir, "data_dir")
        if cluster is not None and (registry is not None or data_dir is not None):
            raise InvalidRequest(
                "has a registry: leave out registry= and data_dir=", field="cluster"
            )
        self._registry = registry
        self._cluster = cluster
        self._opened = ExitStack()
        self._running = RunningRequests()
        self._server: Server | None = None
        self._pid = os.getpid()

    @property
    def address(self) -> str:
        """The URL at which the server listens."""
        return str(self._listener)

    def init(self) -> None:
        """Open the registry and continue with the state of the last process.

        Raises ``InvalidRequest`` if the node is not ready, ``Conflict`` if another process
        uses the folder, and ``SnnetError`` if the registry cannot be read.
        """
        if self._server is not None:
            return
        if self._node.read_only:
            raise InvalidRequest(
                "the node is read-only, and the plugin creates VNICs on it", field="node"
            )
        self._node.topology()  # raises if the node is not ready
        with ExitStack() as opened:
            if self._cluster is not None:
                methods = cluster_protocol(self._cluster.registry, self._node, self.name)
            else:
                methods = protocol(*self._open_registry(opened), self._node)
            self._running = RunningRequests()
            self._server = Server(make_app(methods, self._running), self._listener)
            self._opened = opened.pop_all()
        self._pid = os.getpid()

    def _open_registry(self, opened: ExitStack) -> tuple[Registry, str]:
        """Return the registry and what our keys begin with."""
        shared = f"docker/{self._node.id}/{self.name}/"
        if isinstance(self._registry, Registry):
            return self._registry, shared
        try:
            self._data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise SnnetError(f"cannot create {self._data.parent}: {error.strerror}") from error
        folder = private_directory(self._data, 0o700)
        opened.enter_context(locked(folder / "lock", _LOCK_TIMEOUT, f"the data of {self.name}"))
        if self._registry is not None:
            return opened.enter_context(plugins.open_registry(self._registry)), shared
        own = plugins.open_registry(f"sqlite://{folder.absolute()}/registry.db")
        opened.enter_context(own)
        migrate(folder / "snnet.db", own, _OWN)
        return own, _OWN

    def start(self) -> None:
        """Serve requests in a thread.  Raises ``Conflict`` if another plugin listens there.

        Repeat it from time to time: it does nothing while Docker finds the server, and starts it
        again if its thread has ended or somebody removed its socket.
        """
        if self._server is None:
            raise InvalidRequest(f"plugin {self.name} is not ready: call init() first")
        if self._server.start():
            _log.info("plugin %s listens at %s", self.name, self._listener)

    def stop(self) -> None:
        """Stop serving requests.  Networks and containers stay as they are."""
        if self._server is not None and self._pid == os.getpid():
            self._server.stop()

    def close(self) -> None:
        """Stop, and close the registry.  ``init()`` opens it again.

        In a forked child this changes nothing.  Raises ``Timeout`` and keeps the registry
        open if a request is still running 15 s after the server has ended.
        """
        if self._pid == os.getpid():
            self.stop()
            if not self._running.wait(_DRAIN_TIMEOUT):
                raise Timeout("a request is still being carried out: call close() again")
            self._opened.close()
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listener(
    name: str, folder: Path, address: str | None, tls: Tls | None, specs: object
) -> Listener:
    if address is None:
        if tls is not None:
            raise InvalidRequest("is only for a TCP address: give address= too", field="tls")
        return UnixListener(folder / f"{name}.sock")
    if not isinstance(tls, Tls):
        raise InvalidRequest(
            "is needed for a TCP address, since its clients create networks as root",
            field="tls",
        )
    return TcpListener(*parse_address(address), tls, _path(specs, "spec_folder") / f"{name}.json")


def _path(value: object, field: str) -> Path:
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise InvalidRequest(f"{shown(value)} is not a path", field=field)
