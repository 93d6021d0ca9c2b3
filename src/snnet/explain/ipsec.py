"""IPsec policies of others (ip-xfrm(8)): which packets they block, or want encrypted.

Here: they are read with ip(8), and become chains at the hooks of IP where the kernel looks
policies up.  Not here: what encrypted packets become.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from snnet.firewall.others.stops import BaseChain, Chains, Rule, Test, Verdict, network
from snnet.system.process import run

_AT = {
    "in": (("input", 1000),),
    "fwd": (("forward", 1000),),
    "out": (("postrouting", -1000), ("postrouting", 1000)),
}
"""The hooks and priorities: what leaves is looked up by its route, and again when NAT has
changed its source (nf_xfrm_me_harder)."""
_ROUTED = Test("port_out", ("?*",), negated=True)
"""Frames that a bridge passes on meet no policies, though they pass the hooks of IP."""
_DEFAULT = re.compile(r"^\s*(in|fwd|out):\s*block", re.MULTILINE)


def read(netns: int) -> list[dict[str, Any]]:
    """Return the policies in the order in which the kernel tries them.

    A row has the ``selector`` as ip prints it, the ``direction`` (in, fwd or out), what is
    ``done`` (block, allow or encrypt), and the command that removes it.  Nothing on a kernel
    without IPsec.
    """
    text = run(["ip", "xfrm", "policy", "show", "nosock"], netns=netns, check=False).stdout
    found = sorted(_policies(text), key=lambda row: int(row["priority"]))
    text = run(["ip", "xfrm", "policy", "getdefault"], netns=netns, check=False).stdout
    for direction in _DEFAULT.findall(text):
        remove = f"ip xfrm policy setdefault {direction} accept"
        found.append(_row("", direction, "block", 1 << 32, remove))
    return found


def _policies(text: str) -> Iterator[dict[str, Any]]:
    """Yield each policy: a line for the selector, and indented ones for the rest."""
    for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        selector, _, rest = block.partition("\n")
        words = rest.split()
        if "dir" not in words:
            continue
        fields = dict(pairwise(words))
        done = "block" if fields.get("action") == "block" else "allow"
        if done == "allow" and "tmpl" in words:
            done = "encrypt"
        selector, direction = " ".join(selector.split()), fields["dir"]
        remove = f"ip xfrm policy delete {selector} dir {direction}"
        yield _row(selector, direction, done, int(fields.get("priority", 0)), remove)


def _row(selector: str, direction: str, done: str, priority: int, remove: str) -> dict[str, Any]:
    return {
        "selector": selector, "direction": direction, "done": done, "priority": priority,
        "remove": remove,
    }  # fmt: skip


def chains(rows: Iterable[Mapping[str, Any]]) -> Iterator[Chains]:
    """Yield a table for each direction that has policies."""
    found = list(rows)
    for direction, at in _AT.items():
        rules = [_rule(row) for row in found if row["direction"] == direction]
        if rules:
            base = [BaseChain(direction, hook, priority=number) for hook, number in at]
            yield Chains("IPsec policies", base, {direction: rules}, {direction})


def _rule(row: Mapping[str, Any]) -> Rule:
    does = {"block": Verdict.STOP, "allow": Verdict.ACCEPT}.get(row["done"], Verdict.UNKNOWN)
    name = f"{row['done']} {row['selector']}" if row["selector"] else "block by default"
    tests = [_ROUTED, *_tests(row["selector"].split())]
    return Rule(tests, does, name=name, remove=row["remove"])


def _tests(words: list[str]) -> Iterator[Test]:
    """Yield the tests of a selector: pairs of words; what is not known may match."""
    fields = dict(zip(words[::2], words[1::2], strict=False))
    for key, value in fields.items():
        if key in ("src", "dst"):
            yield Test("source" if key == "src" else "target", [network(value)])
        elif key == "proto":
            yield Test("protocol", [value])
        elif key in ("sport", "dport") and value.isdigit():
            ports = [(int(value), int(value))]
            yield Test("source_port" if key == "sport" else "target_port", ports)
        else:
            yield Test(None)
