"""Explains across hosts: which ones to ask, what they answer, what stays unknown without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from snnet.cluster import Forward, PublicIp, Vnic, keys
from snnet.cluster.views import read_nodes, read_placements, stored
from snnet.contract import InvalidRequest, IPAddress, Reading, Registry

from .gathering import Gathered, gather, read_address
from .places import Place
from .question import Explanation, Question, ask
from .world import Damaged, World


@dataclass(frozen=True, slots=True)
class HostsExplanation:
    """What becomes of a packet, and of which hosts that was worked out."""

    explanation: Explanation
    hosts: Gathered

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.explanation.to_dict(), "hosts": self.hosts.to_list()}


def explain_hosts(registry: Registry, question: Question, timeout: float) -> HostsExplanation:
    """Like ``explain``, on the hosts of a cluster: their agents are asked for snapshots.

    Asked are the hosts that the packet may concern by the registry's documents, or all where
    these do not know source or target.  A host without an answer is named, and where the packet
    goes there the outcome is "unknown".  Raises ``Unavailable`` if the registry does not answer.
    """
    plan = _Plan(registry, question)
    hosts = gather(registry, plan.nodes(), timeout)
    while hosts.snapshots:
        silent = {one.host: list(hosts.addresses.get(one.host, ())) for one in hosts.silent}
        absent = plan.absent(silent)
        for place in absent.values():
            silent[place.absent] += place.addresses
        try:
            world = World(*hosts.snapshots, silent=silent)
        except Damaged as error:
            hosts = hosts.without(error.host, str(error))
        else:
            return HostsExplanation(ask(world, question, absent), hosts)
    reasons = "; ".join(map(hosts.reason, hosts.silent)) or "no agent has registered"
    raise InvalidRequest(f"{reasons}: --here asks this host alone", field="registry")


class _Plan:
    """What the registry's documents say of whom a question concerns."""

    def __init__(self, registry: Registry, question: Question) -> None:
        reading = registry.read(
            keys.VNICS, keys.FORWARDS, keys.PUBLIC_IPS, keys.CONCENTRATORS, keys.NODES
        )
        self._question = question
        self._vnics = list(stored(reading, Vnic))
        self._public = list(stored(reading, PublicIp))
        self._forwards = list(stored(reading, Forward))
        self._hosts = [(one.name, read_address(one.compute_ip)) for one in read_nodes(reading)]
        self._placed = dict(_places(reading))

    def nodes(self) -> set[str] | None:
        """Return the nodes that may be concerned; None for all."""
        tenants: set[str] = set()
        nodes: set[str] = set()
        known = 0
        for text in (self._question.source, self._question.target):
            address = read_address(text)
            vnics = self._named(text, self._question.tenant)
            having = {name for name, own in self._hosts if address and address == own}
            mine = {vnic.node for vnic in vnics if vnic.node} | having
            owners = {vnic.tenant for vnic in vnics} | set(self._reached_by(address, having))
            if not owners and not mine and address is None:
                return None
            known += bool(owners or mine)
            tenants |= owners
            nodes |= mine
        for tenant in tenants:
            nodes |= set(self._of_tenant(tenant))
        return (nodes - {""} or None) if known else None

    def _reached_by(self, address: IPAddress | None, nodes: Collection[str]) -> Iterator[str]:
        """Yield the tenants reached by an address outside, which may be their node's."""
        for tenant, (node, own) in self._placed.items():
            if (address == own) if own is not None else (node in nodes):
                yield tenant
        yield from (one.tenant for one in self._public if one.address == address)

    def _of_tenant(self, tenant: str) -> Iterator[str]:
        """Yield the nodes of a tenant's concentrator, and of what can be reached from outside."""
        if tenant in self._placed:
            yield self._placed[tenant][0]
        led = {one.to for one in self._forwards if one.tenant == tenant}
        led |= {one.to for one in self._public if one.tenant == tenant}
        for vnic in self._vnics:
            if vnic.tenant == tenant and vnic.name in led and vnic.node:
                yield vnic.node

    def absent(self, silent: Collection[str]) -> dict[str, Place]:
        """Return those of source and target that are on hosts that gave no answer.

        Raises InvalidRequest if a name may mean several, of which the hosts know too few.
        """
        question = self._question
        sources = self._named(question.source, question.tenant)
        owners = {vnic.tenant for vnic in sources}
        mine = owners.pop() if len(owners) == 1 else question.tenant
        targets = self._named(question.target, mine)
        if not targets:
            targets = self._named(question.target, question.tenant)
        found: dict[str, Place] = {}
        for text, vnics in ((question.source, sources), (question.target, targets)):
            lost = [vnic for vnic in vnics if vnic.node in silent]
            address = read_address(text)
            if lost and len(vnics) == 1:
                addresses = lost[0].ip if address is None else (address,)
                found[text] = Place(addresses, absent=str(lost[0].node))
            elif lost and (address is None or vnics is sources):
                names = ", ".join(sorted(f"{vnic.name} of {vnic.tenant}" for vnic in vnics)[:5])
                field = "from" if vnics is sources else "to"
                raise InvalidRequest(f"{text!r} may be one of {names}: set --tenant", field=field)
        return found

    def _named(self, text: str, tenant: str | None) -> list[Vnic]:
        """Return the VNICs with a name or an address."""
        address = read_address(text)
        return [
            vnic
            for vnic in self._vnics
            if tenant in (None, vnic.tenant)
            and (text == vnic.name if address is None else address in vnic.ip)
        ]


def _places(reading: Reading) -> Iterator[tuple[str, tuple[str, IPAddress | None]]]:
    for tenant, entry in read_placements(reading).items():
        document = entry.document
        yield tenant, (str(document.get("node") or ""), read_address(document.get("address")))
