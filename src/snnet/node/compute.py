"""The compute node: VNICs of tenants, their bridges and tunnels, and CNCI VNICs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from snnet.checks import Address, check_bool, check_callable, check_id
from snnet.config import NetworkConfig, NetworkMode, VnicConfig
from snnet.contract import InvalidRequest, Plan, Rule
from snnet.contract.keywords import refusing_unknown
from snnet.core.compute_records import ComputeRecords
from snnet.core.concentrators import Concentrator
from snnet.core.groups import Group, GroupId
from snnet.core.local_requests import ConcentratorConfig, ConcentratorId, local_concentrator
from snnet.core.meshing import Peer, check_peers
from snnet.core.requests import VnicId, cnci_vnic_identity, cnci_vnic_request, tenant_identity
from snnet.core.site import Site
from snnet.core.topology import Topology
from snnet.core.vnics import CnciVnic, Vnic

from .bulk import create_each, destroy_all
from .call import Mode
from .calls.cnci_vnics import CreateCnciVnic, DestroyCnciVnic
from .calls.concentrators import RemoveConcentrator, SetConcentrator
from .calls.groups import RemoveGroups, SetGroups
from .calls.layout import Layout
from .calls.layouts import layout_of
from .calls.peers import SetPeers
from .calls.vnics import ChangeVnics
from .deadline import CancelToken
from .node import Node
from .opening import DriverChoice
from .reconcile import Reserved, reconcile_node, reserves_none
from .reconcile_local import check_hosting
from .results import CreatedVnic, DestroyedVnic, Reconciled, Report, VnicResult


@refusing_unknown
class ComputeNode(Node[ComputeRecords]):
    """A compute node.

    Set-up calls are all or nothing.  Tear-down calls continue after errors and raise
    ``Incomplete`` for what is left; repeating the call finishes.  Every call may be
    repeated.  ``timeout`` is in seconds and includes waiting; ``cancel`` is anything
    with ``is_set()``.
    """

    role: ClassVar[str] = "cn"
    clearing: ClassVar[str] = "reset_network()"
    modes: ClassVar[frozenset[NetworkMode]] = frozenset(NetworkMode)

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
        self._reserved = Reserved()

    def take_number(self, node_number: int) -> None:
        """Use this number, which a registry assigned.  Call it before ``init()``."""
        if self._engine is not None and node_number != self.config.node_number:
            raise InvalidRequest(f"{self.owner} has tunnels by now: give it its number before")
        self.config = replace(self.config, node_number=node_number)

    def _records(self, site: Site) -> ComputeRecords:
        return ComputeRecords(site)

    @cached_property
    def _layout(self) -> Layout[Any]:
        return layout_of(self.site)

    # -- tenant VNICs ----------------------------------------------------------------

    def create_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CreatedVnic:
        """Create a tenant's VNIC; the first one of a subnet also creates bridge and tunnel.

        A repeated call with the same config returns the same VNIC and no event, and
        recreates what other programs have deleted.  Raises Conflict for the same
        identity with other attributes, an address in use, or a different subnet.
        """
        return self._run(self._creation(cfg), timeout, cancel).made[0]

    def plan_create_vnic(self, cfg: VnicConfig) -> Plan:
        """Return what ``create_vnic`` would do now: text, ``to_json()``, ``to_commands()``."""
        return self._preview(self._creation(cfg))

    def _creation(self, cfg: VnicConfig) -> ChangeVnics:
        request = self._layout.request(cfg)
        return ChangeVnics(f"create_vnic {request.vnic_id}", self._layout, [request])

    def update_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Vnic:
        """Change a VNIC in place: MTU, extra addresses, anti-spoofing, groups and rates.

        ``cfg`` is the whole config, as for ``create_vnic``.  The guest stays connected; rules
        change in one transaction, so that nothing passes meanwhile that neither config allows.
        The guest's own end keeps its MTU.  If a step fails, all is as before.  Raises
        Conflict for a VNIC that is not there, and if anything else differs.
        """
        return self._run(self._update(cfg), timeout, cancel).made[0].vnic

    def plan_update_vnic(self, cfg: VnicConfig) -> Plan:
        """Return what ``update_vnic`` would do now."""
        return self._preview(self._update(cfg))

    def _update(self, cfg: VnicConfig) -> ChangeVnics:
        request = self._layout.request(cfg)
        what = f"update_vnic {request.vnic_id}"
        return ChangeVnics(what, self._layout, [request], updated=[request.id])

    def destroy_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> DestroyedVnic:
        """Remove a tenant's VNIC; the last one of a subnet also removes bridge and tunnel.

        Only the identity is needed: tenant, subnet and VNIC ids.  A VNIC that is unknown
        or partly removed is not an error.  ``Incomplete`` lists what could not be removed,
        and has ``tunnel_event`` and ``container_info`` if they are already true.
        """
        identity = tenant_identity(cfg)
        what = f"destroy_vnic {identity[2]}"
        call = ChangeVnics(what, self._layout, gone=[identity], mode=Mode.PRESS_ON)
        return self._run(call, timeout, cancel).gone[0]

    def create_vnics(
        self,
        cfgs: Iterable[VnicConfig],
        *,
        atomic: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[VnicResult]:
        """Create many VNICs with shared work; return a result for each, in order.

        A result has ``.vnic`` or ``.error``.  With ``atomic`` the first error is raised,
        and all VNICs are rolled back.  The time limit is for the whole call.
        """
        check_bool(atomic, "atomic")
        deadline = self._deadline("create_vnics", timeout, cancel)
        return create_each(self._ready(), self._layout, cfgs, deadline, atomic=atomic)

    def destroy_vnics(
        self,
        cfgs: Iterable[VnicConfig],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[DestroyedVnic]:
        """Remove many VNICs with shared work; return a result for each, in order.

        Continues after errors; ``Incomplete`` lists what is left of all of them.
        """
        deadline = self._deadline("destroy_vnics", timeout, cancel)
        return destroy_all(self._ready(), self._layout, cfgs, deadline)

    # -- topology "mesh" -------------------------------------------------------------

    def set_peers(
        self,
        tenant_id: str,
        subnet_id: str,
        peers: Iterable[Peer],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Set the other nodes of a subnet, and the guests on them, to exactly these.

        Entries of a guest that moved are replaced in place, and what is not named is removed, all
        or nothing.  A repeated call does nothing.  Raises Conflict for a subnet that is not on
        this node, unless ``peers`` is empty, and for a MAC or an address of a VNIC here.
        """
        self._run(self._peers(tenant_id, subnet_id, peers), timeout, cancel)

    def plan_set_peers(self, tenant_id: str, subnet_id: str, peers: Iterable[Peer]) -> Plan:
        """Return what ``set_peers`` would do now."""
        return self._preview(self._peers(tenant_id, subnet_id, peers))

    def _peers(self, tenant_id: str, subnet_id: str, peers: Iterable[Peer]) -> SetPeers:
        return SetPeers(check_peers(self.site, tenant_id, subnet_id, peers))

    # -- security groups -------------------------------------------------------------

    def set_group(
        self,
        tenant_id: str,
        name: str,
        *,
        rules: Iterable[Rule] = (),
        members: Iterable[Address] = (),
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Set a tenant's security group to exactly these rules and members.

        ``members`` are addresses on other nodes; VNICs of this node are members by their config.
        VNICs in the group pass only what its rules allow, and the answers.  A change is one
        transaction.  Raises Conflict if a rule names a group that is not known here.
        """
        self._run(_setting(tenant_id, name, rules, members), timeout, cancel)

    def plan_set_group(
        self,
        tenant_id: str,
        name: str,
        *,
        rules: Iterable[Rule] = (),
        members: Iterable[Address] = (),
    ) -> Plan:
        """Return what ``set_group`` would do now."""
        return self._preview(_setting(tenant_id, name, rules, members))

    def remove_group(
        self,
        tenant_id: str,
        name: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Remove a tenant's security group; an unknown one is not an error.

        Raises Conflict while a VNIC is in it, or a rule of another group names it.
        """
        group = (check_id(tenant_id, "tenant_id"), check_id(name, "name"))
        self._run(RemoveGroups(f"remove_group {name}", [group]), timeout, cancel)

    # -- CNCI VNICs ------------------------------------------------------------------

    def create_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CnciVnic:
        """Create the VNIC of a concentrator, a macvtap on the compute uplink.

        A repeated call with the same config returns the same VNIC.  Raises Conflict if
        another CNCI VNIC has the MAC.
        """
        return self._run(self._cnci_creation(cfg), timeout, cancel)

    def plan_create_cnci_vnic(self, cfg: VnicConfig) -> Plan:
        """Return what ``create_cnci_vnic`` would do now."""
        return self._preview(self._cnci_creation(cfg))

    def _cnci_creation(self, cfg: VnicConfig) -> CreateCnciVnic:
        return CreateCnciVnic(cnci_vnic_request(cfg, mtu_limit=self.site.uplink.mtu))

    def destroy_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Remove the VNIC of a concentrator; an unknown VNIC is not an error."""
        self._run(DestroyCnciVnic(cnci_vnic_identity(cfg)), timeout, cancel)

    # -- concentrators on this host ----------------------------------------------------

    def set_concentrator(
        self,
        cfg: ConcentratorConfig,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Concentrator:
        """Set a tenant's concentrator, in a namespace of this host, to exactly ``cfg``.

        What is not in ``cfg`` is removed.  Topologies "local" and "mesh": the address is
        link-local, and the host's rules translate it and keep concentrators apart; each subnet's
        bridge is plugged in by a veth, and ports of the host lead to it.  Topology "hub" with a
        ``concentrator_pool``: the host answers for ``cfg.address`` and the public addresses on
        its uplink; subnets come by tunnels of the ``Cnci`` inside.
        Raises Conflict if another concentrator serves a subnet or has an address, or something
        else has a port.
        """
        return self._run(self._concentrator(cfg), timeout, cancel)

    def plan_set_concentrator(self, cfg: ConcentratorConfig) -> Plan:
        """Return what ``set_concentrator`` would do now."""
        return self._preview(self._concentrator(cfg))

    def _concentrator(self, cfg: ConcentratorConfig) -> SetConcentrator:
        check_hosting(self.site, "set_concentrator")
        return SetConcentrator(local_concentrator(cfg, self.site))

    def remove_concentrator(
        self,
        tenant_id: str,
        concentrator_id: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Remove a concentrator with its namespace; an unknown one is not an error.

        Programs in the namespace are not stopped: call ``Cnci.shutdown`` first.
        """
        check_hosting(self.site, "remove_concentrator")
        identity = (check_id(tenant_id, "tenant_id"), check_id(concentrator_id, "concentrator_id"))
        self._run(RemoveConcentrator(identity), timeout, cancel)

    # -- the whole node --------------------------------------------------------------

    def reconcile(
        self,
        *,
        vnics: Iterable[VnicConfig] | None = None,
        cnci_vnics: Iterable[VnicConfig] | None = None,
        concentrators: Iterable[ConcentratorConfig] | None = None,
        groups: Iterable[Group] | None = None,
        atomic: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Reconciled:
        """Make the VNICs of the node, its concentrators and its groups exactly these.

        ``None`` leaves a kind alone; an empty list removes all of it.  Tenant VNICs are
        changed subnet by subnet, so that other calls can run meanwhile.  Each item of the
        result says what was done about one object.  With ``atomic`` the first error is raised
        and everything is as before; without, errors are only in their items.
        """
        check_bool(atomic, "atomic")
        deadline = self._deadline("reconcile", timeout, cancel)
        return reconcile_node(
            self._ready(),
            self._layout,
            vnics,
            cnci_vnics,
            concentrators,
            groups,
            self._reserved,
            deadline,
            atomic=atomic,
        )

    def reserve(
        self,
        vnics: Callable[[VnicId], bool],
        *,
        concentrators: Callable[[ConcentratorId], bool] = reserves_none,
        groups: Callable[[GroupId], bool] = reserves_none,
    ) -> None:
        """Set which VNICs, concentrators and groups ``reconcile`` leaves alone unless named.

        ``vnics`` is called with (tenant id, subnet id, VNIC id), the others with tenant id and
        name.  The Docker plugin uses this for the VNICs that it creates.
        """
        self._reserved = Reserved(
            check_callable(vnics, "vnics"),
            check_callable(concentrators, "concentrators"),
            check_callable(groups, "groups"),
        )

    def topology(self) -> Topology:
        """Return what the node knows, as data that does not change."""
        engine = self._ready()
        with engine.claims.lock:
            return engine.records.snapshot()

    def reset_network(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Remove everything in the kernel that this node owns, and nothing else.

        The report has a DEL event for each tunnel.  ``Incomplete`` lists what could not
        be removed; repeating the call finishes.
        """
        return self._clear("reset_network", timeout, cancel)


def _setting(
    tenant_id: str, name: str, rules: Iterable[Rule], members: Iterable[Address]
) -> SetGroups:
    group = Group(tenant_id=tenant_id, name=name, rules=rules, members=members)
    return SetGroups(f"set_group {name}", [group])
