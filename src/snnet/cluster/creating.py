"""Creates objects: chooses keys, nodes and addresses, and commits them with their claims."""

from __future__ import annotations

import socket
from dataclasses import replace

from snnet.contract import Conflict, Registry

from . import keys, networks, rules, store, vnics
from .addresses import AddressPool
from .documents import Forward, Network, PublicIp, Vnic, Wanted
from .drafts import Draft, carry_out
from .views import read_nodes


class Creator:
    """Creates objects in a registry.

    In each method ``given`` names the fields that were asked for.  If the object is there
    already, these must be equal (``Conflict``), and the others stay as they are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pools: dict[tuple[str, str], AddressPool] = {}

    def forget(self, tenant: str, network: str) -> None:
        """Forget which addresses of a network are taken."""
        self._pools.pop((tenant, network), None)

    def create(self, wanted: Wanted, given: frozenset[str]) -> Wanted:
        """Create an object of any kind."""
        match wanted:
            case Network():
                return self.network(wanted, given)
            case Vnic():
                return self.vnic(wanted, given)
            case Forward():
                return self.forward(wanted, given)
            case PublicIp():
                return self.public_ip(wanted, given)
            case _:
                raise TypeError(f"no way to create a {type(wanted).__name__}")

    def network(self, wanted: Network, given: frozenset[str]) -> Network:
        reads = networks.creation_reads(wanted)
        return carry_out(
            self._registry,
            lambda: networks.creation(wanted, given, self._registry.read(*reads)),
        )

    def vnic(self, wanted: Vnic, given: frozenset[str]) -> Vnic:
        place = (wanted.tenant, wanted.network)

        def decide() -> Draft[Vnic]:
            old = store.find(self._registry, Vnic, wanted.tenant, wanted.name)
            if old is not None:
                return vnics.repeated(old, wanted, given)
            reading = self._registry.read(
                keys.network(*place), *(() if wanted.node else (keys.NODES, keys.ALIVE))
            )
            network = networks.needed_network(reading, *place)
            pool = self._pool(network)
            node = wanted.node or vnics.choose_node(
                wanted, read_nodes(reading), socket.gethostname()
            )
            made = replace(wanted, node=node, ip=pool.choose(wanted))
            return vnics.creation(made, network.revision)

        def stale() -> None:
            self.forget(*place)
            self._check_free(wanted)

        made = carry_out(self._registry, decide, stale)
        if place in self._pools:
            self._pools[place].take(made.ip)
        return made

    def _pool(self, network: Network) -> AddressPool:
        place = (network.tenant, network.name)
        pool = self._pools.get(place)
        if pool is None or pool.network != network:
            pool = AddressPool(network, self._registry.read(keys.addresses(*place)))
            self._pools[place] = pool
        return pool

    def _check_free(self, wanted: Vnic) -> None:
        """Raise Conflict if an address that was asked for belongs to another VNIC."""
        for ip in wanted.ip:
            key = keys.address(wanted.tenant, wanted.network, ip)
            claim = self._registry.read(key).entries.get(key)
            if claim is not None and claim.document["vnic"] != wanted.name:
                raise Conflict(
                    f"{ip} belongs to vnic {claim.document['vnic']!r}: choose another address"
                )

    def forward(self, wanted: Forward, given: frozenset[str]) -> Forward:
        nodes = read_nodes(self._registry.read(keys.NODES, keys.ALIVE))
        shared = rules.shares_ports(nodes)
        reads = rules.forward_reads(wanted, shared=shared)
        return carry_out(
            self._registry,
            lambda: rules.forward_creation(
                wanted, given, self._registry.read(*reads), shared=shared
            ),
        )

    def public_ip(self, wanted: PublicIp, given: frozenset[str]) -> PublicIp:
        reads = rules.public_ip_reads(wanted)
        return carry_out(
            self._registry,
            lambda: rules.public_ip_creation(wanted, self._registry.read(*reads)),
        )
