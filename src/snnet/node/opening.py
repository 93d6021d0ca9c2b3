"""Opening a node's drivers on one host."""

from __future__ import annotations

import os
from contextlib import ExitStack

from snnet import plugins
from snnet.checks import shown
from snnet.config import NetworkConfig
from snnet.contract import Driver, Host, InvalidRequest, IPNetwork
from snnet.core.identity import Owner

from .drivers import Drivers

DriverChoice = str | Driver

_FAKE = "fake"
_GROUPS = {"backend": plugins.BACKENDS, "firewall": plugins.FIREWALLS, "dhcp": plugins.DHCP}


def open_drivers(
    owner: Owner,
    config: NetworkConfig,
    opened: ExitStack,
    *,
    backend: DriverChoice,
    firewall: DriverChoice,
    dhcp: DriverChoice | None,
    netns: str | int | os.PathLike[str] | None,
) -> Drivers:
    """Open the drivers that are named; ``opened`` closes them and their host.

    InvalidRequest where ``netns`` does not fit the backend.
    """
    if isinstance(backend, Driver):
        if netns is not None:
            raise InvalidRequest(
                "a backend instance has its own namespace: leave netns out", field="netns"
            )
        first = backend
    else:
        from snnet.system.host import RealHost

        nets: tuple[IPNetwork, ...] = tuple(config.compute_nets)  # type: ignore[arg-type]
        host = RealHost(None if backend == _FAKE else netns, owner=str(owner), networks=nets)
        opened.callback(host.close)
        first = _choose("backend", backend, host, opened)
        if netns is not None and first.host is not host:
            raise InvalidRequest(
                f"backend {backend!r} is in memory and has no network namespace: leave netns "
                "out, or use backend 'netlink'",
                field="netns",
            )
    # The host of the fake is its kernel; the other drivers use the same host.
    return Drivers(
        first,
        _choose("firewall", firewall, first.host, opened),
        None if dhcp is None else _choose("dhcp", dhcp, first.host, opened),
    )


def _choose(what: str, choice: DriverChoice, host: Host, opened: ExitStack) -> Driver:
    """Open an installed driver by name; an instance is borrowed and never closed."""
    if isinstance(choice, Driver):
        return choice
    if not isinstance(choice, str):
        raise InvalidRequest(
            f"{shown(choice)} is neither the name of a driver nor a driver", field=what
        )
    driver = plugins.open_driver(_GROUPS[what], choice, host)
    opened.callback(driver.close)
    return driver
