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
        vnics: dict[SubnetId, list[dict[str, Any]]] = {}
        for vnic in self.vnics:
            vnics.setdefault(vnic.id[:2], []).append(vnic.to_dict())
        return {
            "tenants": {
                tenant: {
                    "subnets": {
                        subnet.subnet_id: {
                            **subnet.to_dict(),
                            "vnics": vnics.get(subnet.id, []),
                        }
                        for subnet in self.subnets
                        if subnet.tenant_id == tenant
                    },
                    "cnci_vnics": [
                        one.to_dict() for one in self.cnci_vnics if one.tenant_id == tenant
                    ],
                    "concentrators": [
                        one.to_dict() for one in self.concentrators if one.tenant_id == tenant
                    ],
                    "groups": [one.to_dict() for one in self.groups if one.tenant_id == tenant],
                }
                for tenant in self.tenants
            }
        }


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
