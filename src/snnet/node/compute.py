"""The compute node: tenants' VNICs, their bridges and tunnels, concentrators' VNICs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from snnet.config import NetworkConfig, NetworkMode, VnicConfig, check_many
from snnet.contract import Plan
from snnet.core.compute_records import ComputeRecords
from snnet.core.requests import (
    VnicId,
    cnci_vnic_identity,
    cnci_vnic_request,
    tenant_identity,
)
from snnet.core.site import Site
from snnet.core.topology import Topology
from snnet.core.vnics import CnciVnic

from .bulk import create_each, destroy_all
from .call import Mode
from .calls.bridged import BridgedLayout
from .calls.cnci_vnics import CreateCnciVnic, DestroyCnciVnic
from .calls.layout import Layout
from .calls.routed import RoutedLayout
from .calls.vnics import ChangeVnics
from .deadline import CancelToken
from .node import DriverChoice, Node
from .reconcile import reconcile_node
from .results import CreatedVnic, DestroyedVnic, Reconciled, Report, VnicResult


class ComputeNode(Node[ComputeRecords]):
    """A compute node, as its agent drives it.

    Set-up calls are all or nothing.  Tear-down calls press on and raise
    ``Incomplete`` for what is left; the same call again finishes.  Every call
    may be repeated.  ``timeout`` is in seconds and counts waiting;
    ``cancel`` is anything with ``is_set()``.
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

        self._reserved: Callable[[VnicId], bool] = lambda identity: False

    def _records(self, site: Site) -> ComputeRecords:
        return ComputeRecords(site)

    @cached_property
    def _layout(self) -> Layout[Any]:
        return RoutedLayout(self.site) if self.routed else BridgedLayout(self.site)

    # -- tenant VNICs ----------------------------------------------------------------

    def create_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CreatedVnic:
        """Make a tenant's VNIC, and its subnet's bridge and tunnel if it is the first here.

        The same config again returns the same VNIC and no event, and repairs
        what was deleted behind our back.  The same identity with other
        attributes, an address in use, or a subnet that disagrees is a Conflict.
        """
        return self._run(self._creation(cfg), timeout, cancel).made[0]

    def plan_create_vnic(self, cfg: VnicConfig) -> Plan:
        """What ``create_vnic`` would do now: text, ``to_json()``, ``to_commands()``."""
        return self._preview(self._creation(cfg))

    def _creation(self, cfg: VnicConfig) -> ChangeVnics:
        request = self._layout.request(cfg)
        return ChangeVnics(f"create_vnic {request.vnic_id}", self._layout, [request])

    def destroy_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> DestroyedVnic:
        """Remove a tenant's VNIC; the last of its subnet takes bridge and tunnel along.

        Only the identity is needed: tenant, subnet and VNIC ids.  Unknown or
        half gone is no error.  ``Incomplete`` (with ``tunnel_event`` and
        ``container_info`` as far as they came true) lists what could not go.
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
        """Make many VNICs with shared work; a result for each, in order.

        A result has ``.vnic`` or ``.error``.
        ``atomic``: the first error is raised, and nothing is left of any of them.  The
        time limit is for the whole call.
        """
        cfgs = _listed(cfgs, "cfgs")
        deadline = self._deadline("create_vnics", timeout, cancel)
        return create_each(self._ready(), self._layout, cfgs, deadline, atomic=atomic)

    def destroy_vnics(
        self,
        cfgs: Iterable[VnicConfig],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[DestroyedVnic]:
        """Remove many VNICs with shared work; a result for each, in order.

        Presses on past errors; ``Incomplete`` lists what is left of all of them.
        """
        cfgs = _listed(cfgs, "cfgs")
        deadline = self._deadline("destroy_vnics", timeout, cancel)
        return destroy_all(self._ready(), self._layout, cfgs, deadline)

    # -- CNCI VNICs ------------------------------------------------------------------

    def create_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CnciVnic:
        """Make a concentrator's NIC, a macvtap on the compute uplink.

        The same config again returns the same VNIC; a MAC that another CNCI
        VNIC has is a Conflict.
        """
        return self._run(self._cnci_creation(cfg), timeout, cancel)

    def plan_create_cnci_vnic(self, cfg: VnicConfig) -> Plan:
        """What ``create_cnci_vnic`` would do now."""
        return self._preview(self._cnci_creation(cfg))

    def _cnci_creation(self, cfg: VnicConfig) -> CreateCnciVnic:
        return CreateCnciVnic(cnci_vnic_request(cfg, mtu_limit=self.site.uplink.mtu))

    def destroy_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Remove a concentrator's NIC; unknown or gone is no error."""
        self._run(DestroyCnciVnic(cnci_vnic_identity(cfg)), timeout, cancel)

    # -- the whole node --------------------------------------------------------------

    def reconcile(
        self,
        *,
        vnics: Iterable[VnicConfig] | None = None,
        cnci_vnics: Iterable[VnicConfig] | None = None,
        atomic: bool = False,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Reconciled:
        """Make the VNICs of the node exactly these.

        ``None`` leaves a kind alone, an empty list removes all of it.  Tenant VNICs go
        subnet by subnet, so that other calls go on meanwhile.  An item of the result
        says what was done about one VNIC; with ``atomic`` the first error is raised and
        everything is as before, else errors stand in their items alone.
        """
        deadline = self._deadline("reconcile", timeout, cancel)
        return reconcile_node(
            self._ready(),
            self._layout,
            None if vnics is None else _listed(vnics, "vnics"),
            None if cnci_vnics is None else _listed(cnci_vnics, "cnci_vnics"),
            self._reserved,
            deadline,
            atomic=atomic,
        )

    def reserve(self, reserved: Callable[[VnicId], bool]) -> None:
        """Say which VNICs ``reconcile`` leaves alone unless they are named.

        ``reserved`` gets (tenant id, subnet id, VNIC id); the Docker plugin says so of
        the VNICs that it made.
        """
        self._reserved = reserved

    def topology(self) -> Topology:
        """What the node knows, as data that does not change."""
        engine = self._ready()
        with engine.claims.lock:
            return engine.records.snapshot()

    def reset_network(
        self, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> Report:
        """Remove everything this node owns, as the kernel shows it, and nothing else.

        The report holds a DEL event for each tunnel.  ``Incomplete`` lists what
        could not go; the same call again finishes.
        """
        return self._clear("reset_network", timeout, cancel)


def _listed(cfgs: Iterable[VnicConfig], field: str) -> tuple[VnicConfig, ...]:
    """The configs as a list; each is checked where it is used."""
    return check_many(cfgs, field, lambda cfg, _: cfg)
