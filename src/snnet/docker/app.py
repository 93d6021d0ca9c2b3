"""The HTTP application: Docker's plugin API.

Every method is a POST request whose body is a JSON object or empty
(docs.docker.com/engine/extend/plugin_api).  Every response is a JSON object; an error has
the key ``Err``.  Status 400 means that the request is invalid, 500 that it could not be
carried out.  404 is reserved for unknown methods, since Docker reads it that way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from snnet.contract import InvalidRequest, Registry, SnnetError
from snnet.node import ComputeNode

from . import messages
from .endpoints import Endpoints
from .in_cluster import ClusterVnics
from .intents import ClusterState
from .ipam import Ipam
from .messages import Message
from .network import SPACE, NetworkDriver
from .pools import Pools
from .state import State, describe
from .vnics import Vnics

DAEMON_RESTART = 2.0
"""Minimum number of seconds that a killed daemon needs to start again.

When a daemon starts, an endpoint that no container has used for this long belongs to the
previous daemon.
"""

BODY_MAX = 1 << 20
"""Maximum size of a request body in bytes; Docker sends a few hundred."""

_QUICK_WORKERS = 16
_SLOW_WORKERS = 128
"""Maximum number of concurrent requests, one thread each; others wait without a thread."""

_log = logging.getLogger("snnet.docker")


class Answer(JSONResponse):
    media_type = "application/vnd.docker.plugins.v1.2+json"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a protocol.

    ``slow`` methods change the kernel.  They have their own threads, so that they do not
    delay methods that only read or write the database.
    """

    message: type[Message]
    answer: Callable[[Any], dict[str, Any]]
    slow: bool = False


def methods(network: NetworkDriver, ipam: Ipam) -> dict[str, Method]:
    """All methods of both protocols, by name."""
    endpoints = network.endpoints

    def activate(_: Message) -> dict[str, Any]:
        """Handle the first request of every daemon."""
        endpoints.remove_unjoined(DAEMON_RESTART)
        endpoints.remove_ended(DAEMON_RESTART)
        return {"Implements": ["NetworkDriver", "IpamDriver"]}

    return {
        "Plugin.Activate": Method(messages.Empty, activate, slow=True),
        "NetworkDriver.GetCapabilities": _fixed(messages.Empty, {"Scope": "local"}),
        "NetworkDriver.AllocateNetwork": Method(
            messages.AllocateNetwork, lambda message: {"Options": dict(message.Options)}
        ),
        "NetworkDriver.FreeNetwork": _fixed(messages.OfNetwork, {}),
        "NetworkDriver.GwAllocCheck": _fixed(
            messages.GwAllocCheck, {"SkipIPv4": False, "SkipIPv6": False}
        ),
        "NetworkDriver.CreateNetwork": Method(messages.CreateNetwork, network.create, slow=True),
        "NetworkDriver.DeleteNetwork": Method(messages.OfNetwork, network.delete, slow=True),
        "NetworkDriver.CreateEndpoint": Method(
            messages.CreateEndpoint, endpoints.create, slow=True
        ),
        "NetworkDriver.DeleteEndpoint": Method(messages.OfEndpoint, endpoints.delete, slow=True),
        "NetworkDriver.EndpointOperInfo": Method(messages.OfEndpoint, endpoints.info),
        "NetworkDriver.Join": Method(messages.Join, endpoints.join, slow=True),
        "NetworkDriver.Leave": Method(messages.OfEndpoint, endpoints.leave),
        "NetworkDriver.ProgramExternalConnectivity": _fixed(messages.OfEndpoint, {}),
        "NetworkDriver.RevokeExternalConnectivity": _fixed(messages.OfEndpoint, {}),
        "NetworkDriver.DiscoverNew": _fixed(messages.Discovery, {}),
        "NetworkDriver.DiscoverDelete": _fixed(messages.Discovery, {}),
        "IpamDriver.GetCapabilities": _fixed(
            messages.Empty, {"RequiresMACAddress": False, "RequiresRequestReplay": False}
        ),
        "IpamDriver.GetDefaultAddressSpaces": _fixed(
            messages.Empty,
            {"LocalDefaultAddressSpace": SPACE, "GlobalDefaultAddressSpace": SPACE},
        ),
        "IpamDriver.RequestPool": Method(messages.RequestPool, ipam.request_pool),
        "IpamDriver.ReleasePool": Method(messages.OfPool, ipam.release_pool),
        "IpamDriver.RequestAddress": Method(messages.RequestAddress, ipam.request_address),
        "IpamDriver.ReleaseAddress": Method(messages.ReleaseAddress, ipam.release_address),
    }


