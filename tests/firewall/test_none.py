"""The firewall driver that sets nothing."""

from __future__ import annotations

import pytest

from snnet.contract import Add, BridgeAccept, ExternalForward, Operation, Remove, Unsupported
from snnet.firewall.none import NoFirewall
from snnet.system.host import RealHost

_ACCEPT = BridgeAccept(bridge="br0")
_FORWARD = ExternalForward(device="eth0", bridge="br0")


@pytest.fixture
def firewall() -> NoFirewall:
    return NoFirewall(RealHost.__new__(RealHost))


def test_says_what_to_choose_for_every_rule(firewall: NoFirewall) -> None:
    for noun in (_ACCEPT, _FORWARD):
        assert type(noun) in firewall.carries
        assert "choose firewall='nftables' or 'iptables'" in (firewall.missing(noun) or "")


def test_finds_nothing(firewall: NoFirewall) -> None:
    assert firewall.snapshot() == {}
    assert firewall.find(_FORWARD) is None
    assert firewall.dump() == ""


def test_applies_nothing(firewall: NoFirewall) -> None:
    operations: list[Operation] = [Add(_FORWARD), Remove(_ACCEPT)]
    outcome = firewall.apply(operations)
    assert outcome.done == set()
    assert list(outcome.errors) == [0]
    assert isinstance(outcome.error, Unsupported)
    assert list(firewall.apply(operations, keep_going=True).errors) == [0, 1]
    assert firewall.apply([]).error is None


def test_has_no_events(firewall: NoFirewall) -> None:
    with pytest.raises(Unsupported):
        firewall.watch()
    firewall.close()
    firewall.close()


def test_nothing_that_it_has_set_ever_changes(firewall: NoFirewall) -> None:
    assert firewall.epoch() is not None
    assert firewall.epoch() == firewall.epoch()
