"""Settings of links that snnet leaves as the kernel has them, and that others may change.

Those of the bridge port that a link is, and those of its kind.  Each has its name in ip-link(8),
its attribute in linux/if_link.h, and the value that links of snnet have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from snnet.contract import Link
from snnet.contract.links import Settings


class Setting(NamedTuple):
    """One setting: its attribute, its length in bytes, and its usual value."""

    name: str
    attribute: int
    size: int
    usual: int
    numeric: bool = False
    """Whether ``ip`` writes a number, and not "on" or "off"."""

    def words(self, kind: str, value: int) -> list[str]:
        """The arguments of ``ip link set dev LINK`` that set it."""
        if kind == "vxlan":
            return ["type", kind, self.name if value else f"no{self.name}"]
        return ["type", kind, self.name, str(value) if self.numeric else "on" if value else "off"]


PORT = "bridge_slave"
"""The type of a port's settings in ip-link(8), and the kind of its settings in netlink."""

FORWARDING = 3  # BR_STATE_FORWARDING, linux/if_bridge.h
DISABLED = 0
"""The state of a port that is not running, or whose bridge is down (BR_STATE_DISABLED)."""

STATES = ("disabled", "listening", "learning", "forwarding", "blocking")

OF_PORTS = (
    Setting("state", 1, 1, FORWARDING, numeric=True),
    Setting("hairpin", 4, 1, 0),
    Setting("guard", 5, 1, 0),
    Setting("root_block", 6, 1, 0),
    Setting("learning", 8, 1, 1),
    Setting("flood", 9, 1, 1),
    Setting("proxy_arp", 10, 1, 0),
    Setting("proxy_arp_wifi", 11, 1, 0),
    Setting("mcast_flood", 27, 1, 1),
    Setting("bcast_flood", 30, 1, 1),
    Setting("neigh_suppress", 32, 1, 0),
    Setting("isolated", 33, 1, 0),
    Setting("locked", 39, 1, 0),
)

OF_KINDS: Mapping[str, tuple[Setting, ...]] = {
    "bridge": (
        Setting("ageing_time", 4, 4, 30000, numeric=True),
        Setting("stp_state", 5, 4, 0, numeric=True),
        Setting("vlan_filtering", 7, 1, 0, numeric=True),
        Setting("group_fwd_mask", 9, 2, 0, numeric=True),
        Setting("nf_call_iptables", 36, 1, 0, numeric=True),
        Setting("nf_call_ip6tables", 37, 1, 0, numeric=True),
        Setting("nf_call_arptables", 38, 1, 0, numeric=True),
    ),
    "vxlan": (Setting("learning", 7, 1, 0),),
}

_BY_NAME = {
    f"{kind} {one.name}": (kind, one)
    for kind, settings in ((PORT, OF_PORTS), *OF_KINDS.items())
    for one in settings
}
"""Type and setting, by the name in ``Link.settings``."""


def changed(
    kind: str, settings: tuple[Setting, ...], found: Mapping[str, int], *, running: bool
) -> list[tuple[str, int]]:
    """The settings that are not usual, as ``Link.settings`` has them.

    ``running``: the link is up and has carrier, so that as a port it should forward.
    """
    return [
        (f"{kind} {one.name}", value)
        for one in settings
        if (value := found.get(one.name, one.usual)) != one.usual
        and (running or one.name != "state" or value != DISABLED)
    ]


_IS_DISABLED = (f"{PORT} state", DISABLED)


def may_follow_bridge(link: Link) -> bool:
    """Whether the port is disabled, as all ports are while their bridge is down."""
    return _IS_DISABLED in (link.settings or ())


def of_bridges_down(links: list[Link]) -> list[Link]:
    """The links, without the state of ports whose bridge is down: it disables them all."""
    down = {link.name for link in links if link.kind == "bridge" and not link.up}
    return [_enabled(link) if link.master in down else link for link in links] if down else links


def _enabled(link: Link) -> Link:
    kept = tuple(one for one in link.settings or () if one != _IS_DISABLED)
    return replace(link, settings=kept or None)


def without_port(settings: Settings | None) -> Settings | None:
    """The settings that a link keeps when its bridge changes: a port begins with the usual ones."""
    return tuple(one for one in settings or () if not one[0].startswith(f"{PORT} ")) or None


def to_change(link: Link, was: Link, different: Collection[str]) -> list[tuple[str, Setting, int]]:
    """What to set after the other fields in ``different`` were changed; see ``to_set``."""
    if "master" in different:
        return to_set(link, without_port(was.settings))
    return to_set(link, was.settings) if "settings" in different else []


def to_set(link: Link, was: Settings | None) -> list[tuple[str, Setting, int]]:
    """What to set so that a link with the settings ``was`` has its own: type, setting, value.

    The kernel takes a port's state only while the port is up, and enables it when it comes up.
    """
    wanted = dict(link.settings or ())
    names = dict.fromkeys([*dict(was or ()), *wanted])
    if not link.up:
        names.pop(_IS_DISABLED[0], None)
    known = {name: _BY_NAME[name] for name in names if name in _BY_NAME}
    return [(*one, wanted.get(name, one[1].usual)) for name, one in known.items()]
