"""Small networks by chance: hosts on a wire, guests behind bridges and tunnels, rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)

from snnet.contract import (
    RULES,
    Address,
    AntiSpoof,
    Bridge,
    BridgeAccept,
    ExternalForward,
    GroupMembers,
    GroupRules,
    HostIsolation,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PortGroups,
    PublicIp,
    Route,
    Rule,
    Veth,
    Vxlan,
    Zone,
    ZoneLink,
)
from snnet.contract.addresses import mac_of

from .dice import Dice

PORT, FORWARDED = 7000, 33022
"""Where everybody listens, and a port that may be forwarded there."""

WIRE = {name: IPv4Interface(f"192.0.2.{number}/24") for number, name in ((11, "a"), (12, "b"))}
WIRE6 = {name: IPv6Interface(f"2001:db8::{number}/64") for number, name in ((11, "a"), (12, "b"))}
OUTSIDE, OUTSIDE6 = IPv4Interface("192.0.2.99/24"), IPv6Interface("2001:db8::99/64")
BRIDGES = {
    "br0": {"a": ("10.1.0.1/24", "fd00:1::1/64"), "b": ("10.1.0.2/24", "fd00:1::2/64")},
    "br1": {"a": ("10.2.0.1/24", "fd00:2::1/64"), "b": ("10.2.0.2/24", "fd00:2::2/64")},
}
"""Each host's own addresses: with one at both, who answers is a matter of luck."""
PUBLIC, PUBLIC6 = IPv4Address("203.0.113.5"), IPv6Address("2001:db8:ffff::5")
SOURCES6 = [
    (ip_network("2001:db8::99/128"),),
    (ip_network("fd00:1::/64"), ip_network("fd00:1::/124")),
    (ip_network("2001:db8::12/128"), ip_network("fd00:2::/64")),
]
SOURCES = [
    (ip_network("192.0.2.99/32"),),
    (ip_network("10.1.0.0/24"), ip_network("10.1.0.0/28")),
    (ip_network("192.0.2.12/32"), ip_network("10.2.0.0/24")),
]
"""Who may use a forward, where not everybody may."""
EXTRA = [
    (ip_network("10.1.0.0/28"), ip_network("fd00:1::/124")),
    (ip_network("10.2.0.0/16"),),
    (ip_network("fd00::/16"), ip_network("10.0.0.0/8")),
]
"""Networks that a guest may use beside its own addresses."""
GROUPS = ("g", "h")
GROUP_RULES = [
    Rule("in"),
    Rule("out"),
    Rule("out"),
    Rule("in", "tcp", PORT),
    Rule("in", "icmp", 8),
    Rule("in", "icmpv6", 128),
    Rule("in", remote="group:g"),
    Rule("in", "tcp", remote="10.1.0.0/24"),
    Rule("in", "icmp", remote="192.0.2.0/24"),
    Rule("in", "tcp", f"{PORT}-{FORWARDED}", "192.0.2.0/25"),
    Rule("out", "tcp", PORT),
    Rule("out", "icmp", 8, "10.0.0.0/8"),
    Rule("out", remote="fd00:1::/64"),
]

POLICIES = (AntiSpoof, GroupMembers, GroupRules, PortGroups)
"""What is changed while the network is in use."""


@dataclass(frozen=True)
class Guest:
    """A container behind ``link`` of its host."""

    host: str
    link: str
    address: IPv4Interface
    gateway: IPv4Address | None
    address6: IPv6Interface | None = None
    gateway6: IPv6Address | None = None

    @property
    def addresses(self) -> list[IPv4Interface | IPv6Interface]:
        return [self.address, *([self.address6] if self.address6 else [])]

    @property
    def gateways(self) -> list[IPAddress]:
        return [one for one in (self.gateway, self.gateway6) if one is not None]

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
        Route(destination=ip_network("fd00::/16"), link="eth0", gateway=WIRE6["a"].ip),
        Route(destination=ip_network(f"{PUBLIC6}/128"), link="eth0"),
    ]
    return network


def changed(dice: Dice, network: Network) -> Network:
    """The same network with other policies of its VNICs."""
    nouns = dict(network.nouns)
    for host in WIRE:
        mine = [guest for guest in network.guests if guest.host == host]
        kept = [noun for noun in nouns[host] if not isinstance(noun, POLICIES)]
        new = _policies(dice, f"cnci:{host}", mine)
        nouns[host] = sorted([*kept, *new], key=lambda noun: noun.rank)
    return replace(network, nouns=nouns)


def _guests(dice: Dice) -> list[Guest]:
    guests = []
    for number, host in enumerate(("a", "a", "a", "b", "b"), 9):
        net = dice.pick(["10.1.0", "10.1.0", "10.2.0"])
        gateway = dice.pick([f"{net}.1", f"{net}.1", f"{net}.1", f"{net}.77", None])
        address = ip_interface(f"{net}.{number}/24")
        assert isinstance(address, IPv4Interface)
        via = IPv4Address(gateway) if gateway else None
        address6 = gateway6 = None
        if dice.percent(80):
            net6 = f"fd00:{net.split('.')[1]}::"
            address6 = IPv6Interface(f"{net6}{number:x}/64")
            last = dice.pick(["1", "1", "1", "77", None])
            gateway6 = IPv6Address(f"{net6}{last}") if last else None
        guests.append(Guest(host, f"v{number}", address, via, address6, gateway6))
    return guests


