"""What the chains of others do with a packet, as far as it can be told.

Every rule is asked whether it matches: yes, no, or unknown.  Where it is unknown, both ways
are followed.  If all ways lose the packet it is lost; if some do, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from snnet.backends.fake.fabric.others import ARP, BRIDGE, IP, NETDEV, UNKNOWN, Marks, Seen, Verdict
from snnet.firewall.others.look import tables
from snnet.firewall.others.stops import BaseChain, Chains, Rule, accepting
from snnet.firewall.others.stops import Verdict as Does

from . import ipsec, queueing
from .matching import answer

OURS = "SNNET-"
"""How chains of snnet in tables of others begin."""

_LAYERS = {"ip": IP, "ip6": IP, "inet": IP, "bridge": BRIDGE, "arp": ARP, "netdev": NETDEV}
_DEPTH = 64
"""nft allows 16 jumps (NFT_JUMP_STACK_SIZE), iptables as many as there are chains."""


class Blame(NamedTuple):
    """A rule or a policy of somebody else: what it is, and the command against it.

    A rule is removed.  A policy stays, as it protects more than the packets that are asked
    about: a rule before it lets through what takes the same way.
    """

    what: str
    fix: str


class _End(NamedTuple):
    """A way that a packet may take through a chain ends here.

    ``because`` is the rule that may or may not have led here; None: it certainly does.
    """

    does: Does
    blame: Blame | None
    because: Blame | None = None


_PASSES = _End(Does.ACCEPT, None)


class HostChains:
    """The chains of others in one network namespace; see ``Others`` of the fabric."""

    def __init__(self, gathered: Mapping[str, Any]) -> None:
        self._unread: list[str] = list(gathered.get("unread", ()))
        self._at: dict[tuple[str, str], list[tuple[Chains, BaseChain]]] = {}
        found = tables(gathered) if gathered else []
        found += queueing.chains(gathered.get("traffic", ()))
        found += ipsec.chains(gathered.get("ipsec", ()))
        for table in found:
            for base in table.base:
                layer = NETDEV if base.devices else _LAYERS[base.family]
                self._at.setdefault((layer, base.hook), []).append((table, base))
        for at in self._at.values():
            at.sort(key=lambda pair: pair[1].priority)

    def judge(
        self, seen: Seen, above: int | None, below: int | None
    ) -> tuple[Verdict | None, Marks]:
        """See ``Others.judge``."""
        doubt = None
        # Rules of snnet mark what comes back to the guests by a forward.
        marks = list(UNKNOWN if seen.redirected else seen.marks)
        for table, base in self._at.get((seen.layer, seen.hook), ()):
            outside = (above is not None and base.priority <= above) or (
                below is not None and base.priority > below
            )
            if outside or not _meets(base, seen):
                continue
            for number, one in enumerate(_packets(seen, base)):
                walk = _Walk(table, base, replace(one, marks=(marks[number],)))
                verdict = _verdict(walk.ends())
                marks[number] = walk.mark
                if verdict is not None and verdict.lost:
                    return verdict, tuple(marks)
                doubt = doubt or verdict
        if self._unread and doubt is None and seen.layer == IP and above is None:
            what = f"the rules of others cannot be read: {'; '.join(self._unread)}"
            doubt = Verdict(False, what, Blame(what, ""))
        return doubt, tuple(marks)

    def bypassed(self, seen: Seen) -> bool | None:
        """See ``Others.bypassed``: whether a chain accepts it before it enters snnet's."""
        for table, base in self._at.get((seen.layer, seen.hook), ()):
            if base.priority != 0 or not _meets(base, seen) or not _has_ours(table, base.name):
                continue
            ends = list(_Walk(table, base, _at_priority(seen, base), until_ours=True).ends())
            over = [end is not _REACHED and end.does is Does.ACCEPT for end in ends]
            if all(over):
                return True
            if any(over):
                return None
        return False


_REACHED = _End(Does.RETURN, None)
"""The packet comes to the rules of snnet."""


def _accepting(where: str, base: BaseChain, seen: Seen) -> str:
    """Return the command that lets what comes and goes by these links through the chain."""
    options, matches = [], []
    if seen.came and base.hook not in ("output", "postrouting"):
        options.append(f"-i {seen.came}")
        matches.append(f"iifname {seen.came}")
    if seen.goes and base.hook in ("forward", "output", "postrouting"):
        options.append(f"-o {seen.goes}")
        matches.append(f"oifname {seen.goes}")
    return accepting(where, base, options, matches)


def _has_ours(table: Chains, chain: str) -> bool:
    return any((rule.target or "").startswith(OURS) for rule in table.rules.get(chain, ()))


def _meets(base: BaseChain, seen: Seen) -> bool:
    """Whether the chain sees such packets at all."""
    if base.devices and (seen.came or seen.goes) not in base.devices:
        return False
    if base.translates and not seen.opens:
        return False  # only the first packet of a connection is looked up (nf_nat_inet_fn)
    return seen.version in base.versions or _LAYERS[base.family] not in (IP, ARP)


