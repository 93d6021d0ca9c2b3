"""Small networks by chance: hosts on a wire, guests behind bridges and tunnels, rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface, ip_network

from snnet.contract import (
    Address,
    AntiSpoof,
    Bridge,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Route,
    Veth,
    Vxlan,
    Zone,
    ZoneLink,
)
from snnet.contract.addresses import mac_of
from snnet.contract.rules import RULES

from .dice import Dice

PORT, FORWARDED = 7000, 33022
"""Where everybody listens, and a port that may be forwarded there."""

WIRE = {name: IPv4Interface(f"192.0.2.{number}/24") for number, name in ((11, "a"), (12, "b"))}
OUTSIDE = IPv4Interface("192.0.2.99/24")
BRIDGES = {
    "br0": {"a": "10.1.0.1/24", "b": "10.1.0.2/24"},
    "br1": {"a": "10.2.0.1/24", "b": "10.2.0.2/24"},
}
"""Each host's own address: with one at both, who answers is a matter of luck."""
PUBLIC = IPv4Address("203.0.113.5")
SOURCES = [
    (ip_network("192.0.2.99/32"),),
    (ip_network("10.1.0.0/24"), ip_network("10.1.0.0/28")),
    (ip_network("192.0.2.12/32"), ip_network("10.2.0.0/24")),
]
"""Who may use a forward, where not everybody may."""


@dataclass(frozen=True)
class Guest:
    """A container behind ``link`` of its host."""

    host: str
    link: str
    address: IPv4Interface
    gateway: IPv4Address | None

    @property
    def name(self) -> str:
        return f"guest-{self.link}"

    @property
    def mac(self) -> str:
        return mac_of(self.address.ip)


@dataclass
class Network:
    """What is on each host, and who is behind it."""

    nouns: dict[str, list[Noun]] = field(default_factory=dict)
    forwards: dict[str, bool] = field(default_factory=dict)
    guests: list[Guest] = field(default_factory=list)

    def rules(self, host: str) -> list[Noun]:
        return [noun for noun in self.nouns[host] if type(noun) in RULES]

    def links(self, host: str) -> list[Noun]:
        return [noun for noun in self.nouns[host] if type(noun) not in RULES]

    def __str__(self) -> str:
        lines = [f"{guest}" for guest in self.guests]
        for host, nouns in self.nouns.items():
            lines += [f"{host} forwards: {self.forwards[host]}"]
            lines += [f"{host}: {noun}" for noun in nouns]
        return "\n".join(lines)


def draw(dice: Dice) -> Network:
    """A network of two hosts and an outsider; what is on them fits together more or less."""
    network = Network(guests=_guests(dice))
    for host in WIRE:
        network.forwards[host] = dice.percent(75)
        nouns = _bridges(dice, host) + _tunnels(dice, host) + _routes(dice, host)
        nouns += [_veth(dice, guest) for guest in network.guests if guest.host == host]
        nouns += _rules(dice, host, network.guests)
        network.nouns[host] = sorted(nouns, key=lambda noun: noun.rank)
    network.forwards["outside"] = False
    network.nouns["outside"] = [
        Route(destination=ip_network("10.0.0.0/8"), link="eth0", gateway=WIRE["a"].ip),
        Route(destination=ip_network(f"{PUBLIC}/32"), link="eth0"),
    ]
    return network


def _guests(dice: Dice) -> list[Guest]:
    guests = []
    for number, host in enumerate(("a", "a", "a", "b", "b"), 9):
        net = dice.pick(["10.1.0", "10.1.0", "10.2.0"])
        gateway = dice.pick([f"{net}.1", f"{net}.1", f"{net}.1", f"{net}.77", None])
        address = ip_interface(f"{net}.{number}/24")
        assert isinstance(address, IPv4Interface)
        guests.append(Guest(host, f"v{number}", address, IPv4Address(gateway) if gateway else None))
    return guests


