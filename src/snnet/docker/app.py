"""Requests in, answers out: HTTP as Docker's plugin API has it.

Every method is a POST with a JSON object, or nothing, as its body
(docs.docker.com/engine/extend/plugin_api).  An answer is a JSON object; one with ``Err``
is an error.  400: the request cannot be right; 500: it was understood and could not be
carried out; 404 is for methods alone, for Docker takes it for a method that is not there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from snnet.contract import InvalidRequest, SnnetError

from . import messages
from .book import said
from .ipam import Ipam
from .messages import Message
from .network import SPACE, NetworkDriver

BODY_MAX = 1 << 20
"""Bytes of a body that are read; Docker's are a few hundred."""

_DATABASE_WORKERS = 8
_NODE_WORKERS = 32
"""Requests worked on at once; all others wait without a thread."""

_log = logging.getLogger("snnet.docker")


class Answer(JSONResponse):
    media_type = "application/vnd.docker.plugins.v1.2+json"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a protocol.

    ``slow`` ones work on the kernel, and so do not keep those waiting that only look
    something up, or write a line into the database.
    """

    message: type[Message]
    answer: Callable[[Any], dict[str, Any]]
    slow: bool = False


def methods(network: NetworkDriver, ipam: Ipam) -> dict[str, Method]:
    """Every method of both protocols, by name."""

    def activate(_: Message) -> dict[str, Any]:
        """Said once by each daemon, before all else."""
        network.remove_orphans()
        return {"Implements": ["NetworkDriver", "IpamDriver"]}

    return {
        "Plugin.Activate": Method(messages.Empty, activate, slow=True),
        "NetworkDriver.GetCapabilities": _always(messages.Empty, {"Scope": "local"}),
        "NetworkDriver.AllocateNetwork": Method(
            messages.AllocateNetwork, lambda message: {"Options": dict(message.Options)}
        ),
        "NetworkDriver.FreeNetwork": _always(messages.OfNetwork, {}),
        "NetworkDriver.GwAllocCheck": _always(
            messages.GwAllocCheck, {"SkipIPv4": False, "SkipIPv6": False}
        ),
        "NetworkDriver.CreateNetwork": Method(
            messages.CreateNetwork, network.create_network, slow=True
        ),
        "NetworkDriver.DeleteNetwork": Method(
            messages.OfNetwork, network.delete_network, slow=True
        ),
        "NetworkDriver.CreateEndpoint": Method(
            messages.CreateEndpoint, network.create_endpoint, slow=True
        ),
        "NetworkDriver.DeleteEndpoint": Method(
            messages.OfEndpoint, network.delete_endpoint, slow=True
        ),
        "NetworkDriver.EndpointOperInfo": Method(messages.OfEndpoint, network.endpoint_info),
        "NetworkDriver.Join": Method(messages.Join, network.join, slow=True),
        "NetworkDriver.Leave": Method(messages.OfEndpoint, network.leave),
        "NetworkDriver.ProgramExternalConnectivity": _always(messages.OfEndpoint, {}),
        "NetworkDriver.RevokeExternalConnectivity": _always(messages.OfEndpoint, {}),
        "NetworkDriver.DiscoverNew": _always(messages.Discovery, {}),
        "NetworkDriver.DiscoverDelete": _always(messages.Discovery, {}),
        "IpamDriver.GetCapabilities": _always(
            messages.Empty, {"RequiresMACAddress": False, "RequiresRequestReplay": False}
        ),
        "IpamDriver.GetDefaultAddressSpaces": _always(
            messages.Empty,
            {"LocalDefaultAddressSpace": SPACE, "GlobalDefaultAddressSpace": SPACE},
        ),
        "IpamDriver.RequestPool": Method(messages.RequestPool, ipam.request_pool),
        "IpamDriver.ReleasePool": Method(messages.OfPool, ipam.release_pool, slow=True),
        "IpamDriver.RequestAddress": Method(messages.RequestAddress, ipam.request_address),
        "IpamDriver.ReleaseAddress": Method(
            messages.ReleaseAddress, ipam.release_address, slow=True
        ),
    }


def _always(message: type[Message], answer: dict[str, Any]) -> Method:
    return Method(message, lambda _: answer)


def make_app(methods: Mapping[str, Method]) -> Starlette:
    """The ASGI application that answers these methods."""
    quick, slow = CapacityLimiter(_DATABASE_WORKERS), CapacityLimiter(_NODE_WORKERS)

    def route(name: str, method: Method) -> Route:
        async def endpoint(request: Request) -> Answer:
            try:
                message = parse(method.message, await _body(request))
                limiter = slow if method.slow else quick
                return Answer(await to_thread.run_sync(method.answer, message, limiter=limiter))
            except ValidationError as error:
                raise HTTPException(400, said(error)) from error
            except SnnetError as error:
                _log.warning("%s: %s", name, error)
                status = 400 if isinstance(error, InvalidRequest) else 500
                raise HTTPException(status, str(error)) from error
            except HTTPException:
                raise
            except Exception as error:
                _log.exception("%s failed: this is a bug", name)
                text = f"internal error: {type(error).__name__}: {error}"
                raise HTTPException(500, text) from error

        return Route(f"/{name}", endpoint, methods=["POST"])

    return Starlette(
        routes=[route(name, method) for name, method in methods.items()],
        exception_handlers={HTTPException: _refusal},
    )


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_MAX:
            raise HTTPException(413, f"the body has more than {BODY_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def parse(kind: type[Message], body: bytes) -> Message:
    """The request in a body; ValidationError where it is none."""
    text = body.strip()
    return kind.model_validate_json(b"{}" if text in (b"", b"null") else text)


def _refusal(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    text = error.detail
    if error.status_code == 404:
        text = f"no method {request.url.path.lstrip('/')}"
    elif error.status_code == 405:
        text = f"{request.method} is not POST"
    return Answer({"Err": text}, error.status_code, headers=error.headers)
