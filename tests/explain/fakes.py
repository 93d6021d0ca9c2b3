"""Snapshots of fake hosts, as ``take()`` makes them of real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snnet import FakeKernel
from snnet.contract import Route
from snnet.contract.network import FORWARDING
from snnet.explain.snapshot import NOUNS, Snapshot, Space


def snapshot_of(kernel: FakeKernel, **changes: Any) -> Snapshot:
    """The snapshot of a fake host; ``changes`` are fields of its own namespace."""
    inside = {name: kernel.namespace(name) for name in kernel.state.children}
    spaces = {name: _space(one, inside) for name, one in {"": kernel, **inside}.items()}
    if changes:
        own = spaces[""]
        fields = {name: getattr(own, name) for name in Space.__dataclass_fields__}
        spaces[""] = Space(**{**fields, **changes})
    return Snapshot(kernel.hostname, spaces)


def _space(kernel: FakeKernel, inside: Mapping[str, FakeKernel]) -> Space:
    state = kernel.state
    names = {id(one.state): name for name, one in inside.items()}
    sysctls = dict(state.sysctls)
    for version in (4, 6):
        sysctls.setdefault(FORWARDING[version], "0")
    return Space(
        [noun for noun in state.nouns.values() if type(noun) in NOUNS.values()],
        list(_routes(kernel)),
        sysctls=sysctls,
        far={link: (names.get(id(there), ""), far) for link, (there, far) in state.far.items()},
    )


def _routes(kernel: FakeKernel) -> Iterator[dict[str, Any]]:
    for link, networks in kernel.state.connected.items():
        for network in networks:
            route = {"dst": str(network), "dev": link, "protocol": "kernel"}
            yield {**route, "family": network.version}
    for noun in kernel.state.nouns.values():
        if isinstance(noun, Route):
            found = {"dst": str(noun.destination), "dev": noun.link, "table": noun.table}
            gateway = {"gateway": str(noun.gateway)} if noun.gateway else {}
            yield {**found, **gateway, "family": noun.destination.version}


def nft(
    *rules: Sequence[Mapping[str, Any]], hook: str = "forward", policy: str = "accept"
) -> dict[str, Any]:
    """What ``gather`` returns for one chain of the table ``inet theirs`` with these rules.

    A rule is the list of its expressions (libnftables-json(5)).
    """
    where = {"family": "inet", "table": "theirs"}
    chain = {"name": "one", "handle": 1, "type": "filter", "hook": hook, "prio": 0}
    items: list[Mapping[str, Any]] = [{"chain": {**where, **chain, "policy": policy}}]
    items += [
        {"rule": {**where, "chain": "one", "handle": number, "expr": expressions}}
        for number, expressions in enumerate(rules, 5)
    ]
    return {"nft": items, "saved": [], "unread": []}


def saved(text: str, program: str = "iptables-nft-save", family: str = "ip") -> dict[str, Any]:
    """What ``gather`` returns for these lines of the table filter, as ``iptables-save`` prints."""
    head = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    return {
        "nft": [],
        "saved": [[program, family, f"*filter\n{head}{text}\nCOMMIT\n"]],
        "unread": [],
    }
