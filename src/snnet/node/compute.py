"""The compute node: tenants' VNICs, their bridges and tunnels, concentrators' VNICs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from snnet.config import NetworkConfig, NetworkMode, VnicConfig
from snnet.contract import Address as AddressNoun
from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    HostIsolation,
    Key,
    Link,
    Noun,
    Nouns,
    Plan,
    ProxyNeighbour,
    Route,
    keyed,
)
from snnet.core.vnics import tunnel_event
from snnet.core.events import TunnelEventType
from snnet.core.routed import on_uplink
from snnet.core.compute_records import (
    Snapshot,
    Topology,
    read_topology,
    snapshot,
    tunnel_less,
    useless_beside,
)

from .base import account
from .bridged import BridgedVnics
from .claims import WHOLE_NODE
from .deadline import CancelToken
from .engine import incomplete, undone
from .lifecycle import DriverChoice
from .ports import Ports
from .reports import CreatedVnic, DestroyedVnic, Report
from .routed import RoutedVnics
from .sysctls import IP_FORWARD, SharedSysctls
from .vnics import Vnics


class ComputeNode(Ports):
    """A compute node, as its agent drives it.

    Set-up calls are all or nothing.  Tear-down calls press on and raise
    ``Incomplete`` for what is left; the same call again finishes.  Every call
    may be repeated.  ``timeout`` is in seconds and counts waiting;
    ``cancel`` is anything with ``is_set()``.
    """

    role: ClassVar[str] = "cn"
    modes: ClassVar[frozenset[NetworkMode]] = frozenset(NetworkMode)
    _optional: ClassVar[frozenset[type[Noun]]] = frozenset({BridgeAccept, HostIsolation, AntiSpoof})

    def __init__(
        self,
        node_id: str,
        config: NetworkConfig,
        *,
        backend: DriverChoice = "netlink",
        firewall: DriverChoice = "nftables",
        netns: str | int | os.PathLike[str] | None = None,
        api_timeout: float = 6.0,
        max_api_concurrency: int = 8,
        read_only: bool = False,
        listeners: Sequence[object] = (),
    ) -> None:
        super().__init__(
            node_id,
            config,
            backend=backend,
            firewall=firewall,
            dhcp=None,
            netns=netns,
            api_timeout=api_timeout,
            max_api_concurrency=max_api_concurrency,
            read_only=read_only,
            listeners=listeners,
        )
        self._topology = Topology()
        self._sysctls = SharedSysctls(self._host, self._drivers, str(self.owner))
        self._vnics: Vnics[Any] = BridgedVnics(self)
        if self.routed:
            self._vnics = RoutedVnics(self)
            self._kinds = (Link, AddressNoun, Route, ProxyNeighbour)

    def _start(self) -> Report:
        with self._telling() as told:
            report = self._rebuild(told)
        if not self.read_only:
            self._route()
        return report

    def _route(self) -> None:
        """In routed mode, have the host route between its links, and answer ARP at once."""
        if self.routed:
            # As sysctl(8) has it: a slash stands for a dot in the name of a link.
            uplink = self.site.uplink.link_name.replace(".", "/")
            self._sysctls.enable({IP_FORWARD: "1", f"net.ipv4.neigh.{uplink}.proxy_delay": "0"})

    # -- tenant VNICs ----------------------------------------------------------------

    def create_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CreatedVnic:
        """Make a tenant's VNIC, and its subnet's bridge and tunnel if it is the first here.

        The same config again returns the same VNIC and no event, and mends
        what was deleted behind our back.  The same identity with other
        attributes, an address in use, or a subnet that disagrees is a Conflict.
        """
        return self._vnics.create(cfg, self._begin("create_vnic", timeout, cancel))

    def plan_create_vnic(self, cfg: VnicConfig) -> Plan:
        """What ``create_vnic`` would do now: text, ``to_json()``, ``to_commands()``."""
        deadline = self._begin("plan_create_vnic", None, None, changes=False)
        return self._vnics.preview(cfg, deadline)

    def destroy_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> DestroyedVnic:
        """Remove a tenant's VNIC; the last of its subnet takes bridge and tunnel along.

        Only the identity is needed: tenant, subnet and VNIC ids.  Unknown or
        half gone is no error.  ``Incomplete`` (with ``tunnel_event`` and
        ``container_info`` as far as they came true) lists what could not go.
        """
        return self._vnics.destroy(cfg, self._begin("destroy_vnic", timeout, cancel))

    # -- the whole node --------------------------------------------------------------

    def topology(self) -> Snapshot:
        """What the node knows, as data of its own."""
        self._begin("topology", None, None, changes=False)
        with self._claims.lock:
            return snapshot(self._topology)

    def _nouns(self) -> Iterable[Noun]:
        yield from self._topology.nouns()
        yield from self._sysctls.nouns()

    def _ours(self) -> dict[Key, Noun]:
        return super()._ours() | self._drivers.find(self._sysctls.nouns())

    def _ours_elsewhere(self, found: Nouns) -> Iterable[Noun]:
        return on_uplink(self.site, found.values()) if self.routed else ()

    def _warnings(self) -> Iterable[str]:
        yield from tunnel_less(self._topology)
        yield from self._topology.same_macs()

    def _read(self, ours: Nouns) -> tuple[Report, set[Key]]:
        links = [noun for noun in ours.values() if isinstance(noun, Link)]
        topology = read_topology(self.site, links)
        useless = {link.key for link in links if not link.alias}
        empty = topology.empty_subnets()
        useless |= {noun.key for subnet in empty for noun in subnet.nouns()}
        staying = {key: noun for key, noun in ours.items() if key not in useless}
        useless |= useless_beside(staying, keyed(topology.nouns()))
        with self._claims.lock:
            self._topology = topology
        events = [
            tunnel_event(self.site, subnet, TunnelEventType.ADD)
            for subnet in topology.subnets.values()
            if subnet.tunnel and (self.read_only or subnet not in empty)
        ]
        return Report(events, orphans=[*topology.orphans, *tunnel_less(topology)]), useless

    def _forget_useless(self, report: Report, left: set[Key]) -> None:
        with self._claims.lock:
            for subnet in self._topology.empty_subnets():
                report.tunnel_events += self._vnics.forget(subnet, left)

    def reset_network(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Remove everything this node owns, as the kernel shows it, and nothing else.

        The report holds a DEL event for each tunnel.  ``Incomplete`` lists what
        could not go; the same call again finishes.
        """
        deadline = self._begin("reset_network", timeout, cancel, limited=False)
        report = Report()
        with self._telling() as told, self._claims.hold(lambda: WHOLE_NODE, deadline):
            found = {key: noun for key, noun in self._settled().items() if key[0] != "sysctl"}
            before = read_topology(
                self.site, (noun for noun in found.values() if isinstance(noun, Link))
            )
            outcome = self._tear_down(told, found)
            account(report, told.plan, outcome)
            left = undone(told.plan, outcome)
            report.tunnel_events = [
                tunnel_event(self.site, subnet, TunnelEventType.DEL)
                for subnet in before.subnets.values()
                if subnet.tunnel and subnet.tunnel.key not in left
            ]
            told.add(*report.tunnel_events)
            self._read({key: noun for key, noun in found.items() if key in left})
            if outcome.errors:
                raise incomplete("reset_network", told.plan, outcome)
            self._sysctls.release()
        return report