def _bridges(dice: Dice, host: str) -> list[Noun]:
    nouns: list[Noun] = []
    for name, addresses in BRIDGES.items():
        mac = f"06:00:00:00:0{'ab'.index(host)}:0{name[-1]}"
        # What a host forwards by IPv6, it asks for from a link-local address.
        nouns.append(Bridge(name=name, mac=mac, mtu=1450, link_local=True))
        nouns += [
            Address(link=name, address=ip_interface(address))
            for address in addresses[host]
            if host == "a" or dice.percent(20)
        ]
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
    if host == "b" and dice.percent(50):
        nouns.append(Route(destination=ip_network("fd00::/16"), link="eth0", gateway=WIRE6["a"].ip))
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


def _policies(dice: Dice, owner: str, mine: list[Guest]) -> list[Noun]:
    """What the configs of VNICs say: which addresses are checked, and groups."""
    rules: list[Noun] = []
    for guest in mine:
        if dice.percent(40):
            address = dice.pick([guest.address.ip] * 5 + [ip_address("10.1.0.200")])
            own6 = [guest.address6.ip] if guest.address6 else []
            six = dice.pick([own6] * 5 + [[], [ip_address("fd00:1::200")]])
            addresses = (address, *six)
            rules.append(
                AntiSpoof(
                    owner=owner,
                    link=guest.link,
                    mac=guest.mac,
                    addresses=addresses,
                    networks=dice.pick([(), (), *EXTRA]),
                )
            )
    return rules + _groups(dice, owner, mine)


def _rules(dice: Dice, host: str, guests: list[Guest]) -> list[Noun]:
    if not dice.percent(80):
        return []
    owner = f"cnci:{host}"
    mine = [guest for guest in guests if guest.host == host]
    rules = _policies(dice, owner, mine)
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
        rules.append(Masquerade(owner=owner, device="eth0", nat66=dice.percent(50)))
    rules += [
        ExternalForward(owner=owner, device="eth0", bridge=name)
        for name in BRIDGES
        if dice.percent(60)
    ]
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
    rules += _forwards6(dice, host, owner, mine)
    if host == "a" and dice.percent(50):
        internal = dice.pick(mine).address.ip
        rules.append(PublicIp(owner=owner, public=PUBLIC, internal=internal, device="eth0"))
        rules.append(Address(link="eth0", address=ip_interface(f"{PUBLIC}/32")))
    six = [guest.address6.ip for guest in mine if guest.address6]
    if host == "a" and six and dice.percent(50):
        rules.append(PublicIp(owner=owner, public=PUBLIC6, internal=dice.pick(six), device="eth0"))
        rules.append(Address(link="eth0", address=ip_interface(f"{PUBLIC6}/128")))
    return rules


def _groups(dice: Dice, owner: str, mine: list[Guest]) -> list[Noun]:
    """Security groups, and who is in them."""
    members = [guest for guest in mine if dice.percent(30)]
    if not members:
        return []
    nouns: list[Noun] = []
    for group in GROUPS:
        elsewhere = dice.pick([(), (ip_address("10.1.0.9"), ip_address("fd00:2::d"))])
        rules = tuple(dice.pick(GROUP_RULES) for _ in range(dice.pick([0, 1, 2, 4])))
        nouns.append(GroupMembers(owner=owner, tenant="t", group=group, addresses=elsewhere))
        nouns.append(GroupRules(owner=owner, tenant="t", group=group, rules=rules))
    for guest in members:
        addresses = tuple(one.ip for one in guest.addresses)
        groups = dice.pick([GROUPS[:1], GROUPS[1:], GROUPS])
        nouns.append(
            PortGroups(owner=owner, tenant="t", link=guest.link, groups=groups, addresses=addresses)
        )
    return nouns


def _forwards6(dice: Dice, host: str, owner: str, mine: list[Guest]) -> list[Noun]:
    """Forwards of IPv6 as ``_rules`` has them of IPv4."""
    six = [guest.address6.ip for guest in mine if guest.address6]
    own = dice.pick([WIRE6[host].ip] * 3 + [PUBLIC6])
    doors = [at for at in (None, own) if six and dice.percent(50)]
    return [
        PortForward(
            owner=owner,
            protocol="tcp",
            device="eth0",
            port=FORWARDED,
            target=dice.pick(six),
            target_port=PORT,
            addresses=dice.pick([(WIRE6[host].ip,), ()]),
            address=at,
            sources=dice.pick([(), (), *SOURCES6]),
        )
        for at in doors
    ]
