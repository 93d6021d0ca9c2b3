"""Bridges and their ports (net/bridge/br_if.c, br_stp_if.c)."""

from __future__ import annotations

from dataclasses import replace

from snnet.backends.settings import without_port
from snnet.contract import Bridge, Link, Macvtap
from snnet.contract.addresses import IPV6_MTU_MIN, NO_MAC

from .addresses import drop_ipv6, drop_neighbours
from .kind import ETH_DATA_LEN
from .neighbours import drop_bridge_entries
from .refusal import Refusal
from .state import State
from .sysctls import forget_ipv6_sysctls

PORTS_MAX = 1023
"""Ports of one bridge: BR_MAX_PORTS is 1024, and number 0 is not used."""


def check_master(state: State, link: Link) -> None:
    """Refuse a port that its ``master`` cannot have (br_add_if)."""
    master = state.link(link.master or "")
    if master is None:
        raise Refusal("ENODEV", f"no link {link.master}")
    if not isinstance(master, Bridge):
        raise Refusal("EOPNOTSUPP", f"{master.name} is not a bridge")
    if isinstance(link, Bridge):
        raise Refusal("ELOOP", "can not enslave a bridge to a bridge")
    if not link.ethernet or link.kind == "loopback":
        raise Refusal("EINVAL", f"{link.kind} carries no Ethernet")
    if isinstance(link, Macvtap) or state.uppers.get(link.name):
        raise Refusal("EBUSY", "a macvtap uses this link")
    if len(state.ports[master.name]) >= PORTS_MAX:
        raise Refusal("EXFULL", f"{master.name} has {PORTS_MAX} ports")


def join(state: State, port: Link) -> None:
    """Add a stored link to the ports of its ``master``, which was checked."""
    bridge = port.master or ""
    state.ports[bridge][port.name] = None
    take_mac(state, bridge, port.mac)
    if bridge in state.own_mtu and bridge in state.own_mac:
        return
    follow_ports(state, bridge)


def leave(state: State, port: Link) -> None:
    """Remove a port from its bridge's list; the caller updates the noun."""
    bridge = port.master or ""
    drop_bridge_entries(state, port.name)
    ports = state.ports.get(bridge)
    if ports is not None:
        ports.pop(port.name, None)
        if not (bridge in state.own_mtu and bridge in state.own_mac):
            follow_ports(state, bridge)


def released(port: Link) -> Link:
    """Return a port as it is once its bridge lets it go: without a port's settings."""
    return replace(port, master=None, settings=without_port(port.settings))


def pin(state: State, bridge: Link, *, mtu: bool, mac: bool) -> None:
    """Record that the bridge's MTU or MAC was set, so that it no longer follows the ports.

    See ``BROPT_MTU_SET_BY_USER`` and ``NET_ADDR_SET``.
    """
    if mtu:
        state.own_mtu.add(bridge.name)
    if mac:
        state.own_mac.add(bridge.name)


def follow_ports(state: State, name: str) -> None:
    """Set the bridge's MTU and MAC to the smallest of its ports, unless they were set.

    A bridge without ports has MTU 1500 and an all-zero MAC (br_mtu_auto_adjust,
    br_stp_recalculate_bridge_id).
    """
    bridge = state.link(name)
    assert bridge is not None
    mtu, mac = bridge.mtu, bridge.mac
    ports = [port for port in map(state.link, state.ports[name]) if port is not None]
    if name not in state.own_mtu:
        mtu = min((port.mtu or ETH_DATA_LEN for port in ports), default=ETH_DATA_LEN)
    if name not in state.own_mac:
        mac = min((port.mac or NO_MAC for port in ports), default=NO_MAC)
    if (mtu, mac) == (bridge.mtu, bridge.mac):
        return
    changed = state.update_link(bridge, mtu=mtu, mac=mac)
    if mac != bridge.mac:
        take_mac(state, name, mac)
        for version in (4, 6):
            drop_neighbours(state, name, version)
    if mtu != bridge.mtu:
        mtu_changed(state, changed)


def take_mac(state: State, bridge: str, mac: str | None) -> None:
    """Remove the bridge's entry for a MAC that itself or a port has got (fdb_add_local)."""
    ports = state.ports.get(bridge, {})
    for port in state.entered:
        entry = state.nouns.get(("bridge-fdb", port, mac or "")) if port in ports else None
        if entry is not None:
            state.drop(entry)


def mtu_changed(state: State, link: Link) -> None:
    """Apply a link's new MTU: a small one removes IPv6, and macvtaps shrink to fit."""
    mtu = link.mtu or 0
    if mtu < IPV6_MTU_MIN:
        drop_ipv6(state, link.name)
        forget_ipv6_sysctls(state, link.name)
    for name in state.uppers.get(link.name, ()):
        upper = state.link(name)
        if upper is not None and (upper.mtu or 0) > mtu:  # macvlan_device_event
            mtu_changed(state, state.update_link(upper, mtu=mtu))
