"""A node's life: drivers opened, uplinks found, calls let in, everything let go."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

from snnet import plugins
from snnet.config import (
    MTU_MIN,
    NetworkConfig,
    NetworkMode,
    check_bool,
    check_id,
    check_int,
    shown,
)
from snnet.contract import Address as AddressNoun
from snnet.contract import (
    Driver,
    Host,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Link,
    Unsupported,
    Zone,
)
from snnet.core.compute import Site
from snnet.core.identity import Owner
from snnet.core.uplinks import Uplink, find_uplinks

from .claims import Claims
from .deadline import CancelToken, Deadline, check_seconds
from .drivers import Drivers
from .reports import Report

if TYPE_CHECKING:
    from typing import Self

DriverChoice = str | Driver


class Lifecycle:
    """A node from construction, which opens the drivers and changes nothing, to ``close()``."""

    role: ClassVar[str]
    modes: ClassVar[frozenset[NetworkMode]] = frozenset({NetworkMode.GRE_TUNNEL})

    def __init__(
        self,
        node_id: str,
        config: NetworkConfig,
        *,
        backend: DriverChoice,
        firewall: DriverChoice,
        dhcp: DriverChoice | None,
        netns: str | int | os.PathLike[str] | None,
        api_timeout: float,
        max_api_concurrency: int,
        read_only: bool,
        listeners: Sequence[object],
    ) -> None:
        self.owner = Owner(self.role, check_id(node_id, "node_id"))
        if not isinstance(config, NetworkConfig):
            raise InvalidRequest(f"{shown(config)} is not a NetworkConfig", field="config")
        if config.mode not in self.modes:
            raise InvalidRequest(
                f"a node of this role has no mode {config.mode.value!r}: routed tenants "
                "have no concentrators",
                field="mode",
            )
        self.config = config
        self.api_timeout = check_seconds(api_timeout, "api_timeout")
        self.read_only = check_bool(read_only, "read_only")
        self.listeners = plugins.Listeners(listeners)
        self._claims = Claims(check_int(max_api_concurrency, "max_api_concurrency", 1, 2**16))
        self._starting = threading.Lock()
        self._ready = False
        self._closed = False
        self._pid = os.getpid()
        self._resources = ExitStack()
        with ExitStack() as opened:
            self._drivers = self._open(opened, backend, firewall, dhcp, netns)
            self._check_firewall()
            self._resources = opened.pop_all()
        self._uplinks: tuple[Uplink, ...] = ()
        self._site: Site | None = None

    # -- life cycle ------------------------------------------------------------

    def _open(
        self,
        opened: ExitStack,
        backend: DriverChoice,
        firewall: DriverChoice,
        dhcp: DriverChoice | None,
        netns: str | int | os.PathLike[str] | None,
    ) -> Drivers:
        nets: tuple[IPNetwork, ...] = tuple(self.config.compute_nets)  # type: ignore[arg-type]
        if isinstance(backend, Driver):
            if netns is not None:
                raise InvalidRequest("a backend instance has its own namespace", field="netns")
            first, host = backend, backend.host
        else:
            from snnet.system.host import RealHost

            host = RealHost(netns, owner=str(self.owner), networks=nets)
            opened.callback(host.close)
            first = _choose("backend", backend, host, opened)
            # The fake's host is its kernel, and so the host of what works beside it.
            host = first.host
        walls = _choose("firewall", firewall, host, opened)
        server = None if dhcp is None else _choose("dhcp", dhcp, host, opened)
        self._host: Host = host
        return Drivers(first, walls, server)

    def _check_firewall(self) -> None:
        """Unsupported where tenants would be kept apart by a firewall that cannot."""
        if not self.routed:
            return
        if reason := self._drivers.missing(Zone(owner=str(self.owner), zone="any")):
            raise Unsupported(f"routed mode keeps tenants apart by the firewall alone: {reason}")

    def init(self) -> Report:
        """Find the uplinks, rebuild the topology from the kernel, heal what is half-born.

        The report is that of the rebuild: tunnels to announce again, what was
        healed, what has no place; empty when repeated.

        Takes the lock that keeps other processes from running this node in
        this namespace: waits up to ``api_timeout``, then Conflict naming the
        pid.  Raises InvalidRequest where no link matches the nets.  On failure
        nothing is kept; may be repeated.
        """
        self._check_usable()
        with self._starting, ExitStack() as taken:
            if self._ready:
                return Report()
            if not self.read_only:
                taken.enter_context(self._host.claim(self.api_timeout))
            self._find_uplinks()
            moved = [] if self.read_only else self._migrate()
            report = self._start()
            report.healed[:0] = moved
            self._resources.push(taken.pop_all())
            self._ready = True
            return report

    def _migrate(self) -> list[str]:
        """Take over what this node has set by another firewall; in words, what moved."""
        raise NotImplementedError

    def _start(self) -> Report:
        """What a node of this role does once its uplinks are found."""
        raise NotImplementedError

    def _find_uplinks(self) -> None:
        config = self.config
        found = self.backend.snapshot({Link, AddressNoun})
        self._uplinks = find_uplinks(found.values(), config.compute_nets, config.management_nets)  # type: ignore[arg-type]
        compute = next(uplink for uplink in self._uplinks if uplink.compute)
        self._site = Site(
            owner=self.owner,
            uplink=compute,
            tunnel=config.tunnel,
            mtu_cap=config.mtu,
            macvtap_mode=config.macvtap_mode,
            routed=self.routed,
            anti_spoofing=config.anti_spoofing or self.routed,
        )
        if self._site.mtu < MTU_MIN:
            raise InvalidRequest(
                f"{compute.link_name} has {compute.mtu}, which leaves {self._site.mtu} for "
                f"tenants: {MTU_MIN} is the least",
                field="mtu",
            )

    def close(self) -> None:
        """Let go of sockets, threads and the lock; changes nothing in the kernel.

        May be repeated; any other call afterwards is InvalidRequest.
        """
        self._closed = True
        if self._pid == os.getpid():
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise InvalidRequest(f"{self.owner} is closed: make a new one")
        if self._pid != os.getpid():
            raise InvalidRequest(f"{self.owner} was made before a fork: make a new one here")

    def _check_ready(self) -> None:
        self._check_usable()
        if not self._ready:
            raise InvalidRequest(f"{self.owner} is not ready: call init() first")

    def _begin(
        self,
        what: str,
        timeout: float | None,
        cancel: CancelToken | None,
        *,
        limited: bool = True,
        changes: bool = True,
    ) -> Deadline:
        """The deadline of a call, once the node may be called at all."""
        self._check_ready()
        if changes and self.read_only:
            raise InvalidRequest(f"{self.owner} is read-only: it refuses {what}")
        if timeout is None and limited:
            timeout = self.api_timeout
        deadline = Deadline(what, timeout, cancel)
        deadline.check()
        return deadline

    # -- what it is ----------------------------------------------------------------

    @property
    def routed(self) -> bool:
        """Whether tenants' traffic is routed, not tunnelled."""
        return self.config.mode is NetworkMode.ROUTED

    @property
    def id(self) -> str:
        return self.owner.id

    @property
    def backend(self) -> Driver:
        return self._drivers.backend

    @property
    def uplinks(self) -> tuple[Uplink, ...]:
        """All uplinks, by ifindex, then address; the first compute one is used."""
        self._check_ready()
        return self._uplinks

    @property
    def compute_ip(self) -> IPAddress:
        """The node's address on the compute network: its end of every tunnel."""
        self._check_ready()
        return self.site.uplink.ip

    @property
    def site(self) -> Site:
        """What all that this node makes depends on."""
        if self._site is None:
            self._check_ready()
        assert self._site is not None
        return self._site

    def dump_firewall(self) -> str:
        """What the firewall driver has set, as text."""
        self._begin("dump_firewall", None, None, changes=False)
        return self._drivers.firewall.dump()


_GROUPS = {"backend": plugins.BACKENDS, "firewall": plugins.FIREWALLS, "dhcp": plugins.DHCP}


def _choose(what: str, choice: DriverChoice, host: Host, opened: ExitStack) -> Driver:
    """An installed driver by name, opened and to be closed; an instance is borrowed."""
    if isinstance(choice, Driver):
        return choice
    if not isinstance(choice, str):
        raise InvalidRequest(f"{shown(choice)} is neither a driver's name nor a driver", field=what)
    driver = plugins.open_driver(_GROUPS[what], choice, host)
    opened.callback(driver.close)
    return driver
