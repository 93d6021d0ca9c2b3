"""Rules that move from one firewall to another; test_firewall_changes.py has the real ones."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import Add, Key, Masquerade, Noun, Zone, ZoneLink, keyed
from snnet.node.migration import move_rules

OURS, OTHERS = "cn:cn-1", "cn:cn-2"


def rules(owner: str) -> list[Noun]:
    zones = [Zone(owner=owner, zone=name) for name in ("a", "b")]
    links = [ZoneLink(owner=owner, zone=zone.zone, link=f"{zone.zone}0") for zone in zones]
    return [*zones, *links, Masquerade(owner=owner, device="eth0")]


class Unordered(FakeFirewall):
    """What a driver finds has no order."""

    def snapshot(self, types: Iterable[type[Noun]] | None = None) -> dict[Key, Noun]:
        return dict(reversed(super().snapshot(types).items()))


def test_rules_move_or_both_firewalls_have_what_they_had() -> None:
    for at in count(1):
        kernels = snnet.FakeKernel(), snnet.FakeKernel()
        old, new = Unordered(kernels[0].host), FakeFirewall(kernels[1].host)
        for driver, there in ((old, rules(OURS) + rules(OTHERS)), (new, rules(OURS)[:1])):
            assert driver.apply([Add(noun) for noun in there]).error is None
        kernels[1].fail(at=at)
        try:
            moved = move_rules(OURS, old, new)
        except snnet.Exhausted:
            assert old.snapshot() == keyed(rules(OURS) + rules(OTHERS))
            assert new.snapshot() == keyed(rules(OURS)[:1]), at
            continue
        assert at == len(rules(OURS))
        assert keyed(moved) == new.snapshot() == keyed(rules(OURS))
        assert old.snapshot() == keyed(rules(OTHERS))
        return


def test_a_firewall_that_cannot_be_looked_at_has_no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(types: object = None) -> dict[Key, Noun]:
        raise snnet.Denied("not permitted")

    old, new = (FakeFirewall(snnet.FakeKernel().host) for _ in range(2))
    monkeypatch.setattr(old, "snapshot", refuse)
    assert move_rules(OURS, old, new) == []
