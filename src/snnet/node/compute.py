"""The compute node: tenants' VNICs, their bridges and tunnels, concentrators' VNICs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from snnet.config import NetworkConfig, VnicConfig, VnicRole
from snnet.contract import (
    BridgeAccept,
    FatalError,
    Key,
    Link,
    Missing,
    Noun,
    Nouns,
    Plan,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.compute import (
    Subnet,
    Vnic,
    build_subnet,
    build_vnic,
    container_info,
    tunnel_event,
)
from snnet.core.conflicts import check_same_subnet, check_same_vnic
from snnet.core.events import ContainerEvent, ContainerInfo, TunnelEvent, TunnelEventType
from snnet.core.planner import plan as make_plan
from snnet.core.requests import (
    TenantRequest,
    VnicId,
    tenant_identity,
    tenant_request,
)
from snnet.core.topology import Snapshot, Topology, read_topology, snapshot, tunnel_less

from .base import account
from .claims import WHOLE_NODE, Claim
from .deadline import CancelToken, Deadline
from .engine import Taken, Telling, incomplete, undone
from .lifecycle import DriverChoice
from .ports import Ports
from .reports import CreatedVnic, DestroyedVnic, Report


class ComputeNode(Ports):
    """A compute node, as its agent drives it.

    Set-up calls are all or nothing.  Tear-down calls press on and raise
    ``Incomplete`` for what is left; the same call again finishes.  Every call
    may be repeated.  ``timeout`` is in seconds and counts waiting;
    ``cancel`` is anything with ``is_set()``.
    """

    role: ClassVar[str] = "cn"
    _optional: ClassVar[frozenset[type[Noun]]] = frozenset({BridgeAccept})

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

    def _start(self) -> Report:
        with self._telling() as told:
            return self._rebuild(told)

    # -- tenant VNICs ----------------------------------------------------------------

    def create_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CreatedVnic:
        """Make a tenant's VNIC, and its subnet's bridge and tunnel if it is the first here.

        The same config again returns the same VNIC and no event, and mends
        what was deleted behind our back.  The same identity with other
        attributes, an address in use, or a subnet that disagrees is a Conflict.
        """
        deadline = self._begin("create_vnic", timeout, cancel)
        request = self._tenant_request(cfg)
        try:
            return self._create(request, deadline)
        except (Taken, Missing):
            # What was taken for granted is not so: a link in the way, or a bridge gone.
            return self._create(request, deadline, alone=True, look=True)

    def _create(
        self, request: TenantRequest, deadline: Deadline, *, alone: bool = False, look: bool = False
    ) -> CreatedVnic:
        with (
            self._telling() as told,
            self._claims.hold(lambda: self._create_claim(request, alone), deadline) as claim,
        ):
            subnet, vnic, plan = self._plan_vnic(request, look)
            on_subnet = any(operation.noun.key != vnic.link.key for operation in plan)
            if not (on_subnet and claim.shared):
                return self._create_vnic(told, subnet, vnic, plan, deadline)
        # The subnet has to be mended, and others may be about to do it too.
        return self._create(request, deadline, alone=True, look=look)

    def _create_vnic(
        self, told: Telling, subnet: Subnet, vnic: Vnic, plan: Plan, deadline: Deadline
    ) -> CreatedVnic:
        topology = self._topology
        known = topology.subnets.get(subnet.id)
        try:
            outcome = self._set_up(told, plan, deadline, f"create_vnic {vnic.vnic_id}")
        except FatalError:
            if known is None:
                # What is left can be found again, and a destroy finishes it.
                with self._claims.lock:
                    topology.put_subnet(subnet)
            raise
        event = info = None
        if known is None or known.tunnel is None:
            event = tunnel_event(self.site, subnet, TunnelEventType.ADD)
        with self._claims.lock:
            if vnic.role is VnicRole.TENANT_CONTAINER:
                first = topology.containers(subnet.id) == 0
                info = container_info(subnet, ContainerEvent.ADD if first else ContainerEvent.INFO)
            if known is not subnet:
                topology.put_subnet(subnet)
            topology.put_vnic(vnic)
        if plan:
            told.add(event, info)
        fds = outcome.fds.get(vnic.link_name)
        return CreatedVnic(replace(vnic, fds=fds) if fds else vnic, event, info)

    def plan_create_vnic(self, cfg: VnicConfig) -> Plan:
        """What ``create_vnic`` would do now: text, ``to_json()``, ``to_commands()``."""
        deadline = self._begin("plan_create_vnic", None, None, changes=False)
        request = self._tenant_request(cfg)
        with self._claims.hold(lambda: self._create_claim(request, alone=False), deadline):
            plan = self._plan_vnic(request, look=True)[2]
        self._drivers.require(plan)
        return self._drivers.preview(plan)

    def _tenant_request(self, cfg: VnicConfig) -> TenantRequest:
        site = self.site
        return tenant_request(cfg, tunnel=site.tunnel, uplink=site.uplink.ip, mtu_limit=site.mtu)

    def _create_claim(self, request: TenantRequest, alone: bool) -> Claim:
        subnet_id = request.id[:2]
        mine = {("vnic", *request.id), ("ip", *subnet_id, request.ip)}
        known = self._topology.subnets.get(subnet_id)
        if known is not None and known.tunnel is not None and not alone:
            return Claim(frozenset(mine), frozenset({("subnet", *subnet_id)}))
        # Two new subnets with one key towards one concentrator collide.
        wire = ("wire", request.subnet_key, request.concentrator_ip)
        return Claim(frozenset({*mine, ("subnet", *subnet_id), wire}))

    def _plan_vnic(self, request: TenantRequest, look: bool) -> tuple[Subnet, Vnic, Plan]:
        """The records of a request and the plan for them; Conflict where they contradict.

        Without ``look``, two things are taken for granted that the driver will
        say if they are not so: the name of a VNIC nobody knows of is free, and
        the bridge of a subnet that is known is there.
        """
        topology = self._topology
        old = topology.vnic(request.id)
        look = look or old is not None
        subnet, found = self._subnet_of(request, look)
        kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
        if look:
            name, link = self._locate(kind, request.id, old.link if old else None)
            if link is not None:
                found[link.key] = link
        else:
            name = next(ids.names(self.owner, kind, *request.id))
        vnic = build_vnic(self.site, request, subnet, name)
        if old is not None:
            check_same_vnic(old, vnic)
            if old.link_name == name:
                vnic = old
        topology.check_address(vnic)
        if not look and subnet is topology.subnets.get(subnet.id):
            wanted = keyed(noun for noun in (subnet.tunnel, vnic.link) if noun is not None)
            return subnet, vnic, make_plan(found, wanted)
        wanted = self._carried([*subnet.nouns(), *vnic.nouns()])
        rule = wanted.get(subnet.accept.key)
        if rule is not None:
            # It came with the bridge; asking the firewall on every call would cost too much.
            bridge_is_there = subnet.bridge.key in found
            found |= keyed([rule]) if bridge_is_there else self._drivers.find([rule])
        return subnet, vnic, make_plan(found, wanted)

    def _subnet_of(self, request: TenantRequest, look: bool) -> tuple[Subnet, dict[Key, Noun]]:
        """The subnet a request is for, and those of its links that are there."""
        subnet_id = request.id[:2]
        known = self._topology.subnets.get(subnet_id)
        if known is not None:
            check_same_subnet(known, request)
        bridge: Link | None = None
        if known is not None and not look:
            bridge_name = known.bridge.name
        else:
            known_bridge = known.bridge if known else None
            bridge_name, bridge = self._locate(ids.BRIDGE, subnet_id, known_bridge)
        tunnel_name, tunnel = self._locate(ids.TUNNEL, subnet_id, known.tunnel if known else None)
        found: dict[Key, Noun] = {link.key: link for link in (bridge, tunnel) if link is not None}
        if (
            known is not None
            and known.tunnel is not None
            and (known.bridge.name, known.tunnel.name) == (bridge_name, tunnel_name)
        ):
            return known, found
        subnet = build_subnet(self.site, request, bridge_name, tunnel_name)
        self._topology.check_wire(subnet)
        self._check_path(request.concentrator_ip)
        return subnet, found

    def destroy_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> DestroyedVnic:
        """Remove a tenant's VNIC; the last of its subnet takes bridge and tunnel along.

        Only the identity is needed: tenant, subnet and VNIC ids.  Unknown or
        half gone is no error.  ``Incomplete`` (with ``tunnel_event`` and
        ``container_info`` as far as they came true) lists what could not go.
        """
        deadline = self._begin("destroy_vnic", timeout, cancel)
        identity = tenant_identity(cfg)
        subnet_id = identity[:2]
        with (
            self._telling() as told,
            self._claims.hold(lambda: self._destroy_claim(identity), deadline) as claim,
        ):
            last = ("subnet", *subnet_id) in claim.alone
            return self._destroy_vnic(told, identity, last)

    def _destroy_claim(self, identity: VnicId) -> Claim:
        subnet_id = identity[:2]
        # Two last VNICs that go at once must not each take the other for staying.
        staying = any(
            vnic.id != identity and not self._claims.held(("leaving", *vnic.id))
            for vnic in self._topology.vnics(subnet_id)
        )
        mine, subnet = {("vnic", *identity), ("leaving", *identity)}, ("subnet", *subnet_id)
        if staying:
            return Claim(frozenset(mine), frozenset({subnet}))
        return Claim(frozenset({*mine, subnet}))

    def _destroy_vnic(self, told: Telling, identity: VnicId, last: bool) -> DestroyedVnic:
        topology = self._topology
        subnet, vnic = topology.subnets.get(identity[:2]), topology.vnic(identity)
        found: dict[Key, Noun] = {}
        for kind in (ids.VM, ids.CONTAINER):
            link = self._locate(kind, identity, vnic.link if vnic else None)[1]
            if link is not None:
                found[link.key] = link
        if subnet is not None and last:
            found |= self._find_subnet(subnet)
        outcome = self._tear_down(told, found)
        left = undone(told.plan, outcome)
        event, info = self._forget(identity, subnet, left, last)
        told.add(event, info)
        if outcome.errors:
            raise incomplete(
                f"destroy_vnic {identity[2]}", told.plan, outcome, event=event, info=info
            )
        return DestroyedVnic(event, info)

    def _find_subnet(self, subnet: Subnet) -> dict[Key, Noun]:
        """What is there of a subnet's own: bridge, rule and tunnel, if they are ours."""
        found = self._drivers.find(self._carried(subnet.nouns()).values())
        return {
            key: noun
            for key, noun in found.items()
            if not isinstance(noun, Link) or ids.is_ours(noun, self.owner)
        }

    def _forget(
        self, identity: VnicId, subnet: Subnet | None, left: set[Key], last: bool
    ) -> tuple[TunnelEvent | None, ContainerInfo | None]:
        """Drop from the topology what a destroy removed; say what that means to others."""
        topology = self._topology
        event = info = None
        with self._claims.lock:
            vnic = topology.vnic(identity)
            if vnic and vnic.link.key not in left:
                topology.drop_vnic(identity)
                if (
                    subnet
                    and vnic.role is VnicRole.TENANT_CONTAINER
                    and not topology.containers(subnet.id)
                ):
                    info = container_info(subnet, ContainerEvent.DEL)
            if subnet and last:
                event = next(iter(self._forget_subnet(subnet, left)), None)
        return event, info

    # -- the whole node --------------------------------------------------------------

    def topology(self) -> Snapshot:
        """What the node knows, as data of its own."""
        self._begin("topology", None, None, changes=False)
        with self._claims.lock:
            return snapshot(self._topology)

    def _nouns(self) -> Iterable[Noun]:
        return self._topology.nouns()

    def _warnings(self) -> Iterable[str]:
        yield from tunnel_less(self._topology)
        yield from self._topology.same_macs()

    def _read(self, ours: Nouns) -> tuple[Report, set[Key]]:
        links = [noun for noun in ours.values() if isinstance(noun, Link)]
        topology = read_topology(self.site, links)
        useless = {link.key for link in links if not link.alias}
        empty = topology.empty_subnets()
        useless |= {noun.key for subnet in empty for noun in subnet.nouns()}
        with self._claims.lock:
            self._topology = topology
        events = [
            tunnel_event(self.site, subnet, TunnelEventType.ADD)
            for subnet in topology.subnets.values()
            if subnet.tunnel and (self.read_only or subnet not in empty)
        ]
        return Report(events, orphans=[*topology.orphans, *tunnel_less(topology)]), useless

    def _forget_useless(self, report: Report, left: set[Key]) -> None:
        topology = self._topology
        with self._claims.lock:
            for subnet in topology.empty_subnets():
                report.tunnel_events += self._forget_subnet(subnet, left)

    def _forget_subnet(self, subnet: Subnet, left: set[Key]) -> list[TunnelEvent]:
        """Drop a subnet, or what of it is not left; DEL if its tunnel is gone with it."""
        events = []
        if subnet.tunnel and subnet.tunnel.key not in left:
            events.append(tunnel_event(self.site, subnet, TunnelEventType.DEL))
            self._topology.put_subnet(replace(subnet, tunnel=None))
        nouns = {noun.key for noun in subnet.nouns()}
        if left.isdisjoint(nouns) and not any(self._topology.vnics(subnet.id)):
            self._topology.drop_subnet(subnet.id)
        return events

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
            found = self._settled()
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
        return report