def _packets(seen: Seen, base: BaseChain) -> Iterator[Seen]:
    """Yield the packet, and those that follow it in its direction, as the chain sees them."""
    yield _at_priority(seen, base)
    if seen.protocol == "tcp" and not base.translates:
        later = seen.state in ("new", "established")
        state = "established" if later else seen.state
        for flags in ({"ack"}, {"ack", "psh"}):
            follows = replace(seen, state=state, opens=False, flags=frozenset(flags))
            yield _at_priority(follows, base)


def _at_priority(seen: Seen, base: BaseChain) -> Seen:
    """Before conntrack has seen a packet, it belongs to no connection (nft_ct_get_eval)."""
    if seen.layer == IP and base.priority <= _CONNTRACK:
        return replace(seen, state="invalid", redirected=False)
    return seen


_CONNTRACK = -200  # NF_IP_PRI_CONNTRACK, linux/netfilter_ipv4.h


def _verdict(ends: Iterable[_End]) -> Verdict | None:
    found = list(ends)
    lost = [end for end in found if end.does is Does.STOP]
    strange = [end for end in found if end.does in (Does.AWAY, Does.UNKNOWN)]
    if not lost and not strange:
        return None
    if len(lost) == len(found):
        blame = lost[0].blame
        assert blame is not None
        return Verdict(True, blame.what, blame)
    end = (lost or strange)[0]
    blame = end.because or end.blame
    assert blame is not None
    why = "may match" if end.because else "changes the packet"
    return Verdict(False, f"{blame.what} ({why})", blame)


class _Walk:
    """A packet's ways through one base chain."""

    def __init__(
        self, table: Chains, base: BaseChain, seen: Seen, *, until_ours: bool = False
    ) -> None:
        self._table = table
        self._base = base
        self._seen = seen
        self._until_ours = until_ours
        self.mark = seen.marks[0]
        """The mark that it has by now, at last when it has passed."""
        self._passed: list[int | None] = []

    def ends(self) -> list[_End]:
        """Return all ends that are possible, at least one."""
        ends, falls = self._chain(self._base.name, 0)
        self._set([*self._passed, *([self.mark] if falls else [])])
        if falls and self._base.stops:
            what = f"{self._table.where}, chain {self._base.name}: its policy"
            accept = _accepting(self._table.where, self._base, self._seen)
            ends.append(_End(Does.STOP, Blame(what, accept)))
        elif falls:
            ends.append(_PASSES)
        return ends

    def _set(self, marks: Sequence[int | None]) -> None:
        """Have the mark that it has on all ways; where they differ it is not known."""
        if marks:
            self.mark = marks[0] if len(set(marks)) == 1 else None
            self._seen = replace(self._seen, marks=(self.mark,))

    def _chain(self, name: str, depth: int) -> tuple[list[_End], bool]:
        """Return where the packet may end in the chain, and whether it may come out of it."""
        ends: list[_End] = []
        back: list[int | None] = []
        returns = depth > _DEPTH
        for rule in () if returns else self._table.rules.get(name, ()):
            answers = [answer(test, self._seen, self._base) for test in rule.tests]
            if False in answers:
                continue
            certain = None not in answers
            blame = Blame(f"{self._table.where}, chain {name}: {rule.name}", rule.remove)
            because = None if certain else blame
            before = self.mark
            if rule.marking is not None:
                self._set([rule.marking.of(before)])
            if self._until_ours and (rule.target or "").startswith(OURS):
                return [*ends, _REACHED], returns
            if rule.changes and not name.startswith(OURS):
                ends.append(_End(Does.UNKNOWN, blame, because))
            more, falls = self._rule(rule, blame, depth)
            ends += [end._replace(because=end.because or because) for end in more]
            if (rule.goto and falls) or rule.verdict is Does.RETURN:
                returns, falls = True, False
                back.append(self.mark)
            if certain and not falls:
                self._set(back)
                return _own(name, self._base, ends), returns
            if not certain:
                self._set([before, self.mark])
        self._set([*back, self.mark])
        return _own(name, self._base, ends), True

    def _rule(self, rule: Rule, blame: Blame, depth: int) -> tuple[list[_End], bool]:
        """Return where a packet that matches may end, and whether it goes on to the next rule."""
        if rule.target is not None and rule.target in self._table.names:
            return self._chain(rule.target, depth + 1)
        if rule.target is not None:  # not a chain, but a target that is not known
            return [_End(Does.UNKNOWN, blame)], True
        if rule.verdict is Does.CONTINUE:
            return [], True
        if rule.verdict is Does.RETURN:
            return [], False
        if rule.verdict is not Does.STOP:
            self._passed.append(self.mark)
        return [_End(rule.verdict, blame)], False


def _own(chain: str, base: BaseChain, ends: Sequence[_End]) -> list[_End]:
    """In chains of snnet: where a packet ends for others.

    What its rules let through or translate, the fabric does itself.  What they certainly drop
    is lost, also where somebody moved the rules, so that snnet no longer counts on them.
    """
    if not chain.startswith(OURS):
        return list(ends)
    told = base.family in ("ip", "ip6")
    return [
        end if told and end.does is Does.STOP and end.because is None else _PASSES for end in ends
    ]
