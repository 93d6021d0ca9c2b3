"""Where each document stands in the registry (docs/registry.md draws the whole tree).

A claim is a document whose key is what must be unique: the commit that writes it expects
that there is none.  Every key ends in "/", so that no key is the beginning of another.
An agent watches few prefixes, those that concern its host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from snnet.contract import Entry, InvalidRequest, IPAddress
from snnet.contract.errors import shown

ROOT = "v1/"
"""The version of the layout: what a later version writes elsewhere, this one never reads."""

REGISTRY = f"{ROOT}registry/"
"""The id of the registry itself, which tells it from others and from an empty one."""

NETWORKS = f"{ROOT}networks/"
VNICS = f"{ROOT}vnics/"
FORWARDS = f"{ROOT}forwards/"
PUBLIC_IPS = f"{ROOT}public-ips/"
GROUPS = f"{ROOT}groups/"
MEMBERS = f"{ROOT}members/"
ADDRESSES = f"{ROOT}addresses/"
NODES = f"{ROOT}nodes/"
ALIVE = f"{ROOT}alive/"
STATUS = f"{ROOT}status/"
CONCENTRATORS = f"{ROOT}concentrators/"
TUNNELS = f"{ROOT}tunnels/"
DOCKER = f"{ROOT}docker/"
QUESTIONS = f"{ROOT}questions/"
ANSWERS = f"{ROOT}answers/"
TUNNEL_KEYS = f"{ROOT}claims/tunnel-keys/"
NODE_NUMBERS = f"{ROOT}claims/node-numbers/"
CONCENTRATOR_ADDRESSES = f"{ROOT}claims/concentrator-addresses/"
HOST_PORTS = f"{ROOT}claims/host-ports/"
"""The fence of the forwards on hosts whose own ports they open, whatever their tenant."""


def part(value: object, field: str) -> str:
    """Check a tenant or a name from which a key is made; a slash would lead to other objects."""
    if isinstance(value, str) and value and "/" not in value:
        return value
    raise InvalidRequest(f"{shown(value)} is not a name", field=field)


PREFIXES = {
    "network": NETWORKS,
    "group": GROUPS,
    "vnic": VNICS,
    "forward": FORWARDS,
    "public-ip": PUBLIC_IPS,
}
"""Where the documents of each kind are."""


def objects(entries: Mapping[str, Entry], prefix: str) -> Iterator[tuple[str, Entry]]:
    """Yield the documents under a prefix whose keys have as many parts as those of its kind.

    The others are what a later version keeps beside them, or of somebody else: no object of ours.
    """
    parts = _PARTS.get(f"{ROOT}{prefix.split('/')[1]}/")
    for key, entry in entries.items():
        if key.startswith(prefix):
            found = key.split("/")
            if len(found) == parts and all(found[:-1]) and not found[-1]:
                yield key, entry


def numbers(entries: Mapping[str, Entry], prefix: str) -> dict[int, Entry]:
    """The claims of numbers under a prefix, by number."""
    found = ((key[len(prefix) : -1], key) for key in entries if key.startswith(prefix))
    return {int(text): entries[key] for text, key in found if text.isascii() and text.isdecimal()}


_PARTS = {
    **dict.fromkeys((NETWORKS, GROUPS, FORWARDS, PUBLIC_IPS, MEMBERS), 5),
    ADDRESSES: 6,
    VNICS: 6,
    CONCENTRATORS: 4,
    STATUS: 7,
}
"""Into how many parts the slashes cut the keys of a kind; the last part is empty."""


def network(tenant: str, name: str) -> str:
    return f"{NETWORKS}{tenant}/{name}/"


def vnic(node: str, tenant: str, name: str) -> str:
    """A VNIC stands under its node, so that an agent watches its own VNICs alone."""
    return f"{VNICS}{node}/{tenant}/{name}/"


def vnic_name(tenant: str, name: str) -> str:
    """The claim of a VNIC's name; it says on which node the VNIC is."""
    return f"{ROOT}claims/vnics/{tenant}/{name}/"


def addresses(tenant: str, network: str) -> str:
    """The prefix of the claims of a network's addresses."""
    return f"{ADDRESSES}{tenant}/{network}/"


def address(tenant: str, network: str, ip: IPAddress) -> str:
    """The claim of an address; it names the VNIC and its MAC, as DHCP needs them.

    One that has ``managed_by`` in their place is held for a VNIC to come.
    """
    return f"{addresses(tenant, network)}{ip}/"


