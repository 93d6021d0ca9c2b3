"""Links that are read and never made."""

from __future__ import annotations

from snnet.contract import Other
from snnet.contract.addresses import MTU_MAX

from ..kind import LinkKind
from ..state import State


class OtherKind(LinkKind[Other]):
    noun = Other

    def mtu_max(self, state: State, link: Other) -> int:
        return 2**31 - 1 if link.kind == "loopback" else MTU_MAX


KINDS = (OtherKind(),)
