"""What loses packets of tenants beside rules: traffic control, IPsec policies, rules of routing."""

from __future__ import annotations

from collections.abc import Iterator

from snnet.explain import ipsec, queueing
from snnet.explain.reading import policies
from snnet.system.host import RealHost

LOOPBACK = "lo"


def losses(space: str | None) -> Iterator[tuple[str, str]]:
    """Yield what is wrong in a namespace, by default the caller's, and the command that helps."""
    host = RealHost(space)
    try:
        found = list(_of(host.netns.fd))
    finally:
        host.close()
    where, before = (f"{space}: ", f"ip netns exec {space} ") if space else ("", "")
    for what, command in found:
        yield f"{where}{what}", f"{before}{command}"


def _of(netns: int) -> Iterator[tuple[str, str]]:
    for row in queueing.read(netns):
        if row["dev"] != LOOPBACK:
            what = f"traffic control of {row['dev']} ({row['side']}): {row['what']}"
            yield f"{what} {'loses' if row['certain'] else 'may lose'} packets", row["remove"]
    for row in ipsec.read(netns):
        if row["done"] == "block":
            whose = row["selector"] or "all by default"
            yield f"an IPsec policy blocks packets ({row['direction']}): {whose}", row["remove"]
    for policy in policies(netns):
        if policy["missing"]:
            yield policy["what"], policy["fix"]
