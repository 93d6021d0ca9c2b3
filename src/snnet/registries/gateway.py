"""A client of etcd's JSON gateway (etcd.io/docs/v3.4/dev-guide/api_grpc_gateway).

Calls go to one member after the other until one answers.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError
from urllib3.response import BaseHTTPResponse

from snnet.contract import ApiError, Denied, Unavailable

from .etcd_url import PASSWORD, Address, check_files

CONNECT, ATTEMPT, PATIENCE = 1.0, 2.0, 6.0
"""Seconds to connect, to wait for one member's answer, and for an answer at all."""

_ANSWERS = ("header", "result")
"""Every answer of etcd has one of these fields."""

_DENIED, _UNAUTHENTICATED = 7, 16  # grpc.github.io/grpc/core/md_doc_statuscodes.html
_NO_USER = "user name is empty"
_OLD_TOKEN = "revision of auth store is old"
"""A signed token (``--auth-token jwt``) is of no use after any change of a user or a role."""

_UNWRITTEN = ("no leader", "too many requests", "not capable")
_FULL = "database space exceeded"

Json = dict[str, Any]


class Refused(ApiError):
    """etcd refused a call for a reason that the caller handles; ``reason`` is its text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoSpace(Unavailable):
    """etcd's quota is used up, so that it takes deletions alone."""

    def __init__(self) -> None:
        super().__init__(
            "etcd has no space left: compact its history and defragment its members, then disarm "
            "the alarm (etcdctl alarm disarm)",
            unwritten=True,
        )


