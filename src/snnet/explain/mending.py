"""What to do about a drop: a command where there is one, else advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from snnet.backends.fake.fabric.chains import OTHERS
from snnet.backends.fake.fabric.netfilter import OURS
from snnet.backends.fake.fabric.walk import (
    BRIDGE_DOWN,
    LINK_DOWN,
    NO_FORWARDING,
    NO_LINK,
    NO_LISTENER,
    NO_NEIGHBOUR,
    NO_ROUTE,
    NOT_MINE,
    OTHER_WAY,
    ROUTE_REFUSES,
    SAME_PORT,
    TOO_LONG,
    TOO_LONG_TO,
    Doubt,
    Step,
)
from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    HostServices,
    Noun,
    PortGroups,
    ProtectedNetwork,
    TunnelGuard,
    ZoneLink,
)
from snnet.contract.network import FORWARDING, link_sysctl

from .chains import Blame
from .routes import command_against
from .world import World

_PROGRAMS = (
    *("ip", "sysctl", "nft", "tc"),
    *(f"{name}-{kind}" for name in ("iptables", "ip6tables") for kind in ("nft", "legacy")),
)
"""The programs of the commands that advice names."""

_RULES: dict[type[Noun], str] = {
    AntiSpoof: "give the guest the MAC and the addresses of its VNIC, or add them to the VNIC",
    DhcpGuard: "let the guest ask for a lease with the MAC of its VNIC",
    ZoneLink: "tenants are kept apart: snnet forward create or snnet public-ip create opens a way",
    BridgeAccept: "the host does not route for this bridge: ask by the subnet's gateway",
    ExternalForward: "allow it with Cnci.allow_external",
    HostIsolation: "guests do not reach the host itself: use a forward, or another machine",
    HostServices: "guests reach only DHCP, DNS and ICMP of their gateway: use another machine",
    ProtectedNetwork: "guests are kept from this network: take it out of management_nets",
    PortGroups: "no rule of its groups lets it pass: give one of them a rule (snnet group update)",
    TunnelGuard: "the sender is no peer of the tunnel: snnet host verify",
}


def advice(world: World, end: Step) -> str:
    """Return what to do about a drop."""
    if end.said == ROUTE_REFUSES:
        return refusing(world, end.host, *end.values)
    write = _ADVICE.get(end.said)
    return _inside(world, end.host, write(end) if write else "snnet host verify")


def advice_on_doubt(world: World, doubts: Iterable[Doubt]) -> str:
    """Return what removes the first doubt."""
    for doubt in doubts:
        if isinstance(doubt.about, Blame) and doubt.about.fix:
            command = _inside(world, doubt.station, doubt.about.fix)
            ours = command.startswith("snnet ")
            return command if ours else f"to see whether it is this rule: {command}"
    return ""


def refusing(world: World, station: str, address: Any, says: object) -> str:
    """Return the command that removes a route which refuses packets to an address."""
    space = world.spaces.get(station)
    command = command_against(space.routes, address, says) if space else ""
    return _inside(world, station, command or "snnet host verify")


def _inside(world: World, station: str, text: str) -> str:
    """Return a command as it is typed on the host; advice stays as it is."""
    space = world.space_of(station)
    is_command = text.split(" ", 1)[0] in _PROGRAMS
    return f"ip netns exec {space} {text}" if space and is_command else text


def _of_others(end: Step) -> str:
    blame: Any = end.values[0].about  # type: ignore[attr-defined]
    return blame.fix if isinstance(blame, Blame) else ""


def _of_ours(end: Step) -> str:
    rule = end.values[0]
    return next((text for kind, text in _RULES.items() if isinstance(rule, kind)), "")


def _forwarding(end: Step) -> str:
    version = end.values[0].target.version  # type: ignore[attr-defined]
    return f"sysctl -w {FORWARDING[version]}=1"


def _set_up(end: Step) -> str:
    return f"ip link set dev {end.link} up"


def _loose(end: Step) -> str:
    return f"sysctl -w {link_sysctl('ipv4.conf', end.link, 'rp_filter')}=2"


def _lower_mtu(end: Step) -> str:
    return f"lower the guest's MTU to {end.values[-1]}"


_VERIFY_ALL = "it came to the wrong host: snnet host verify on those that it passed"
_ADVICE: dict[str, Callable[[Step], str]] = {
    OTHERS: _of_others,
    OURS: _of_ours,
    NO_NEIGHBOUR: lambda end: "is the other one up, and set up as its VNIC says? snnet host verify",
    NOT_MINE: lambda end: _VERIFY_ALL,
    SAME_PORT: lambda end: _VERIFY_ALL,
    LINK_DOWN: _set_up,
    BRIDGE_DOWN: _set_up,
    NO_LINK: lambda end: "snnet host repair",
    NO_FORWARDING: _forwarding,
    OTHER_WAY: _loose,
    NO_ROUTE: lambda end: "add a route, or snnet host repair if it is one of snnet's",
    NO_LISTENER: lambda end: "start the program that listens there",
    TOO_LONG: _lower_mtu,
    TOO_LONG_TO: _lower_mtu,
}