def protocol(
    registry: Registry, prefix: str, node: ComputeNode, clock: Callable[[], float] = time.time
) -> dict[str, Method]:
    """The methods of a plugin on this node, after a first sweep of its endpoints.

    Its documents are those of the registry whose keys begin with ``prefix``.
    """
    network, ipam = _drivers(State(registry, prefix), Vnics(node), clock)
    node.reserve(network.endpoints.created)
    return methods(network, ipam)


def cluster_protocol(
    registry: Registry, node: ComputeNode, name: str, clock: Callable[[], float] = time.time
) -> dict[str, Method]:
    """The methods of a plugin whose networks are those of the cluster in this registry.

    An agent creates the VNICs on the node.
    """
    state = ClusterState(registry, node.id, name, clock)
    return methods(*_drivers(state, ClusterVnics(node, registry, state), clock))


def _drivers(state: State, vnics: Vnics, clock: Callable[[], float]) -> tuple[NetworkDriver, Ipam]:
    pools = Pools(state, clock)
    endpoints = Endpoints(state, pools, vnics)
    endpoints.sweep()
    network = NetworkDriver(state, pools, vnics, endpoints)
    return network, Ipam(state, pools, vnics, network)


def _fixed(message: type[Message], answer: dict[str, Any]) -> Method:
    return Method(message, lambda _: answer)


class RunningRequests:
    """Counts running requests, since a thread cannot be stopped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    def answer(self, method: Method, message: Message) -> dict[str, Any]:
        """Run the method and return its response."""
        with self._changed:
            self._running += 1
        try:
            return method.answer(message)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; return whether all requests have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)


def make_app(methods: Mapping[str, Method], running: RunningRequests) -> Starlette:
    """The ASGI application that serves these methods."""
    quick, slow = CapacityLimiter(_QUICK_WORKERS), CapacityLimiter(_SLOW_WORKERS)

    def route(name: str, method: Method) -> Route:
        async def endpoint(request: Request) -> Answer:
            try:
                message = parse(method.message, await _body(request))
                limiter = slow if method.slow else quick
                return Answer(
                    await to_thread.run_sync(running.answer, method, message, limiter=limiter)
                )
            except ValidationError as error:
                raise HTTPException(400, describe(error)) from error
            except SnnetError as error:
                _log.warning("%s: %s", name, error)
                status = 400 if isinstance(error, InvalidRequest) else 500
                raise HTTPException(status, str(error)) from error
            except ClientDisconnect:
                return Answer(
                    {"Err": "the connection was closed before the request was complete"}, 400
                )
            except HTTPException:
                raise
            except Exception as error:
                _log.exception("%s failed: this is a bug", name)
                text = f"internal error: {type(error).__name__}: {error}"
                raise HTTPException(500, text) from error

        return Route(f"/{name}", endpoint, methods=["POST"])

    app = Starlette(
        routes=[route(name, method) for name, method in methods.items()],
        exception_handlers={HTTPException: _refusal},
    )
    app.router.redirect_slashes = False
    return app


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise HTTPException(413, f"the request body is larger than {BODY_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def parse(kind: type[Message], body: bytes) -> Message:
    """Parse and validate a request body.  Raises ``ValidationError``."""
    text = body.strip()
    return kind.model_validate_json(b"{}" if text in (b"", b"null") else text)


def _refusal(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    text = error.detail
    if error.status_code == 404:
        text = f"unknown method {request.url.path.lstrip('/')!r}"
    elif error.status_code == 405:
        text = f"HTTP method {request.method} is not allowed: use POST"
    return Answer({"Err": text}, error.status_code, headers=error.headers)
