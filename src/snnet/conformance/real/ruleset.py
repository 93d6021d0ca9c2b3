"""The packet filter of a namespace as text: all of it, or the foreign part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from snnet.system.namespaces import Namespace
from snnet.system.process import find_program, run

_IPTABLES_OWN = {"filter", "nat", "mangle", "raw", "security", "broute"}
"""Tables that iptables-nft and similar programs create on any call and never remove."""

_LEGACY = ("iptables-legacy", "ip6tables-legacy")
_FOREIGN = """\
table inet foreign {
  set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
  chain input { type filter hook input priority -5; ip saddr @friends accept; }
  chain forward { type filter hook forward priority -5; tcp dport 4711 accept; }
  chain nat { type nat hook prerouting priority -105; tcp dport 4711 redirect to :4712; }
}
"""
_FOREIGN_IPTABLES = """\
*filter
:FOREIGN - [0:0]
-A FOREIGN -p tcp -m tcp --dport 4711 -j ACCEPT
-I FORWARD -j FOREIGN
-I INPUT -s 192.0.2.1/32 -m comment --comment FOREIGN -j ACCEPT
COMMIT
*nat
:FOREIGN - [0:0]
-A FOREIGN -p tcp -m tcp --dport 4711 -j REDIRECT --to-ports 4712
-A PREROUTING -j FOREIGN
COMMIT
"""
_FOREIGN_GONE = """\
*filter
-D FORWARD -j FOREIGN
-D INPUT -s 192.0.2.1/32 -m comment --comment FOREIGN -j ACCEPT
-F FOREIGN
-X FOREIGN
COMMIT
*nat
-D PREROUTING -j FOREIGN
-F FOREIGN
-X FOREIGN
COMMIT
"""


def ruleset(space: Namespace) -> str:
    """Return everything in nftables and in the legacy tables that has an effect.

    Empty base chains with policy accept, in the tables of iptables, are left out.  So are
    counters: stray packets, such as router solicitations, increase them.
    """
    lines: list[str] = []
    if find_program("nft"):
        lines += _nftables(space)
    for program in _LEGACY:
        if find_program(f"{program}-save"):
            saved = run([f"{program}-save"], netns=space.fd).stdout
            lines += [f"{program} {line}" for line in _rules(saved)]
    return "\n".join(lines)


@contextmanager
def foreign_rules(space: Namespace) -> Iterator[Callable[[], str]]:
    """Install foreign rules in every packet filter there is; yield a function that reads them."""
    programs = [name for name in ("iptables-nft", "iptables-legacy") if find_program(name)]
    nft = find_program("nft") is not None

    def read() -> str:
        text = ""
        if nft:
            text += run(["nft", "-s", "list", "table", "inet", "foreign"], netns=space.fd).stdout
        for name in programs:
            saved = run([f"{name}-save"], netns=space.fd).stdout
            text += "".join(f"{line}\n" for line in _rules(saved) if "FOREIGN" in line)
        return text

    with ExitStack() as made:
        if nft:
            run(["nft", "-f", "-"], input=_FOREIGN, netns=space.fd)
            made.callback(run, ["nft", "delete", "table", "inet", "foreign"], netns=space.fd)
        for name in programs:
            restore = [f"{name}-restore", "--noflush"]
            run(restore, input=_FOREIGN_IPTABLES, netns=space.fd)
            made.callback(run, restore, input=_FOREIGN_GONE, netns=space.fd)
        yield read


def _nftables(space: Namespace) -> list[str]:
    listed = json.loads(run(["nft", "-j", "-s", "list", "ruleset"], netns=space.fd).stdout)
    objects = [dict(item).popitem() for item in listed["nftables"] if "metainfo" not in item]
    used = {_chain(body) for kind, body in objects if kind == "rule"}
    kept = [
        (kind, body)
        for kind, body in objects
        if not (kind == "chain" and _is_hollow(body) and (*_table(body), body["name"]) not in used)
    ]
    full = {_table(body) for kind, body in kept if kind != "table"}
    lines = [
        f"{kind} {json.dumps(_timeless(body), sort_keys=True)}"
        for kind, body in kept
        if kind != "table" or body["name"] not in _IPTABLES_OWN
        or (body["family"], body["name"]) in full
    ]  # fmt: skip
    return sorted(lines)


def _table(body: dict[str, Any]) -> tuple[str, str]:
    return body["family"], body["table"] if "table" in body else body["name"]


def _chain(body: dict[str, Any]) -> tuple[str, str, str]:
    return body["family"], body["table"], body["chain"]


def _is_hollow(body: dict[str, Any]) -> bool:
    """Whether it is a base chain with policy accept, in a table of iptables."""
    return body.get("policy") == "accept" and body["table"] in _IPTABLES_OWN


def _timeless(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out numbers that differ each time an object is made, counters, and what they count."""
    passing = ("handle", "index", "packets", "bytes")
    kept = {name: value for name, value in body.items() if name not in passing}
    if elements := [one for one in kept.pop("elem", ()) if not _counts(one)]:
        kept["elem"] = elements
    return kept


def _counts(element: Any) -> bool:
    """Whether a packet that was dropped has made it: it has a counter and ends by itself."""
    inner = element.get("elem") if isinstance(element, dict) else None
    return isinstance(inner, dict) and "counter" in inner and "timeout" in inner


def _rules(saved: str) -> Iterator[str]:
    """Yield rules, chains and policies from the output of iptables-save, without counters."""
    for line in saved.splitlines():
        if line.startswith(":"):
            chain, policy, _ = line.split(maxsplit=2)
            if policy != "ACCEPT":
                yield f"{chain} {policy}"
        elif line.startswith("-"):
            yield line
