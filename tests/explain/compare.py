"""The judge: what ``explain`` says of random pairs, and what the wire shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from snnet.explain.places import find, find_target
from snnet.explain.question import DROPPED, LEFT, REACHED, UNKNOWN, Asker, Explanation, Question
from snnet.explain.world import World
from tests.differential.dice import Dice, Seeded

from .hosts import FORWARDED, HOST, OPEN, OUTSIDE, Host
from .others import Others
from .wire import Wire

_PATIENCE, _SURE = 0.4, (1.2, 3.0)


@dataclass
class Tally:
    """How many pairs ended how."""

    pairs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    unnamed: int = 0
    different: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return f"{self.pairs} pairs: {shares}; {len(self.different)} disagreements"


@dataclass(frozen=True)
class Pair:
    source: str
    """A place of the wire."""
    target: str
    protocol: str | None
    port: int | None

    def __str__(self) -> str:
        what = f"{self.protocol}/{self.port}" if self.protocol else "ping"
        return f"{what} from {self.source} to {self.target}"


def draw(dice: Dice, host: Host) -> Pair:
    """Somebody who asks, and an address that may be somebody's."""
    version = dice.pick([0, 1])
    source = dice.pick([*(guest.link for guest in host.guests)] * 2 + ["host", "outside"])
    targets = [guest.addresses[version] for guest in host.guests] * 2
    targets += [HOST[version], OUTSIDE[version], ("10.1.0.77", "fd00:1::77")[version]]
    target = dice.pick(targets)
    protocol = dice.pick([None, "tcp", "udp"])
    port = OPEN if protocol else None
    if protocol and target == HOST[version]:  # guests are taken to listen on every port
        port = dice.pick([OPEN, OPEN + 1, FORWARDED, FORWARDED, FORWARDED + 1])
    return Pair(source, target, protocol, port)


def compare(host: Host, wire: Wire, seed: int, pairs: int, tally: Tally) -> None:
    """Have others do something, and ask about so many pairs."""
    dice = Seeded(seed)
    others = Others(host, dice)
    try:
        others.act()
        asker = Asker(World(host.snapshot()))
        for _ in range(pairs):
            pair = draw(dice, host)
            said = ask(asker, pair)
            shown = _shown(wire, pair, said)
            tally.pairs += 1
            tally.outcomes[said.outcome] = tally.outcomes.get(said.outcome, 0) + 1
            wrong = {
                REACHED: not shown,
                LEFT: not shown and pair.target in OUTSIDE,
                DROPPED: shown,
                UNKNOWN: not said.doubts,
            }[said.outcome]
            if wrong:
                lines = [f"seed {seed}: {pair}: {said.outcome}, and the wire: {shown}"]
                lines += [f"    {line}" for line in (*others.done, said.why)]
                lines += [f"      {hop.host} {hop.link}: {hop.what}" for hop in said.hops]
                tally.different.append("\n".join(lines))
    finally:
        others.undo()


def ask(asker: Asker, pair: Pair) -> Explanation:
    world = asker.world
    source = {"host": HOST, "outside": OUTSIDE}.get(pair.source, (pair.source, pair.source))
    version = ip_address(pair.target).version
    question = Question(
        source[0 if version == 4 else 1], pair.target,
        protocol=pair.protocol, port=pair.port, version=version,
    )  # fmt: skip
    one = find(world, question.source, None)
    return asker.ask(question, one, find_target(world, question.target, None))


def _shown(wire: Wire, pair: Pair, said: Explanation) -> bool:
    """What the wire shows; where an answer is expected, more patiently."""
    expected = said.outcome in (REACHED, LEFT)
    for patience in (_PATIENCE, *(_SURE if expected else ())):
        wire.forget()
        if wire.reaches(pair.source, pair.target, pair.protocol, pair.port, patience):
            return True
    return False
