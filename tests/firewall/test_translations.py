"""Which connections end with a rule for certain, by the other rules."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from snnet.contract import (
    Add,
    Change,
    IPAddress,
    Masquerade,
    Noun,
    Operation,
    PortForward,
    PublicIp,
    Remove,
)
from snnet.firewall.translations import Translations
from snnet.system.conntrack import Match, Sweep

HOST, PUBLIC = IPv4Address("203.0.113.1"), IPv4Address("203.0.113.9")
GUEST, OTHER = IPv4Address("10.1.0.9"), IPv4Address("10.1.0.10")

FORWARD = PortForward(
    owner="cnci:c-1", protocol="udp", device="eth0", port=53, target=GUEST, target_port=5353
)
OWN = PublicIp(owner="cnci:c-1", public=PUBLIC, internal=GUEST, device="eth0")
NAT = Masquerade(owner="cnci:c-1", device="eth0")
OF_FORWARD = [Sweep(Match("udp", None, 53, reply_source=GUEST), target_translated=True)]
OF_OWN = [
    Sweep(Match(original_destination=PUBLIC, reply_source=GUEST)),
    Sweep(Match(original_source=GUEST, reply_destination=PUBLIC)),
]
OF_NEW = [
    Sweep(Match(original_destination=PUBLIC)),
    Sweep(Match(original_source=GUEST), target_translated=False, source_translated=True),
]


class Place:
    """A host with these addresses on eth0."""

    def __init__(self, *addresses: IPAddress) -> None:
        self._addresses = addresses

    def first_address(self, device: str) -> IPAddress:
        return self._addresses[0]

    def is_local(self, address: IPAddress) -> bool:
        return address in self._addresses


def sweeps(
    operation: Operation, *others: Noun, place: Place | None = None, epoch: object = 1
) -> object:
    """What ends with the operation on a host with these other rules, known in epoch 1."""
    translations = Translations()
    before = [operation.noun] if isinstance(operation, Remove) else []
    translations.learn(1, [*before, *others])
    translations.follow([operation])
    return translations.sweeps(epoch, operation, place or Place(HOST))  # type: ignore[arg-type]


def test_all_connections_of_the_only_rule_that_leads_to_a_guest_end_with_it() -> None:
    assert sweeps(Remove(FORWARD)) == OF_FORWARD
    assert sweeps(Remove(OWN)) == OF_OWN
    assert sweeps(Add(OWN)) == OF_NEW


@pytest.mark.parametrize(
    "other",
    [
        replace(FORWARD, device="eth1"),
        replace(FORWARD, address=HOST),
        replace(FORWARD, owner="cnci:c-2", target_port=53, device="eth1"),
        OWN,
    ],
    ids=str,
)
def test_where_another_rule_leads_there_connections_are_looked_at(other: Noun) -> None:
    assert sweeps(Remove(FORWARD), other) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(FORWARD, port=54),
        replace(FORWARD, protocol="tcp"),
        replace(FORWARD, device="eth1", target=OTHER),
        replace(OWN, internal=OTHER),
    ],
    ids=str,
)
def test_other_rules_do_not_matter(other: Noun) -> None:
    assert sweeps(Remove(FORWARD), other) == OF_FORWARD


@pytest.mark.parametrize("change", [Add(OWN), Remove(OWN)], ids=str)
@pytest.mark.parametrize("other", [FORWARD, replace(OWN, public=HOST)], ids=str)
def test_a_guest_that_others_lead_to_has_its_connections_looked_at(
    change: Operation, other: Noun
) -> None:
    assert sweeps(change, other) is None


def test_a_new_public_address_takes_what_forwards_had_of_it() -> None:
    assert sweeps(Add(OWN), replace(FORWARD, target=OTHER)) == OF_NEW


def test_what_continues_with_a_new_public_address_is_looked_for() -> None:
    assert sweeps(Add(OWN), NAT) == OF_NEW
    assert sweeps(Add(OWN), NAT, replace(NAT, device="eth1")) is None


def test_what_may_have_been_masqueraded_with_a_public_address_is_looked_at() -> None:
    assert sweeps(Add(OWN), place=Place(PUBLIC)) is None
    assert sweeps(Add(OWN), place=Place(HOST, PUBLIC)) == OF_NEW
    assert sweeps(Remove(OWN), place=Place(HOST, PUBLIC)) is None


def test_nothing_is_certain_once_others_changed_rules() -> None:
    assert sweeps(Remove(FORWARD), epoch=2) is None
    assert sweeps(Remove(FORWARD), epoch=None) is None
    translations = Translations()
    translations.learn(1, [FORWARD])
    translations.follow([Change(FORWARD, replace(FORWARD, target=OTHER))])
    assert translations.sweeps(1, Remove(FORWARD), Place(HOST)) is None  # type: ignore[arg-type]


def test_ipv6_is_left_to_a_list() -> None:
    assert sweeps(Remove(replace(FORWARD, target=IPv6Address("fd00::9")))) is None


def test_what_was_added_since_counts_and_what_was_removed_does_not() -> None:
    translations, second = Translations(), replace(FORWARD, device="eth1")
    translations.learn(1, [])
    translations.follow([Add(FORWARD), Add(second)])
    translations.follow([Remove(FORWARD)])
    assert translations.sweeps(1, Remove(FORWARD), Place(HOST)) is None  # type: ignore[arg-type]
    translations.follow([Remove(second)])
    found = translations.sweeps(1, Remove(second), Place(HOST))  # type: ignore[arg-type]
    assert found == OF_FORWARD
