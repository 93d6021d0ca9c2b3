"""``snnet docker-plugin serve``: a compute node with the Docker plugin, as a service."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

import snnet
from snnet.agent.systemd import notify
from snnet.contract import InvalidRequest, SnnetError
from snnet.core.events import TunnelEvent
from snnet.plugins import Event

from .signals import interruptible

if TYPE_CHECKING:
    from snnet.docker import DockerPlugin

PATIENCE = 20.0
"""Seconds that a request may take, with those before it; Docker itself waits for 30 s."""
LOOK = 1.0
"""Seconds between two looks whether Docker still finds the server."""

_log = logging.getLogger("snnet.docker")

_TLS = ("ca", "cert", "key", "client_cert", "client_key")


def serve(
    node_id: str,
    config: Path | None,
    *,
    node: Mapping[str, Any],
    plugin: Mapping[str, Any],
    tls: Mapping[str, Path | None],
) -> None:
    """Serve until Ctrl-C, TERM or HUP.  Networks and containers stay as they are.

    ``node`` and ``plugin`` are keyword arguments of ``ComputeNode`` and ``DockerPlugin``.
    Tunnel events are written to stdout as JSON lines, logs to stderr.
    """
    docker = _docker()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    files = _files(tls)
    certificates = docker.Tls(**files) if files else None
    settings = snnet.NetworkConfig.from_yaml(config) if config else snnet.NetworkConfig()
    with (
        interruptible() as stop,
        snnet.ComputeNode(
            node_id, settings, api_timeout=PATIENCE, listeners=[TunnelLines()], **node
        ) as compute,
        docker.DockerPlugin(compute, tls=certificates, **plugin) as server,
    ):
        compute.init()
        server.init()
        server.start()
        click.echo(f"snnet: {server.name} listens at {server.address}", err=True)
        notify("READY=1")
        said = None
        while not stop.wait(LOOK):
            said = _serve_on(server, said)
        notify("STOPPING=1")


def _serve_on(server: DockerPlugin, said: str | None) -> str | None:
    """Start the server again if Docker does not find it any more.

    Returns what prevents that, if anything does; it is logged if it was not ``said`` before.
    """
    try:
        server.start()
    except SnnetError as error:
        if said != str(error):
            _log.warning("cannot serve Docker: %s", error)
        return str(error)
    return None


class TunnelLines:
    """A listener that writes a JSON line for each tunnel, for the tenants' concentrators."""

    def applied(self, events: tuple[Event, ...]) -> None:
        """See :class:`snnet.plugins.Hooks`."""
        for event in events:
            if isinstance(event, TunnelEvent):
                click.echo(json.dumps(event.to_dict()))


def _files(tls: Mapping[str, Path | None]) -> dict[str, Path]:
    given = {name: path for name, path in tls.items() if path is not None}
    missing = [f"--tls-{name.replace('_', '-')}" for name in _TLS if name not in given]
    if given and missing:
        raise InvalidRequest(f"{', '.join(missing)} missing: TLS needs all five files", field="tls")
    return given


def _docker() -> ModuleType:
    try:
        import snnet.docker
    except ImportError as error:
        raise SnnetError(
            f"the Docker plugin needs {error.name}: pip install 'snnet[docker]'"
        ) from error
    return snnet.docker
