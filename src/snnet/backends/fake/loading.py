"""Sets the state of a fake kernel to what was found on a real host.

A kernel's rules say what may *happen*; a host that was found has happened already.  So
nothing is checked here, and nothing follows from anything: the caller gives all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snnet.contract import Address, Bridge, Link, Macvtap, Noun, PolicyRule, Tunnel
from snnet.contract.noun import IPNetwork

from .fib import Hop
from .kernel import FakeKernel
from .state import State


def load(
    kernel: FakeKernel,
    nouns: Iterable[Noun],
    routes: Iterable[tuple[int, IPNetwork, Hop]],
    sysctls: Mapping[str, str],
) -> None:
    """Replace everything in the kernel but its namespaces by what was found.

    ``routes`` have the number of their table; of equal destinations the first is used.
    Nouns are stored as they are; those that are about links come after the links.
    """
    with kernel.state.lock:
        state = kernel.state
        for key in [key for key in state.nouns if key[0] != "namespace"]:
            del state.nouns[key]
        for index in (state.indexes, state.local, state.held):
            index.clear()
        kept = list(nouns)
        _load_links(state, [noun for noun in kept if isinstance(noun, Link)])
        for noun in kept:
            if not isinstance(noun, Link):
                state.put(noun)
            if isinstance(noun, Address):
                state.local.setdefault(noun.address.ip, []).append(noun.link)
            elif isinstance(noun, PolicyRule):
                state.table(noun.table)
        for table, destination, hop in routes:
            state.table(table).add(destination, hop)
        state.sysctls.update(sysctls)
        state.changes.count += 1


def join_veth(near: FakeKernel, link: str, far: FakeKernel, other: str) -> None:
    """Make two veths of different namespaces the ends of one pair."""
    near.state.far[link] = (far.state, other)
    far.state.far[other] = (near.state, link)


def _load_links(state: State, links: list[Link]) -> None:
    for link in links:
        state.take_index(link.name, link.index)
        state.put_link(link)
        if isinstance(link, Bridge):
            state.ports[link.name] = {}
        elif isinstance(link, Tunnel):
            state.tunnels[link.wire_identity] = link.name
    for link in links:
        if link.master in state.ports:
            state.ports[link.master or ""][link.name] = None
        if isinstance(link, Macvtap):
            state.uppers.setdefault(link.lower, {})[link.name] = None
