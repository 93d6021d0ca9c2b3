"""What the rules have dropped, counted for each link: in sets that packets themselves fill.

A rule that drops goes to a chain of its reason, which counts the packet in a set of that name,
for the link by which it came; or for that by which it would have left, if it was on its way to
guests.  A packet that passes costs nothing more, and a link is in the set only if something of
it was dropped.  An element counts for a day from the first packet on, and is then forgotten.
"""

from __future__ import annotations

from snnet.firewall import reasons

PREFIX = "drop-"

LIFETIME = 86400
"""Seconds that an element counts."""

ADDRESS, DHCP, DISCOVERY, BRIDGE = (
    f"{PREFIX}{reason}" for reason in ("address", "dhcp", "discovery", "bridge")
)
HOST, SERVICE, TUNNEL = (f"{PREFIX}{reason}" for reason in ("host", "service", "tunnel"))
FROM, INTO, PROTECTED, UNTRANSLATED = (
    f"{PREFIX}{reason}" for reason in ("from", "into", "protected", "untranslated")
)
IN, OUT = f"{PREFIX}in", f"{PREFIX}out"
REASONS = {
    ADDRESS: reasons.ADDRESS,
    DHCP: reasons.DHCP,
    DISCOVERY: reasons.DISCOVERY,
    BRIDGE: reasons.BRIDGE,
    HOST: reasons.HOST,
    SERVICE: reasons.SERVICE,
    TUNNEL: reasons.TUNNEL,
    FROM: reasons.FROM,
    INTO: reasons.INTO,
    PROTECTED: reasons.PROTECTED,
    UNTRANSLATED: reasons.UNTRANSLATED,
    IN: reasons.IN,
    OUT: reasons.OUT,
}
"""What each set counts, as people read it."""


def sets(*names: str) -> str:
    """Return the declarations of these sets."""
    return "".join(f"set {name} {{ type ifname; flags dynamic,timeout; }}\n" for name in names)


def chains(*names: str) -> str:
    """Return the chains that count and drop.

    Counting is a rule of its own: where it fails, the packet is dropped all the same.
    """
    return "".join(
        f"chain {name}\n"
        f"chain {name} add @{name} {{ {_side(name)} timeout {LIFETIME // 86400}d counter }}\n"
        f"chain {name} drop\n"
        for name in names
    )


def _side(name: str) -> str:
    return "oifname" if name in (INTO, IN) else "iifname"
