"""Snapshots: what a node knows at one moment, as data for callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnet.contract import Noun

from .concentrators import Concentrator
from .groups import Group
from .mesh import Mesh
from .requests import SubnetId
from .subnets import CnciSubnet
from .vnics import CnciVnic, TenantSubnet, Vnic


@dataclass(frozen=True, slots=True, repr=False)
class Topology:
    """A snapshot of what a compute node knows."""

    subnets: tuple[TenantSubnet, ...]
    vnics: tuple[Vnic, ...]
    cnci_vnics: tuple[CnciVnic, ...]
    concentrators: tuple[Concentrator, ...] = ()
    groups: tuple[Group, ...] = ()

    @property
    def tenants(self) -> tuple[str, ...]:
        """The ids of all tenants on this node, sorted."""
        ids = {subnet.tenant_id for subnet in self.subnets}
        ids |= {vnic.tenant_id for vnic in self.vnics}
        ids |= {vnic.tenant_id for vnic in self.cnci_vnics}
        ids |= {one.tenant_id for one in self.concentrators}
        ids |= {one.tenant_id for one in self.groups}
        return tuple(sorted(ids))

    def __repr__(self) -> str:
        counts = (
            f"{len(self.subnets)} subnets, {len(self.vnics)} VNICs, "
            f"{len(self.cnci_vnics)} CNCI VNICs"
        )
        return f"<Topology {counts}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tenants, their subnets, their VNICs."""
        tenants: dict[str, dict[str, Any]] = {
            tenant: {"subnets": {}, "cnci_vnics": [], "concentrators": [], "groups": []}
            for tenant in self.tenants
        }
        vnics: dict[SubnetId, list[dict[str, Any]]] = {}
        for vnic in self.vnics:
            vnics.setdefault(vnic.id[:2], []).append(vnic.to_dict())
        for subnet in self.subnets:
            plain = {**subnet.to_dict(), "vnics": vnics.get(subnet.id, [])}
            tenants[subnet.tenant_id]["subnets"][subnet.subnet_id] = plain
        for cnci_vnic in self.cnci_vnics:
            tenants[cnci_vnic.tenant_id]["cnci_vnics"].append(cnci_vnic.to_dict())
        for concentrator in self.concentrators:
            tenants[concentrator.tenant_id]["concentrators"].append(concentrator.to_dict())
        for group in self.groups:
            tenants[group.tenant_id]["groups"].append(group.to_dict())
        return {"tenants": tenants}


@dataclass(frozen=True, slots=True, repr=False)
class CnciTopology:
    """A snapshot of what a concentrator knows."""

    subnets: tuple[CnciSubnet, ...]
    mesh: Mesh | None
    rules: tuple[Noun, ...]

    def __repr__(self) -> str:
        mesh = "a mesh" if self.mesh else "no mesh"
        return f"<CnciTopology {len(self.subnets)} subnets, {mesh}, {len(self.rules)} rules>"

    def __getitem__(self, name: str) -> Any:
        """A part of :meth:`to_dict`."""
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "subnets": {str(subnet.network): subnet.to_dict() for subnet in self.subnets},
            "mesh": self.mesh.to_dict() if self.mesh else None,
            "rules": [str(rule) for rule in self.rules],
        }
