"""Which way, and with which address, a host reaches another (inet_select_addr)."""

from __future__ import annotations

from snnet.contract import Address, IPAddress, Path

from .state import State


def path_to(state: State, remote: IPAddress) -> Path | None:
    """The way to the remote address as it is now; None where there is none."""
    if remote in state.local or remote.is_loopback:
        return Path(remote=remote, link="lo", source=remote)
    hop = state.fib.find(remote)
    if hop is None:
        return None
    source = source_on(state, hop.link, hop.gateway or remote)
    return Path(remote=remote, link=hop.link, source=source) if source else None


def source_on(state: State, link: str, towards: IPAddress) -> IPAddress | None:
    """An address of the link in the neighbour's network, else any other."""
    addresses = state.addresses(link, towards.version)
    for noun in addresses:
        if towards in noun.address.network:
            return noun.address.ip
    return addresses[0].address.ip if addresses else _any_address(state, towards.version)


def _any_address(state: State, version: int) -> IPAddress | None:
    for noun in state.nouns.values():
        if isinstance(noun, Address) and noun.link != "lo" and noun.address.version == version:
            return noun.address.ip
    return None
