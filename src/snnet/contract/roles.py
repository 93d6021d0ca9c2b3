"""What a VNIC is for, and how traffic crosses the data centre."""

from __future__ import annotations

import enum


class VnicRole(enum.Enum):
    """What a VNIC is for.  The role determines the kind of link."""

    TENANT_VM = "tenant-vm"
    """A tap on the tenant's bridge."""
    TENANT_CONTAINER = "tenant-container"
    """A veth pair, one end on the tenant's bridge."""
    DATA_CENTER = "data-center"
    """A macvtap on the compute uplink, for a concentrator."""


class NetworkMode(enum.Enum):
    """How tenants' traffic crosses the data centre."""

    ROUTED = "routed"
    """Plain routing.  The firewall alone separates tenants."""
    GRE_TUNNEL = "gre_tunnel"
    """A bridge and a tunnel for each tenant subnet: full isolation."""
