"""The HTTP server in its own thread, and how Docker finds it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import ssl
import stat
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from snnet.checks import shown
from snnet.contract import Conflict, InvalidRequest, SnnetError
from snnet.contract.addresses import host_and_port
from snnet.system.files import close_in_children

from .gate import PATIENCE, Gate, GatedServer, connections_max

_TIMEOUT = 10.0
"""Seconds to wait for the server to start."""

_LAST_REQUESTS = 25.0
"""Seconds for the last requests to end; ``snnet docker-plugin serve`` lets each take 20."""

_BACKLOG = 1024
"""Maximum number of connections that wait to be accepted (listen(2))."""

_log = logging.getLogger("snnet.docker")

_PATH_MAX = 107
"""Maximum length of a Unix socket's path in bytes (unix(7))."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for TLS with certificates on both sides.

    ``ca`` signed both certificates.  The plugin uses ``cert`` and ``key``.  Docker uses
    ``client_cert`` and ``client_key``, whose paths it reads from the spec file.
    """

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


class Listener(ABC):
    """Where the server listens, and how Docker learns the address."""

    @abstractmethod
    def open(self) -> socket.socket:
        """Open a listening socket.  Raises ``Conflict`` if another server listens there."""

    @abstractmethod
    def announce(self) -> None:
        """Publish the address for Docker.  Called once the server answers requests."""

    @abstractmethod
    def keep_announced(self) -> bool:
        """Publish the address again if somebody removed it; False where that needs a new socket.

        May raise ``OSError``.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """Undo ``announce()``; may be repeated.  May raise ``OSError``."""

    def settings(self) -> dict[str, object]:
        """Settings for uvicorn."""
        return {}


class UnixListener(Listener):
    """A socket in Docker's plugin folder, found by its name.  Only root may connect."""

    def __init__(self, path: Path) -> None:
        if len(os.fsencode(path)) > _PATH_MAX - 1:  # one for the draft's dot
            raise InvalidRequest(
                f"{path} is longer than a Unix socket's path may be ({_PATH_MAX - 1} bytes)",
                field="folder",
            )
        self.path = path
        self._inode: int | None = None

    def __str__(self) -> str:
        return f"unix://{self.path}"

    def open(self) -> socket.socket:
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._check_free()
            return self._listen()
        except OSError as error:
            raise SnnetError(f"cannot listen at {self.path}: {error.strerror}") from error

    def _check_free(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise Conflict(f"{self.path} is not a socket: remove it")
            if self._answers():
                raise Conflict(
                    f"another plugin answers at {self.path}: stop it, or choose another name"
                )

    def _listen(self) -> socket.socket:
        # Replace the socket of a killed plugin in one step, so that Docker always finds one.
        draft = self.path.with_name(f".{self.path.name}")
        draft.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(draft))
            draft.chmod(0o600)
            listening.listen(_BACKLOG)
            self._inode = draft.lstat().st_ino
            draft.rename(self.path)
        except BaseException:
            listening.close()
            draft.unlink(missing_ok=True)
            raise
        return listening

    def announce(self) -> None:
        """Nothing to do: Docker finds the socket by its name."""

    def keep_announced(self) -> bool:
        """See ``Listener``: a socket whose file is gone cannot be linked again."""
        try:
            return self.path.lstat().st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                return False  # left by a killed plugin
            except TimeoutError:
                pass  # alive but busy
            return True

    def withdraw(self) -> None:
        inode, self._inode = self._inode, None
        with contextlib.suppress(FileNotFoundError):
            if inode is not None and self.path.lstat().st_ino == inode:
                self.path.unlink()