class Gateway:
    """Connections to the members.  Any number of threads may use it."""

    def __init__(self, address: Address) -> None:
        check_files(address.tls)
        self._user = address.user
        self._pools = [_pool(member, address.tls) for member in address.members]
        self._current = 0
        self._token: str | None = None
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()

    def call(self, path: str, body: Json, *, repeatable: bool = True) -> Json:
        """Call a method and return its answer.

        Raises ``Unavailable`` if no member answers.  A call that is not ``repeatable`` is
        sent once; the error then says whether it may have been carried out.  Raises
        ``Refused`` with the reason if etcd refuses the values.
        """
        deadline = time.monotonic() + PATIENCE
        reasons: dict[str, str] = {}
        while True:
            index, pool = self._current, self._pools[self._current]
            name = f"{pool.host}:{pool.port}"
            unwritten = True
            try:
                return self._post(pool, path, body)
            except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
                reasons[name] = _describe(error)
            except HTTPError as error:
                reasons[name], unwritten = _describe(error), repeatable
            except NoSpace:
                raise  # all members say so
            except Unavailable as error:
                reasons[name], unwritten = str(error), error.unwritten or repeatable
            self._pass_over(index)
            if not unwritten:
                raise Unavailable(f"etcd did not answer whether it wrote: {name}: {reasons[name]}")
            if time.monotonic() >= deadline:
                text = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
                raise Unavailable(f"no etcd member answers: {text}", unwritten=True)
            if len(reasons) == len(self._pools):
                time.sleep(0.1)

    def stream(self, path: str, bodies: Sequence[Json]) -> Stream:
        """Call a method that answers again and again, at one member."""
        index, pool = self._current, self._pools[self._current]
        try:
            response = pool.urlopen(
                "POST",
                path,
                body="\n".join(map(json.dumps, bodies)),
                headers={
                    **self._headers(),
                    # Without it, a member that is cut off from the others keeps the stream open.
                    "Grpc-Metadata-hasleader": "true",
                    # Else the server throws away what it has not read of the bodies when it
                    # begins to answer (net/http, chunkWriter.writeHeader).
                    "Connection": "close",
                },
                timeout=urllib3.Timeout(connect=CONNECT, read=ATTEMPT),
                retries=False,
                preload_content=False,
            )
        except HTTPError as error:
            self._pass_over(index)
            raise Unavailable(f"etcd at {pool.host}:{pool.port}: {_describe(error)}") from error
        stream = Stream(self, index, response)
        with self._lock:
            self._streams.add(stream)
        return stream

    def forget(self, stream: Stream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def check(self, index: int) -> bool:
        """Whether the member answers now."""
        with suppress(HTTPError, ApiError):
            self._post(self._pools[index], "/v3/maintenance/status", {})
            return True
        self._pass_over(index)
        return False

    def close(self) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        for pool in self._pools:
            pool.close()

    def _post(self, pool: HTTPConnectionPool, path: str, body: Json) -> Json:
        for attempt in range(2):
            response = pool.urlopen(
                "POST",
                path,
                body=json.dumps(body),
                headers=self._headers(),
                timeout=urllib3.Timeout(connect=CONNECT, read=ATTEMPT),
                retries=False,
            )
            answer = _decoded(response)
            if response.status == 200 and not answer.keys().isdisjoint(_ANSWERS):
                return answer
            unknown = any(known in str(answer) for known in (_NO_USER, _OLD_TOKEN))
            unknown |= answer.get("code") == _UNAUTHENTICATED
            if not (unknown and self._user and attempt == 0):
                break
            self._authenticate(pool)
        raise _error(answer, response.status)

    def _authenticate(self, pool: HTTPConnectionPool) -> None:
        body = {"name": self._user, "password": os.environ.get(PASSWORD, "")}
        response = pool.urlopen(
            "POST",
            "/v3/auth/authenticate",
            body=json.dumps(body),
            timeout=urllib3.Timeout(connect=CONNECT, read=ATTEMPT),
            retries=False,
        )
        answer = _decoded(response)
        if response.status != 200 or "token" not in answer:
            raise _error(answer, response.status)
        self._token = str(answer["token"])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _pass_over(self, index: int) -> None:
        with self._lock:
            if self._current == index:
                self._current = (index + 1) % len(self._pools)


class Stream:
    """The answers of one call, as they come."""

    def __init__(self, gateway: Gateway, index: int, response: BaseHTTPResponse) -> None:
        self.member = index
        self._gateway = gateway
        self._response = response
        # It answered in time; what follows may take for ever.
        _socket(response).settimeout(None)

    def __iter__(self) -> Iterator[Json]:
        """Yield answers until the stream ends.  Raises ``Unavailable`` if it breaks."""
        rest = b""
        try:
            for data in self._response.stream(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _result(json.loads(line))
            if rest.strip():
                yield _result(json.loads(rest))
        except (HTTPError, ValueError, OSError, AttributeError) as error:
            # AttributeError: closed by another thread while it reads.
            raise Unavailable(f"the connection to etcd broke: {_describe(error)}") from error

    def alive(self) -> bool:
        """Whether the member that answers is still there."""
        return self._gateway.check(self.member)

    def close(self) -> None:
        """End the stream, and wake a thread that reads it.  May be repeated."""
        self._gateway.forget(self)
        with suppress(OSError, AttributeError):
            _socket(self._response).shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """Remembers its socket: with "Connection: close" the answer alone has it afterwards."""

    def connect(self) -> None:
        super().connect()
        self.kept = self.sock


class _TlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.kept = self.sock


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _socket(response: BaseHTTPResponse) -> socket.socket:
    """The socket of an answer that has not come to its end."""
    connection: Any = response.connection
    found: socket.socket = connection.kept
    return found


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    """The text of a key; what is not UTF-8 in it, as others may write, is escaped."""
    return base64.b64decode(text).decode(errors="backslashreplace")


def decode_document(text: str) -> str:
    """The text of a value; empty, and so a damaged document, if it is not UTF-8."""
    try:
        return base64.b64decode(text).decode()
    except UnicodeDecodeError:
        return ""


def after(key: str) -> str:
    """The least key that is greater; both are encoded."""
    return base64.b64encode(base64.b64decode(key) + b"\0").decode()


def _pool(member: tuple[str, int], tls: Mapping[str, str]) -> HTTPConnectionPool:
    host, port = member
    if not tls:
        return _Pool(host, port, maxsize=16)
    return _TlsPool(
        host,
        port,
        maxsize=16,
        ca_certs=tls.get("ca"),
        cert_file=tls.get("cert"),
        key_file=tls.get("key"),
        cert_reqs="CERT_REQUIRED",
    )


def _decoded(response: BaseHTTPResponse) -> Json:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {}


def _result(answer: Json) -> Json:
    if "error" in answer:
        error = answer["error"]
        raise _error(error if isinstance(error, dict) else answer, 0)
    result: Json = answer.get("result", {})
    return result


def _error(answer: Json, status: int) -> ApiError:
    text = str(answer.get("message") or answer.get("error") or _unknown(status))
    code = answer.get("code", answer.get("grpc_code"))
    if code == _DENIED or "authentication failed" in text or _NO_USER in text:
        return Denied(f"etcd refused the user: {text}; check its roles, and {PASSWORD}")
    if _FULL in text:
        return NoSpace()
    if _OLD_TOKEN in text:  # once more, since the call got a new one
        return Unavailable(text, unwritten=True)
    if code in (3, 5, 9, 11):  # the values are refused: nothing was done
        return Refused(text)
    return Unavailable(text, unwritten=any(known in text for known in _UNWRITTEN))


def _unknown(status: int) -> str:
    return "it is not etcd: correct the URL" if status == 200 else f"HTTP status {status}"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