def forward(tenant: str, name: str) -> str:
    return f"{FORWARDS}{tenant}/{name}/"


def public_ip(tenant: str, address: IPAddress | str) -> str:
    return f"{PUBLIC_IPS}{tenant}/{address}/"


def group(tenant: str, name: str) -> str:
    return f"{GROUPS}{tenant}/{name}/"


def member(tenant: str, vnic: str) -> str:
    """In which groups a VNIC is, with its node and its addresses; only if it is in some."""
    return f"{MEMBERS}{tenant}/{vnic}/"


def group_uses(tenant: str) -> str:
    """The document that is rewritten by whatever begins to use a group of the tenant.

    It is read before a group is deleted, so that a use that comes in between is seen.
    """
    return f"{ROOT}claims/groups/{tenant}/"


def public_ip_claim(address: IPAddress | str) -> str:
    return f"{ROOT}claims/public-ips/{address}/"


def tunnel_key(key: int) -> str:
    """The claim of a subnet's tunnel key, unique in the whole cluster."""
    return f"{TUNNEL_KEYS}{key}/"


def fence(tenant: str) -> str:
    """The document that every change of a tenant's networks and forwards rewrites.

    Two of them that were decided on the same reading cannot both be committed, so that
    overlaps are seen.
    """
    return f"{ROOT}claims/tenants/{tenant}/"


def macs(tenant: str, network: str) -> str:
    """The document that every creation of a VNIC with a MAC of its own rewrites.

    A creation that was decided without knowing that MAC cannot be committed.
    """
    return f"{ROOT}claims/macs/{tenant}/{network}/"


def node(name: str) -> str:
    return f"{NODES}{name}/"


def alive(name: str) -> str:
    """The session document of a node's agent."""
    return f"{ALIVE}{name}/"


def docker(node: str, name: str = "") -> str:
    """The prefix of what a node's Docker plugin has to remember; of all of them without a name."""
    return f"{DOCKER}{node}/{name}/" if name else f"{DOCKER}{node}/"


def docker_manager(node: str, name: str = "") -> str:
    """Who manages a Docker plugin's VNICs and claims; without a name the beginning of that."""
    return f"docker/{node}/{name}"


def concentrator(tenant: str) -> str:
    """Where a tenant's concentrator is; the revision of the document is the epoch."""
    return f"{CONCENTRATORS}{tenant}/"


def concentrator_address(address: IPAddress | str) -> str:
    """The claim of a concentrator's address, unique in the whole cluster."""
    return f"{CONCENTRATOR_ADDRESSES}{address}/"


def tunnels(node: str) -> str:
    """The prefix of what a compute node says of its tunnels."""
    return f"{TUNNELS}{node}/"


def tunnel(node: str, tenant: str, network: str) -> str:
    """The far end of a subnet's tunnel: the address of a node that has a part of the subnet.

    The later revision is the truth; it takes the place of a tunnel event's sequence.
    """
    return f"{tunnels(node)}{tenant}/{network}/"


def tunnel_names(key: str) -> tuple[str, str, str] | None:
    """Node, tenant and network of a tunnel's key; None of any other key."""
    match key.removeprefix(TUNNELS).split("/"):
        case [str(node), str(tenant), str(network), ""] if key.startswith(TUNNELS):
            return (node, tenant, network) if node and tenant and network else None
    return None


def node_number(number: int) -> str:
    """The claim of a node's number, from which its vxlan port follows."""
    return f"{NODE_NUMBERS}{number}/"


def question(id: str) -> str:
    """A question to agents: of which nodes a snapshot is wanted.  It goes with its session."""
    return f"{QUESTIONS}{id}/"


def answers(node: str) -> str:
    """The prefix of what a node answers, so that it may write nobody else's answers."""
    return f"{ANSWERS}{node}/"


def answer(node: str, question: str, part: int) -> str:
    """A part of a node's answer; all go when the question does."""
    return f"{answers(node)}{question}/{part}/"


def status(node: str, kind: str = "", tenant: str = "", name: str = "") -> str:
    """What an agent says about one object; without the rest, the prefix of all it says."""
    return f"{STATUS}{node}/{kind}/{tenant}/{name}/" if kind else f"{STATUS}{node}/"
