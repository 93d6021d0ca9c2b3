"""Traffic control of others: which disciplines and filters of links may lose packets.

Here: they are read with tc(8), and become chains at the hooks of their links.  Not here: the
shapers and redirects of snnet, which the fakes know themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from snnet.contract.shaping import FILTER_PRIORITY, QDISC_HANDLE
from snnet.firewall.others.stops import UNKNOWN, BaseChain, Chains, Rule, Test, Verdict
from snnet.system.process import find_program, run

Row = Mapping[str, Any]

Place = tuple[str, str, str]
"""A link, the side of it that a filter sees, and where tc has the filter."""

_NOT_THEIRS = "0:", f"{QDISC_HANDLE:x}:"
"""The handles of what the kernel gave the link itself, and of what snnet did."""
_SIDES = {"ingress": ("ingress",), "clsact": ("ingress", "egress")}
_QUEUES = {
    "bfifo", "cake", "codel", "fq", "fq_codel", "fq_pie", "mq", "mqprio", "multiq", "noqueue",
    "pfifo", "pfifo_fast", "pfifo_head_drop", "pie", "sfq",
}  # fmt: skip
"""They lose packets under load alone."""
_SHARING = {"htb", "drr", "ets", "prio", "qfq"}
"""They share the link among classes, which filters choose."""
_STARVING = re.compile(r"\bceil \d{1,4}bit\b")
"""A class of less than 10 kbit a second: it sends a packet of full size in more than a second."""
_SLOW, _SMALL = 1250, 1514
"""Bytes a second of a token bucket that keeps packets as long, and bytes that never pass it."""
_VERSIONS = {"ip": (4,), "ipv6": (6,), "arp": (0,)}


def read(netns: int) -> list[dict[str, Any]]:
    """Return what of others' traffic control may lose packets; nothing if tc is not installed.

    A row has the link ``dev``, the ``side`` (ingress or egress), ``what`` it is, the
    command that removes it, the ``protocol`` that it is about, and whether it is ``certain``
    that it loses these.
    """
    if find_program("tc") is None:
        return []
    text = run(["tc", "-json", "qdisc", "show"], netns=netns, check=False).stdout
    disciplines = [one for one in _lists(text, 1)[0] if "dev" in one]
    found = [row for one in disciplines if (row := _queue(netns, one)) is not None]
    places = [place for one in disciplines for place in _places(one)]
    for (dev, side, where), filters in zip(places, _filters(netns, places), strict=True):
        found += _losing(dev, side, where, filters)
    return found


def _queue(netns: int, one: Row) -> dict[str, Any] | None:
    """Return what a queueing discipline of others may lose."""
    kind, handle, dev = str(one["kind"]), str(one.get("handle")), str(one["dev"])
    if kind in (*_SIDES, *_QUEUES) or handle in _NOT_THEIRS:
        return None
    if kind in _SHARING and not _starves(netns, kind, dev):
        return None
    if kind == "tbf" and _is_ample(one.get("options", {})):
        return None
    certain = kind == "blackhole" and "root" in one
    parent = "root" if one.get("root") else f"parent {one.get('parent')}"
    remove = f"tc qdisc delete dev {dev} {parent}"
    return _row(dev, "egress", f"queueing discipline {kind} {handle}", remove, "all", certain)


def _starves(netns: int, kind: str, dev: str) -> bool:
    # Older tc prints classes as text, whatever is asked for.
    argv = ["tc", "class", "show", "dev", dev]
    return kind == "htb" and bool(_STARVING.search(run(argv, netns=netns, check=False).stdout))


def _is_ample(options: Row) -> bool:
    rate, burst = options.get("rate", 0), options.get("burst", 0)
    return bool(rate >= _SLOW and burst >= _SMALL and options.get("limit", _SMALL) >= _SMALL)


def _places(one: Row) -> Iterator[Place]:
    """Yield where filters of a discipline may be."""
    for side in _SIDES.get(str(one["kind"]), ()):
        yield str(one["dev"]), side, side
    if one["kind"] in _SHARING:
        yield str(one["dev"]), "egress", f"parent {one.get('handle')}"


def _filters(netns: int, places: Sequence[Place]) -> list[list[dict[str, Any]]]:
    """Return the filters of each place, which one process reads: a link of snnet may have one."""
    if not places:
        return []
    lines = "\n".join(f"filter show dev {dev} {where}" for dev, _, where in places)
    argv = ["tc", "-json", "-force", "-batch", "-"]
    printed = run(argv, input=lines, netns=netns, check=False)
    if printed.returncode == 0:
        return _lists(printed.stdout, len(places))
    if len(places) == 1:
        return [[]]  # its link is gone meanwhile
    return [filters for place in places for filters in _filters(netns, [place])]


def _lists(text: str, count: int) -> list[list[dict[str, Any]]]:
    """Return the lists that tc printed one after the other; empty ones if it did not."""
    decoder, found, at = json.JSONDecoder(), [], 0
    try:
        while (at := text.find("[", at)) >= 0:
            one, at = decoder.raw_decode(text, at)
            found.append(list(one))
    except ValueError:
        found = []
    return found if len(found) == count else [[] for _ in range(count)]


def _losing(dev: str, side: str, where: str, filters: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield the filters of others that act on packets."""
    for one in filters:
        options = one.get("options") or {}
        ours = side == "ingress" and one.get("pref") == FILTER_PRIORITY
        # Without an action a filter only chooses a class.
        acts = "actions" in options or (one.get("kind") == "bpf" and options)
        if ours or not acts:
            continue
        protocol, preference = one.get("protocol", "all"), one.get("pref")
        kinds = ", ".join(str(act.get("kind")) for act in options.get("actions", ()))
        what = f"filter {one.get('kind')} of preference {preference}"
        what += f" ({kinds})" if kinds else ""
        remove = f"tc filter delete dev {dev} {where} protocol {protocol} pref {preference}"
        yield _row(dev, side, what, remove, protocol, False)


def _row(
    dev: str, side: str, what: str, remove: str, protocol: str, certain: bool
) -> dict[str, Any]:
    return {
        "dev": dev, "side": side, "what": what, "remove": remove, "protocol": protocol,
        "certain": certain,
    }  # fmt: skip


def chains(rows: Iterable[Row]) -> Iterator[Chains]:
    """Yield a table for each row of ``read``: nobody knows which packets the rest meets."""
    for row in rows:
        tests = [] if row["certain"] else [UNKNOWN]
        versions = _VERSIONS.get(row["protocol"])
        if versions is not None:
            tests.append(Test("version", versions))
        rule = Rule(tests, Verdict.STOP, name=row["what"], remove=row["remove"])
        name, devices = str(row["side"]), [str(row["dev"])]
        base = BaseChain(name, name, device=devices[0], family="netdev", devices=devices)
        where = f"traffic control of {row['dev']}"
        yield Chains(where, [base], {name: [rule]}, {name})
