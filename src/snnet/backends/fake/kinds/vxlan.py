"""VXLAN (drivers/net/vxlan/vxlan_core.c); its MTU does not look at the way."""

from __future__ import annotations

from snnet.contract import Vxlan

from ..kind import TunnelKind
from ..refusal import Refusal


class VxlanKind(TunnelKind[Vxlan]):
    noun = Vxlan

    def check(self, link: Vxlan) -> None:
        super().check(link)
        # vxlan_nl2conf; snnet names no link that frames to a group would leave by.
        if link.remote is not None and link.remote.is_multicast:
            raise Refusal("EINVAL", "local interface required for multicast")


KINDS = (VxlanKind(),)
