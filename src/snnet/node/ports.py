"""Concentrators' NICs on a compute node: macvtaps on its compute uplink."""

from __future__ import annotations

from dataclasses import replace

from snnet.config import VnicConfig
from snnet.contract import Macvtap, Missing, Plan, keyed
from snnet.core import identity as ids
from snnet.core.building import build_port
from snnet.core.compute import CnciVnic
from snnet.core.conflicts import check_same_port
from snnet.core.planner import plan as make_plan
from snnet.core.requests import PortRequest, port_identity, port_request
from snnet.core.topology import Topology

from .base import Node
from .claims import Claim
from .deadline import CancelToken
from .engine import incomplete


class Ports(Node):
    """The part of a compute node that connects concentrators to the data centre."""

    _topology: Topology

    def create_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> CnciVnic:
        """Make a concentrator's NIC, a macvtap on the compute uplink.

        The same config again returns the same VNIC; a MAC that another CNCI
        VNIC has is a Conflict.
        """
        deadline = self._begin("create_cnci_vnic", timeout, cancel)
        request = port_request(cfg, mtu_limit=self.site.uplink.mtu)
        claim = Claim(frozenset({("port", *request.id), ("mac", request.mac)}))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            port, plan = self._plan_port(request)
            self._set_up(told, plan, deadline, f"create_cnci_vnic {request.vnic_id}")
            link = self._link(port.link_name)
            if not isinstance(link, Macvtap):
                raise Missing(f"{port.link_name} vanished as soon as it was made: try again")
            port = replace(port, link=link)
            with self._claims.lock:
                self._topology.ports[port.id] = port
        return port

    def plan_create_cnci_vnic(self, cfg: VnicConfig) -> Plan:
        """What ``create_cnci_vnic`` would do now."""
        deadline = self._begin("plan_create_cnci_vnic", None, None, changes=False)
        request = port_request(cfg, mtu_limit=self.site.uplink.mtu)
        claim = Claim(frozenset({("port", *request.id), ("mac", request.mac)}))
        with self._claims.hold(lambda: claim, deadline):
            plan = self._plan_port(request)[1]
        self._drivers.require(plan)
        return self._drivers.preview(plan)

    def _plan_port(self, request: PortRequest) -> tuple[CnciVnic, Plan]:
        old = self._topology.ports.get(request.id)
        name, link = self._locate(ids.PORT, request.id, old.link if old else None)
        port = build_port(self.site, request, name)
        if old is not None:
            check_same_port(old, port)
            if old.link_name == name:
                port = old
        self._topology.check_port_mac(port)
        found = {link.key: link} if link is not None else {}
        return port, make_plan(found, keyed(port.nouns()))

    def destroy_cnci_vnic(
        self, cfg: VnicConfig, *, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> None:
        """Remove a concentrator's NIC; unknown or gone is no error."""
        deadline = self._begin("destroy_cnci_vnic", timeout, cancel)
        identity = port_identity(cfg)
        claim = Claim(frozenset({("port", *identity)}))
        with self._telling() as told, self._claims.hold(lambda: claim, deadline):
            old = self._topology.ports.get(identity)
            link = self._locate(ids.PORT, identity, old.link if old else None)[1]
            outcome = self._tear_down(told, {link.key: link} if link is not None else {})
            if outcome.errors:
                raise incomplete(f"destroy_cnci_vnic {identity[1]}", told.plan, outcome)
            with self._claims.lock:
                self._topology.ports.pop(identity, None)