def _bridges(dice: Dice, host: str) -> list[Noun]:
    nouns: list[Noun] = []
    for name, addresses in BRIDGES.items():
        mac = f"06:00:00:00:0{'ab'.index(host)}:0{name[-1]}"
        nouns.append(Bridge(name=name, mac=mac, mtu=1450))
        if host == "a" or dice.percent(20):
            nouns.append(Address(link=name, address=ip_interface(addresses[host])))
    return nouns


def _tunnels(dice: Dice, host: str) -> list[Noun]:
    other = "b" if host == "a" else "a"
    return [
        Vxlan(
            name=f"t{number}",
            vni=dice.pick([number + 1] * 3 + [7]),
            local=WIRE[host].ip,
            remote=WIRE[other].ip,
            port=4789 + number,
            # Only one end's may be on the wrong bridge: both would make a loop, and what a
            # storm of frames lets through is nobody's to foresee.
            master=dice.pick([f"br{number}"] * 4 + ["br0" if host == "a" else f"br{number}"]),
            mac=f"06:00:00:00:1{'ab'.index(host)}:0{number}",
            mtu=1450,
            up=dice.percent(95),
        )
        for number in range(2)
    ]


def _routes(dice: Dice, host: str) -> list[Noun]:
    nouns: list[Noun] = []
    if host == "b" and dice.percent(50):
        nouns.append(Route(destination=ip_network("10.0.0.0/8"), link="eth0", gateway=WIRE["a"].ip))
    return nouns


def _veth(dice: Dice, guest: Guest) -> Noun:
    own = "br0" if str(guest.address.ip).startswith("10.1.") else "br1"
    return Veth(
        name=guest.link,
        peer=f"p{guest.link}",
        mac="fe" + guest.mac[2:],
        peer_mac=guest.mac,
        mtu=1450,
        peer_mtu=1450,
        master=dice.pick([own] * 6 + ["br0", "br1"]),
    )


def _rules(dice: Dice, host: str, guests: list[Guest]) -> list[Noun]:
    if not dice.percent(80):
        return []
    owner = f"cnci:{host}"
    rules: list[Noun] = []
    for guest in guests:
        if guest.host == host and dice.percent(40):
            other = ip_address("10.1.0.200")
            address = dice.pick([guest.address.ip] * 5 + [other])
            rules.append(
                AntiSpoof(owner=owner, link=guest.link, mac=guest.mac, addresses=(address,))
            )
    if dice.percent(60):
        rules.append(Zone(owner=owner, zone="t1", outbound=dice.percent(20)))
        rules += [
            ZoneLink(owner=owner, link=name, zone="t1") for name in BRIDGES if dice.percent(85)
        ]
    elif dice.percent(60):
        name = dice.pick(sorted(BRIDGES))
        rules.append(BridgeAccept(owner=owner, bridge=name))
    if dice.percent(30):
        rules.append(HostIsolation(owner=owner, link=dice.pick(sorted(BRIDGES))))
    if dice.percent(60):
        rules.append(Masquerade(owner=owner, device="eth0"))
    rules += [
        ExternalForward(owner=owner, device="eth0", bridge=name)
        for name in BRIDGES
        if dice.percent(60)
    ]
    mine = [guest for guest in guests if guest.host == host]
    # One of any address, and one of the host's own or of its public one, before or after.
    own = dice.pick([WIRE[host].ip] * 3 + [PUBLIC])
    doors = [at for at in (None, own) if dice.percent(50)]
    for at in doors if dice.percent(50) else reversed(doors):
        rules.append(
            PortForward(
                owner=owner,
                protocol="tcp",
                device="eth0",
                port=FORWARDED,
                target=dice.pick(mine).address.ip,
                target_port=PORT,
                addresses=dice.pick([(WIRE[host].ip,), ()]),
                address=at,
                sources=dice.pick([(), (), *SOURCES]),
            )
        )
    if host == "a" and dice.percent(50):
        internal = dice.pick(mine).address.ip
        rules.append(PublicIp(owner=owner, public=PUBLIC, internal=internal, device="eth0"))
        rules.append(Address(link="eth0", address=ip_interface(f"{PUBLIC}/32")))
    return rules
