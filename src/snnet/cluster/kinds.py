"""The kinds of objects that users want."""

from __future__ import annotations

from .documents import Forward, Network, PublicIp, Vnic, Wanted
from .security import SecurityGroup

KINDS: dict[str, type[Wanted]] = {
    kind.kind: kind for kind in (Network, SecurityGroup, Vnic, Forward, PublicIp)
}
"""By name, what others refer to before those that refer to it."""