class TcpListener(Listener):
    """A TCP address with TLS, published for Docker in a JSON file."""

    def __init__(self, host: str, port: int, tls: Tls, spec: Path) -> None:
        self._address = (host, port)
        self._tls = tls
        self._spec = spec
        self._announced = False

    def __str__(self) -> str:
        host, port = self._address
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"

    def open(self) -> socket.socket:
        self._write_draft()
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            self._draft.unlink(missing_ok=True)
            raise Conflict(f"cannot listen at {self}: {error.strerror}") from error

    @property
    def _draft(self) -> Path:
        return self._spec.with_suffix(".new")

    def _write_draft(self) -> None:
        # Absolute paths, since Docker has another working directory.
        document = {
            "Name": self._spec.stem,
            "Addr": str(self),
            "TLSConfig": {
                "InsecureSkipVerify": False,
                "CAFile": os.path.abspath(self._tls.ca),
                "CertFile": os.path.abspath(self._tls.client_cert),
                "KeyFile": os.path.abspath(self._tls.client_key),
            },
        }
        try:
            self._spec.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self._spec.is_dir():
                raise Conflict(f"{self._spec} is a folder: remove it")
            self._draft.write_text(json.dumps(document, indent=1) + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._draft.unlink()
            raise SnnetError(f"cannot write {self._spec}: {error.strerror}") from error

    def announce(self) -> None:
        self._draft.rename(self._spec)
        self._announced = True

    def keep_announced(self) -> bool:
        """See ``Listener``."""
        if not self._spec.exists():
            self._write_draft()
            self.announce()
        return True

    def withdraw(self) -> None:
        if self._announced:
            self._spec.unlink(missing_ok=True)
        self._announced = False
        self._draft.unlink(missing_ok=True)

    def settings(self) -> dict[str, object]:
        return {
            "ssl_certfile": str(self._tls.cert),
            "ssl_keyfile": str(self._tls.key),
            "ssl_ca_certs": str(self._tls.ca),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }


class Server:
    """Serves requests from ``start()`` until ``stop()``; each may be repeated."""

    def __init__(self, app: ASGIApp, listener: Listener) -> None:
        self._app = app
        self._listener = listener
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Listen, so that Docker finds the server once this returns.

        Returns whether it was started: not if it serves already.  One whose thread has ended, or
        whose socket somebody removed, is replaced; requests that it is answering go on.
        """
        if self._thread is not None:
            if self._serves(self._thread):
                return False
            _log.warning("Docker no longer finds the server at %s: starting it again", self)
            self._retire()
        listening = self._listener.open()
        close_in_children(listening)
        try:
            config = uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="asyncio",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=int(_LAST_REQUESTS),
                **self._listener.settings(),  # type: ignore[arg-type]
            )
            try:
                config.load()
            except OSError as error:  # ssl.SSLError, too
                raise SnnetError(
                    f"cannot use the certificates for {self._listener}: {error}"
                ) from error
            self._server = GatedServer(config, lambda: Gate(connections_max(), PATIENCE))
            self._thread = threading.Thread(
                target=self._server.run, args=([listening],), name="snnet-docker", daemon=True
            )
            self._thread.start()
            self._wait_until_started()
            self._listener.announce()
        except BaseException:
            self.stop()
            listening.close()
            raise
        return True

    def __str__(self) -> str:
        return str(self._listener)

    def _serves(self, thread: threading.Thread) -> bool:
        try:
            return thread.is_alive() and self._listener.keep_announced()
        except OSError as error:
            raise SnnetError(f"cannot announce {self} to Docker: {error.strerror}") from error

    def _retire(self) -> threading.Thread | None:
        """Have the server end, if there is one, and return its thread."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None:
            server.should_exit = True
        return thread

    def _wait_until_started(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        deadline = time.monotonic() + _TIMEOUT
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise SnnetError(
                    f"the server at {self._listener} did not start: see its log for the reason"
                )
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening, and wait for running requests to end."""
        thread = self._retire()
        if thread is not None and thread.is_alive():
            thread.join(_LAST_REQUESTS + _TIMEOUT)
        try:
            self._listener.withdraw()
        except OSError as error:
            _log.warning(
                "cannot remove the announcement of %s for Docker: %s", self._listener, error
            )


def parse_address(text: object) -> tuple[str, int]:
    """Parse "host:port" or "[host]:port"."""
    found = host_and_port(text) if isinstance(text, str) else None
    if found is not None:
        return found
    raise InvalidRequest(
        f"{shown(text)} is not a valid address: use host:port or [host]:port, like "
        f"'127.0.0.1:{text if _is_port(text) else 9999}'",
        field="address",
    )


def _is_port(text: object) -> bool:
    return (
        re.fullmatch("[0-9]{1,5}", str(text), re.ASCII) is not None and 0 < int(str(text)) < 65536
    )
