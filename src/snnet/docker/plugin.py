"""The plugin, as its owner has it: beside a compute node, in a thread of its own."""

from __future__ import annotations

import logging
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from snnet import plugins
from snnet.config import shown
from snnet.contract import InvalidRequest, SnnetError, Store, Timeout
from snnet.node import ComputeNode
from snnet.system.files import locked, private_directory

from .app import RunningRequests, make_app, protocol
from .server import Listener, Server, TcpListener, Tls, UnixListener, parse_address

if TYPE_CHECKING:
    from typing import Self

PLUGIN_FOLDER = Path("/run/docker/plugins")
SPEC_FOLDER = Path("/etc/docker/plugins")
"""Where Docker looks for plugins (docs.docker.com/engine/extend/plugin_api)."""

DATA_FOLDER = Path("/var/lib/snnet/docker")

_LOCK_TIMEOUT = 5.0
"""Seconds to wait for a plugin of the same name to end."""

_DRAIN_TIMEOUT = 15.0
"""Seconds for the last requests to end: more than a node's usual time limit."""

_log = logging.getLogger("snnet.docker")


class DockerPlugin:
    """Containers of one Docker daemon on the networks of a compute node's tenants.

    ``node`` is borrowed: whoever made it has called its ``init()``, and closes it after the
    plugin.  Docker has to run in the node's network namespace.

    ``name`` is what ``docker network create -d`` is given.  The server listens on a Unix
    socket in ``folder``, or with ``address`` ("host:port") and ``tls`` on TCP, announced
    by a file in ``spec_folder``.  ``data_dir`` keeps what must outlive the process, by
    ``store``: the name of an installed one, or an open one, which is borrowed.

    ``init()`` opens the store, ``start()`` serves; ``stop()`` serves no more, ``close()``
    closes the store.  Each may be repeated.  Start it before Docker, and stop it after
    Docker: a daemon waits 15 s for a plugin that is away, and then fails the call.
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
        store: str | Store = "sqlite",
    ) -> None:
        if not isinstance(node, ComputeNode):
            raise InvalidRequest(f"{shown(node)} is no ComputeNode", field="node")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name):
            raise InvalidRequest(
                f"{shown(name)} is no name of 1 to 63 of a-z, 0-9, '.', '_' and '-'", field="name"
            )
        if not isinstance(store, (str, Store)):
            raise InvalidRequest(f"{shown(store)} is neither a name nor a store", field="store")
        self.name = name
        self._node = node
        self._listener = _listener(name, _path(folder, "folder"), address, tls, spec_folder)
        self._data = DATA_FOLDER / name if data_dir is None else _path(data_dir, "data_dir")
        self._store = store
        self._opened = ExitStack()
        self._running = RunningRequests()
        self._server: Server | None = None
        self._pid = os.getpid()

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        return str(self._listener)

    def init(self) -> None:
        """Open the store, and take up what the last process left.

        Raises InvalidRequest where the node is not ready, Conflict where another process
        has the folder, and SnnetError where the store cannot be read.
        """
        if self._server is not None:
            return
        if self._node.read_only:
            raise InvalidRequest("makes VNICs, and this one is read-only", field="node")
        self._node.topology()  # says whether it is ready
        with ExitStack() as opened:
            methods = protocol(self._open_store(opened), self._node)
            self._running = RunningRequests()
            self._server = Server(make_app(methods, self._running), self._listener)
            self._opened = opened.pop_all()
        self._pid = os.getpid()

    def _open_store(self, opened: ExitStack) -> Store:
        if isinstance(self._store, Store):
            return self._store
        try:
            self._data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise SnnetError(f"cannot make {self._data.parent}: {error.strerror}") from error
        folder = private_directory(self._data, 0o700)
        opened.enter_context(locked(folder / "lock", _LOCK_TIMEOUT, f"the data of {self.name}"))
        store = plugins.open_store(self._store, folder)
        opened.callback(store.close)
        return store

    def start(self) -> None:
        """Answer Docker's requests, in a thread.  Raises Conflict where another plugin does."""
        if self._server is None:
            raise InvalidRequest(f"plugin {self.name} is not ready: call init() first")
        self._server.start()
        _log.info("plugin %s listens at %s", self.name, self._listener)

    def stop(self) -> None:
        """Take no more requests; nothing is changed or lost."""
        if self._server is not None and self._pid == os.getpid():
            self._server.stop()

    def close(self) -> None:
        """Stop, and close the store.  ``init()`` opens it again.

        A forked child only lets go.  Raises Timeout, and keeps the store open, where a
        request takes longer to end than the node lets it.
        """
        if self._pid == os.getpid():
            self.stop()
            if not self._running.wait(_DRAIN_TIMEOUT):
                raise Timeout("a request is still being carried out: close() once more")
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
            raise InvalidRequest("is for a TCP address: give one", field="tls")
        return UnixListener(folder / f"{name}.sock")
    if not isinstance(tls, Tls):
        raise InvalidRequest(
            "is needed for a TCP address: whoever reaches it makes networks as root", field="tls"
        )
    return TcpListener(*parse_address(address), tls, _path(specs, "spec_folder") / f"{name}.json")


def _path(value: object, field: str) -> Path:
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise InvalidRequest(f"{shown(value)} is no path", field=field)
