"""The concentrator: subnets, tunnels, DHCP, mesh and external rules of one tenant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from snnet.checks import Address, Cidrs, Network, check_bool, check_id, check_many, check_type
from snnet.config import Neighbor, NetworkConfig
from snnet.contract import DhcpLease, InvalidRequest, IPAddress, Plan
from snnet.contract.keywords import refusing_unknown
from snnet.contract.nat import Masquerade, PortForward, PublicIp
from snnet.core import rule_requests
from snnet.core.addressing import Networks, check_subnets, check_unicast
from snnet.core.cnci_records import CnciRecords, masquerades
from snnet.core.events import TunnelEvent
from snnet.core.requests import check_carries, gone_remote, local_subnet, remote_subnet
from snnet.core.rules import public_key
from snnet.core.site import Site
from snnet.core.subnets import Scoping
from snnet.core.topology import CnciTopology
from snnet.core.wanted import Subnet, wanted_set

from .calls.mesh import UpdateMesh
from .calls.rules import DropRules, SetRules
from .calls.subnets import AddSubnet, DetachNode, RemoveSubnet
from .deadline import CancelToken
from .node import Node
from .opening import DriverChoice
from .reconcile_cnci import reconcile_cnci
from .results import Reconciled, Report
from .scopes import ScopeControl
from .sequences import Heard


@refusing_unknown
class Cnci(Node[CnciRecords]):
    """The concentrator of one tenant.

    Set-up calls (add, enable, allow, update) are all or nothing.  Tear-down calls
    (del, remove, disable, deny, shutdown) continue after errors and raise ``Incomplete``
    for what is left.  Every call may be repeated.
    """

    role: ClassVar[str] = "cnci"
    clearing: ClassVar[str] = "shutdown()"

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
            raise InvalidRequest("a concentrator needs a DHCP driver: name one", field="dhcp")
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
        self._heard = Heard(self._host, self.owner)
        self._scoping = Scoping(config.dhcp_reserved, config.domain_name, config.dns)
        self._pool: tuple[IPAddress, ...] = tuple(config.floating_pool)  # type: ignore[arg-type]

    def _records(self, site: Site) -> CnciRecords:
        return CnciRecords(site, self.tenant_id, self._scoping)

    # -- subnets ---------------------------------------------------------------------

    def add_remote_subnet(
        self,
        subnet: Cidrs,
        key: int,
        cn_ip: Address,
        port: int | None = None,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Attach a compute node to a subnet; return the link name of the bridge.

        ``subnet`` is one network, or a tuple of one of each family.  ``port`` is that of the node's
        tunnel event; another port than before replaces the tunnel.  None keeps the port, or takes
        it from the addresses of both ends.  The first compute node of a subnet also creates bridge,
        gateway address and DHCP server.  Raises Conflict for another key of the subnet, an overlap,
        or one key for two subnets of the tenant.
        """
        return self._run(self._addition(subnet, key, cn_ip, port), timeout, cancel)

    def plan_add_remote_subnet(
        self, subnet: Cidrs, key: int, cn_ip: Address, port: int | None = None
    ) -> Plan:
        """What ``add_remote_subnet`` would do now: text, ``to_json()``, ``to_commands()``."""
        return self._preview(self._addition(subnet, key, cn_ip, port))

    def add_local_subnet(self, cidrs: Cidrs, key: int, link: str, **limits: Any) -> str:
        """Serve a subnet by a link of the namespace; return the bridge, whose port it becomes."""
        request = local_subnet(self.site, cidrs, key, link)
        return self._run(AddSubnet(self.tenant_id, self._scoping, request), **limits)

    def _addition(self, subnet: Cidrs, key: int, cn_ip: Address, port: int | None) -> AddSubnet:
        request = remote_subnet(self.site, subnet, key, cn_ip, port)
        check_carries(request.networks, self.site.mtu)
        return AddSubnet(self.tenant_id, self._scoping, request)

    def del_remote_subnet(
        self,
        subnet: Cidrs,
        key: int,
        cn_ip: Address,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Detach a compute node: remove its tunnel, and keep bridge and DHCP server.

        A subnet of both families is named by both networks or by one.  An unknown subnet or
        node is not an error.
        """
        named = self._named(subnet)
        self._run(DetachNode(gone_remote(self.site, named, key, cn_ip)), timeout, cancel)

    def follow(self, event: TunnelEvent, **limits: Any) -> str | None:
        """Add or detach as a compute node's event says; returns the bridge, None for a DEL.

        An event with a lower ``sequence`` than another of the same compute node and subnet
        key is late, also after a restart of either node: nothing is done, and None returned.
        """
        self._ready()
        return self._heard.follow(event, self.add_remote_subnet, self.del_remote_subnet, **limits)

    def remove_subnet(
        self, subnet: Cidrs, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Remove a subnet: bridge, gateway, DHCP server, tunnels and its rules.

        The rules are its external forwards, and the port forwards and public addresses
        of its guests.  A subnet of both families is named by both networks or by one, and is
        removed as a whole.  An unknown subnet is not an error.
        """
        self._run(RemoveSubnet(self._named(subnet)), timeout, cancel)

    def dhcp(self, subnet: Cidrs) -> ScopeControl:
        """Return the control of the DHCP scope of a subnet that exists.

        A subnet of both families has one scope, and is named by both networks or by one.
        """
        return ScopeControl(self._ready, self._deadline, self._named(subnet))

    def _named(self, subnet: Cidrs) -> Networks:
        """The networks of the subnet that has these, or these if there is none."""
        networks = check_subnets(subnet)
        engine = self._ready()
        with engine.claims.lock:
            known = engine.records.named(networks)
        return known.networks if known else networks

    def leases(self, subnet: Cidrs) -> list[DhcpLease]:
        """Return the leases that guests of a subnet hold: address, MAC, host name, expiry."""
        return self.dhcp(subnet).held()

    # -- the mesh --------------------------------------------------------------------

    def update_neighbors(
        self,
        neighbors: Iterable[Neighbor],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Make the mesh of this tenant's concentrators exactly what the list describes.

        Several entries of one peer name several subnets behind it.  Peers that are not
        in the list are removed; a list without this node's physical address removes the
        mesh.  Raises Conflict if a subnet of a peer overlaps one of this node.
        """
        entries = check_many(neighbors, "neighbors", partial(check_type, kind=Neighbor))
        self._run(UpdateMesh(self.site, self.tenant_id, entries), timeout, cancel)

    # -- external rules --------------------------------------------------------------

    def enable_nat(
        self,
        devices: Iterable[str],
        *,
        nat66: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Masquerade the packets that leave by these external devices.

        IPv6 keeps its source unless ``nat66`` is True.  Conflict if a device has another ``nat66``.
        """
        rules, fields = rule_requests.masquerade_each(self.owner, devices, nat66)
        self._run(SetRules("enable_nat", rules, fields), timeout, cancel)

    def disable_nat(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Stop masquerading, on all devices."""
        self._run(DropRules("disable_nat", masquerades), timeout, cancel)

    def allow_external(
        self,
        device: str,
        bridge: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Let guests on a bridge open connections by an external device; answers come in."""
        rules = [rule_requests.external_forward(self.owner, device, bridge)]
        self._run(SetRules("allow_external", rules), timeout, cancel)

    def deny_external(
        self,
        device: str,
        bridge: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Undo ``allow_external``; a bridge that is not allowed is not an error."""
        keys = [rule_requests.external_forward(self.owner, device, bridge).key]
        self._run(DropRules.of("deny_external", keys), timeout, cancel)

    def add_port_forward(
        self,
        *,
        protocol: str,
        device: str,
        port: int | str,
        to: Address,
        to_port: int | None = None,
        address: Address | None = None,
        sources: Iterable[Network] = (),
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Forward a port of an external device to a port of a guest.

        ``port`` is a number, or a range like "8000-8010", which is forwarded to as many
        ports from ``to_port`` on.  With ``to_port`` None the port stays the same.
        With ``address``, an address of this host, the forward is for packets to that address;
        with None, for any address of this host of the family of ``to``.  A port may have a
        forward for each address, and one for each family, which gets all other packets.
        ``sources`` are the networks whose hosts may use the forward; empty: everybody.
        Guests of the tenant may use it too, from inside, where ``sources`` admits them.
        Raises Conflict if the port of that device and address has a forward that differs in
        anything: remove it first.
        """
        rules = rule_requests.port_forwards(
            self.owner,
            protocol=protocol,
            device=device,
            port=port,
            to=to,
            to_port=to_port,
            address=address,
            sources=sources,
        )
        self._run(SetRules("add_port_forward", rules), timeout, cancel)

    def remove_port_forward(
        self,
        *,
        protocol: str,
        device: str,
        port: int | str,
        address: Address | None = None,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Undo ``add_port_forward``; a port that is not forwarded is not an error.

        Without ``address`` it removes the forwards for any address, of both families.
        """
        keys = rule_requests.forwarded_ports(self.owner, protocol, device, port, address)
        self._run(DropRules.of("remove_port_forward", keys), timeout, cancel)

    def add_public_ip(
        self,
        address: Address,
        *,
        to: Address,
        device: str,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Add a public address to the device, and translate it to a guest's, one to one.

        If set, ``floating_pool`` must have it, and its traffic leaves by ``public_gateway``.
        """
        way = self.site.public_gateway
        rule = rule_requests.public_ip(
            self.owner, self._pool, way, address=address, to=to, device=device
        )
        self._run(SetRules("add_public_ip", [rule]), timeout, cancel)

    def remove_public_ip(
        self,
        address: Address,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Undo ``add_public_ip``; an unknown address is not an error."""
        key = public_key(self.owner, check_unicast(address, "address"))
        self._run(DropRules.of("remove_public_ip", [key]), timeout, cancel)

    @property
    def port_forwards(self) -> tuple[PortForward, ...]:
        """The port forwards, one record for each port."""
        return tuple(rule for rule in self.topology().rules if isinstance(rule, PortForward))

    @property
    def public_ips(self) -> dict[IPAddress, IPAddress]:
        """The internal address of each public address."""
        rules = self.topology().rules
        return {rule.public: rule.internal for rule in rules if isinstance(rule, PublicIp)}

    # -- the whole node --------------------------------------------------------------

    def reconcile(
        self,
        *,
        subnets: Iterable[Subnet] | None = None,
        nat: Iterable[str | Mapping[str, Any] | Masquerade] | None = None,
        exits: Iterable[tuple[str, Cidrs]] | None = None,
        forwards: Iterable[Mapping[str, Any] | PortForward] | None = None,
        public_ips: Iterable[Mapping[str, Any] | PublicIp] | None = None,
        neighbors: Iterable[Neighbor] | None = None,
        atomic: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Reconciled:
        """Make subnets, rules and mesh of the node exactly these.

        ``None`` leaves a kind alone; an empty list removes all of it.  ``exits`` are
        devices, each with a subnet that may open connections by it.  A forward or a public
        address is a mapping of the arguments of ``add_port_forward`` or ``add_public_ip``,
        or a record of ``port_forwards``; an item of ``nat`` is a device, or has ``device`` and
        ``nat66``.  Each item of the result says what was done about
        one object.  With ``atomic`` the first error is raised and everything is as before;
        without, errors are only in their items.  Malformed and duplicate arguments raise
        InvalidRequest before anything is touched.  A subnet that gets another key is
        recreated together with its rules; if it cannot be, name them when you try again.
        """
        wanted = wanted_set(
            self.site,
            self._scoping,
            self._pool,
            subnets=subnets,
            nat=nat,
            exits=exits,
            forwards=forwards,
            public_ips=public_ips,
            neighbors=neighbors,
        )
        check_bool(atomic, "atomic")
        deadline = self._deadline("reconcile", timeout, cancel)
        return reconcile_cnci(
            self._ready(), self.tenant_id, self._scoping, wanted, deadline, atomic=atomic
        )

    def topology(self) -> CnciTopology:
        """Return what the node knows, as data that does not change."""
        engine = self._ready()
        with engine.claims.lock:
            return engine.records.snapshot()

    def shutdown(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Stop all DHCP servers, remove all rules and links of this node, restore sysctls.

        Continues after errors; ``Incomplete`` lists what is left, and a repeat finishes.
        """
        report = self._clear("shutdown", timeout, cancel)
        self._heard.forget()
        return report
