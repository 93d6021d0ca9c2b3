"""The concentrator: a tenant's subnets, tunnels, DHCP, mesh and way out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any, ClassVar

from snnet.config import (
    Address,
    Neighbor,
    Network,
    NetworkConfig,
    check_id,
    check_int,
    check_many,
    check_network,
    shown,
)
from snnet.contract import Address as AddressNoun
from snnet.contract import (
    DhcpScope,
    Fdb,
    InvalidRequest,
    IPAddress,
    Key,
    Link,
    Neighbour,
    Noun,
    Nouns,
    Plan,
    PublicIp,
    Route,
    Zone,
    ZoneLink,
    keyed,
)
from snnet.core import identity as ids
from snnet.core.addressing import check_subnet
from snnet.core.cnci_records import (
    CnciRecords,
    CnciSubnet,
    Scoping,
    build_cnci_subnet,
    build_tunnel,
    inside,
    read_cnci,
    with_addresses,
)
from snnet.core.encapsulation import check_key
from snnet.core.mesh import build_mesh
from snnet.core.planner import plan as make_plan
from snnet.core.requests import check_remote

from .base import account
from .claims import WHOLE_NODE, Claim
from .deadline import CancelToken, Deadline
from .engine import Telling, incomplete, undone
from .exits import Exits
from .lifecycle import DriverChoice
from .reports import Report
from .scopes import ScopeControl
from .sysctls import BRIDGED_TO_IP, IP_FORWARD, SharedSysctls


class Cnci(Exits):
    """A tenant's concentrator, as its agent drives it.

    Set-up calls (add, enable, update) are all or nothing.  Tear-down calls
    (del, disable, shutdown) press on and raise ``Incomplete`` for what is
    left.  Every call may be repeated.
    """

    role: ClassVar[str] = "cnci"
    _optional: ClassVar[frozenset[type[Noun]]] = frozenset({Zone, ZoneLink})
    _kinds: tuple[type[Noun], ...] = (Link, AddressNoun, Neighbour, Fdb, Route)

    def __init__(
        self,
        node_id: str,
        config: NetworkConfig,
        *,
        tenant_id: str,
        backend: DriverChoice = "netlink",
        firewall: DriverChoice = "nftables",
        dhcp: DriverChoice = "dnsmasq",
        netns: str | int | os.PathLike[str] | None = None,
        api_timeout: float = 6.0,
        max_api_concurrency: int = 8,
        read_only: bool = False,
        listeners: Sequence[object] = (),
    ) -> None:
        self.tenant_id = check_id(tenant_id, "tenant_id")
        if dhcp is None:
            raise InvalidRequest("a concentrator serves DHCP: name a driver", field="dhcp")
        super().__init__(
            node_id,
            config,
            backend=backend,
            firewall=firewall,
            dhcp=dhcp,
            netns=netns,
            api_timeout=api_timeout,
            max_api_concurrency=max_api_concurrency,
            read_only=read_only,
            listeners=listeners,
        )
        self._known = CnciRecords(str(self.owner))
        self._scoping = Scoping(config.dhcp_reserved, config.domain_name)
        self._sysctls = SharedSysctls(self._host, self._drivers, str(self.owner))

    def _start(self) -> Report:
        with self._telling() as told:
            report = self._rebuild(told)
        if not self.read_only:
            self._route()
        return report

    def _route(self) -> None:
        """Have the host forward between its links; a shutdown has put it back.

        Where br_netfilter translates the target of a frame to one behind the same
        bridge, it switches the frame instead of routing it (br_nf_pre_routing_finish,
        net/bridge/br_netfilter_hooks.c), and a bridge sends nothing back to the port
        it came by: guests of one compute node would not reach each other by a port
        forward.
        """
        self._sysctls.enable({IP_FORWARD: "1", BRIDGED_TO_IP: "0"})

    # -- subnets ---------------------------------------------------------------------

    def add_remote_subnet(
        self,
        subnet: Network,
        key: int,
        cn_ip: Address,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Attach a compute node's part of a subnet; returns the bridge's link name.

        The first one brings bridge, gateway address and DHCP server with it.
        Another key for the subnet, an overlap, or one key for two subnets of
        the tenant is a Conflict.
        """
        deadline = self._begin("add_remote_subnet", timeout, cancel)
        network, key, remote = self._remote_subnet(subnet, key, cn_ip)
        with (
            self._telling() as told,
            self._claims.hold(lambda: self._subnet_claim(network, remote), deadline) as claim,
        ):
            wanted, plan = self._plan_subnet(network, key, remote)
            tunnel = wanted.tunnels[remote].key
            if not claim.shared or all(operation.noun.key == tunnel for operation in plan):
                return self._add_subnet(told, wanted, remote, plan, deadline)
        # The subnet has to be mended, and others may be about to do it too.
        claim = Claim(frozenset({("subnet", network)}))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            wanted, plan = self._plan_subnet(network, key, remote)
            return self._add_subnet(told, wanted, remote, plan, deadline)

    def _add_subnet(
        self,
        told: Telling,
        wanted: CnciSubnet,
        remote: IPAddress,
        plan: Plan,
        deadline: Deadline,
    ) -> str:
        self._route()
        self._set_up(told, plan, deadline, f"add_remote_subnet {wanted.network}")
        with self._claims.lock:
            # Others may have added tunnels to the same subnet meanwhile.
            known = self._known.subnets.get(wanted.network)
            if known is not None and known.bridge == wanted.bridge:
                wanted = known.with_tunnel(wanted.tunnels[remote])
            self._known.subnets[wanted.network] = wanted
        return wanted.bridge.name

    def plan_add_remote_subnet(self, subnet: Network, key: int, cn_ip: Address) -> Plan:
        """What ``add_remote_subnet`` would do now: text, ``to_json()``, ``to_commands()``."""
        deadline = self._begin("plan_add_remote_subnet", None, None, changes=False)
        network, key, remote = self._remote_subnet(subnet, key, cn_ip)
        with self._claims.hold(lambda: self._subnet_claim(network, remote), deadline):
            plan = self._plan_subnet(network, key, remote)[1]
        self._drivers.require(plan)
        return self._drivers.preview(plan)

    def del_remote_subnet(
        self,
        subnet: Network,
        key: int,
        cn_ip: Address,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Detach a compute node: its tunnel goes, bridge and DHCP server stay.

        Unknown or gone is no error.
        """
        deadline = self._begin("del_remote_subnet", timeout, cancel)
        network, key, remote = self._remote_subnet(subnet, key, cn_ip)
        claim = Claim(frozenset({("tunnel", network, remote)}), frozenset({("subnet", network)}))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            known = self._known.subnets.get(network)
            old = known.tunnels.get(remote) if known and known.key == key else None
            if known is not None and old is None:
                return
            link = self._locate(ids.TUNNEL, (str(network), str(remote)), old)[1]
            outcome = self._tear_down(told, {link.key: link} if link is not None else {})
            if outcome.errors:
                raise incomplete(f"del_remote_subnet {network} {remote}", told.plan, outcome)
            with self._claims.lock:
                if known := self._known.subnets.get(network):
                    self._known.subnets[network] = known.without_tunnel(remote)

    def _remote_subnet(
        self, subnet: Network, key: int, cn_ip: Address
    ) -> tuple[IPv4Network, int, IPAddress]:
        network = check_subnet(check_network(subnet, "subnet"))
        self._scoping.check(network)
        return (
            network,
            check_key(self.site.tunnel, check_int(key, "key", 1, 2**32 - 1), "key"),
            check_remote(cn_ip, self.site.uplink.ip, "cn_ip"),
        )

    def _subnet_claim(self, network: IPv4Network, remote: IPAddress) -> Claim:
        if network in self._known.subnets:
            return Claim(frozenset({("tunnel", network, remote)}), frozenset({("subnet", network)}))
        # New subnets come one at a time: they may overlap, or have one key.
        return Claim(frozenset({("subnets",), ("subnet", network), ("tunnel", network, remote)}))

    def _plan_subnet(
        self, network: IPv4Network, key: int, remote: IPAddress
    ) -> tuple[CnciSubnet, Plan]:
        known = self._known
        known.check_subnet(network, key)
        old = known.subnets.get(network)
        old_tunnel = old.tunnels.get(remote) if old else None
        bridge_name, bridge = self._locate(ids.BRIDGE, (str(network),), old.bridge if old else None)
        tunnel_name, tunnel = self._locate(ids.TUNNEL, (str(network), str(remote)), old_tunnel)
        base = old
        if base is None or base.bridge.name != bridge_name:
            base = build_cnci_subnet(
                self.site, self.tenant_id, self._scoping, network, key, bridge_name
            )
        if old_tunnel is None:
            self._check_path(remote)
        link = old_tunnel or build_tunnel(self.site, self.tenant_id, base, remote, tunnel_name)
        known.check_wire(link)
        wanted = base.with_tunnel(link)
        # Only this node's tunnel is looked at: the others are other calls' business.
        nouns = self._carried(replace(base, tunnels={remote: link}).nouns())
        if bridge is None:
            # What hung on a bridge deleted behind our back died with it.
            found = self._drivers.find(noun for noun in nouns.values() if not _is_link(noun))
        else:
            found = self._drivers.find(nouns.values())
        found |= keyed(noun for noun in (bridge, tunnel) if noun is not None)
        scope = found.get(base.scope.key)
        if old is None and isinstance(scope, DhcpScope):
            kept = replace(base.scope, entries=scope.entries)
            wanted = replace(wanted, scope=kept)
            nouns[kept.key] = kept
        return wanted, make_plan(found, nouns)

    def dhcp(self, subnet: Network) -> ScopeControl:
        """The DHCP scope of a subnet that ``add_remote_subnet`` made."""
        self._begin("dhcp", None, None, changes=False)
        network = check_subnet(check_network(subnet, "subnet"))
        return ScopeControl(self, network)

    # -- the mesh --------------------------------------------------------------------

    def update_neighbors(
        self,
        neighbors: Iterable[Neighbor],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Make the mesh of this tenant's concentrators what the list says, whole.

        Several entries of one peer name several subnets behind it.  Peers not
        in the list are removed; a list without this node's own physical
        address removes the mesh.  A peer's subnet that overlaps one of ours is
        a Conflict.
        """
        deadline = self._begin("update_neighbors", timeout, cancel)
        entries = check_many(neighbors, "neighbors", _check_neighbor)
        claim = Claim(frozenset({("mesh",), ("subnets",)}))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            old = self._known.mesh
            name, _ = self._locate(ids.MESH, (self.tenant_id,), old.link if old else None)
            mesh = build_mesh(self.site, self.tenant_id, entries, name)
            if mesh is not None:
                self._known.check_mesh(mesh)
            rules = self._carried(inside(str(self.owner), name))
            wanted = keyed(mesh.nouns()) | rules if mesh else {}
            found = self._found_on(name) | self._drivers.find(rules.values())
            if mesh is None and self._known.subnets:
                found = {key: noun for key, noun in found.items() if not isinstance(noun, Zone)}
            if mesh is None:
                outcome = self._tear_down(told, found)
                if outcome.errors:
                    raise incomplete("update_neighbors", told.plan, outcome)
            else:
                self._set_up(told, make_plan(found, wanted), deadline, "update_neighbors")
            with self._claims.lock:
                self._known.mesh = mesh

    def _found_on(self, name: str) -> dict[Key, Noun]:
        """A link of ours and everything that hangs on it."""
        link = self._link(name)
        if link is None:
            return {}
        return {
            key: noun
            for key, noun in self.backend.snapshot(self._kinds).items()
            if key == link.key or noun.within == link.key
        }

    # -- the whole node --------------------------------------------------------------

    def topology(self) -> dict[str, Any]:
        """What the node knows, as plain data."""
        self._begin("topology", None, None, changes=False)
        with self._claims.lock:
            return self._known.to_dict()

    def _nouns(self) -> Iterable[Noun]:
        yield from self._known.nouns()
        yield from self._sysctls.nouns()

    def _ours(self) -> dict[Key, Noun]:
        ours = super()._ours()
        rules = (ours | self._known.rules).values()
        publics = [rule for rule in rules if isinstance(rule, PublicIp)]
        beside = [
            noun
            for public in publics
            for noun in with_addresses(public)
            if isinstance(noun, AddressNoun)
        ]
        return ours | self._drivers.find([*beside, *self._sysctls.nouns()])

    def _read(self, ours: Nouns) -> tuple[Report, set[Key]]:
        known = read_cnci(self.site, self.tenant_id, self._scoping, ours.values())
        useless = {noun.key for noun in ours.values() if isinstance(noun, Link) and not noun.alias}
        bridges = {subnet.bridge.name for subnet in known.subnets.values()}
        useless |= {
            noun.key
            for noun in ours.values()
            if isinstance(noun, DhcpScope) and noun.link not in bridges
        }
        wanted = {noun.key for noun in known.nouns()}
        useless |= {
            key
            for key, noun in ours.items()
            if isinstance(noun, (Zone, ZoneLink)) and key not in wanted
        }
        with self._claims.lock:
            self._known = known
        return Report(orphans=list(known.orphans)), useless

    def shutdown(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Stop every DHCP server, remove every rule and link of this node, put sysctls back.

        Continues past errors; ``Incomplete`` lists what is left, and the same
        call again finishes.  The node may be used again afterwards.
        """
        deadline = self._begin("shutdown", timeout, cancel, limited=False)
        report = Report()
        with self._telling() as told, self._claims.hold(lambda: WHOLE_NODE, deadline):
            found = {key: noun for key, noun in self._settled().items() if key[0] != "sysctl"}
            outcome = self._tear_down(told, found)
            account(report, told.plan, outcome)
            left = undone(told.plan, outcome)
            rules = {
                key: rule
                for key, rule in self._known.rules.items()
                if any(noun.key in left for noun in with_addresses(rule))
            }
            self._read({key: noun for key, noun in found.items() if key in left})
            self._known.rules |= rules
            if outcome.errors:
                raise incomplete("shutdown", told.plan, outcome)
            self._sysctls.release()
        return report


def _check_neighbor(value: object, field: str) -> Neighbor:
    if isinstance(value, Neighbor):
        return value
    raise InvalidRequest(f"{shown(value)} is not a Neighbor", field=field)


def _is_link(noun: Noun) -> bool:
    return isinstance(noun, Link)
