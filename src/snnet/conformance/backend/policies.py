"""Routing tables of snnet, and the rules that choose them by the source."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from snnet.contract import Add, Bridge, Exists, Missing, PolicyRule, Remove
from snnet.contract.network import MAIN_TABLE, OWN_TABLES

from .base import BackendTests, is_gone, is_there, link
from .nouns import route
from .place import Place
from .steps import add, do, need, refused, remove

TABLE = OWN_TABLES[7]
_OWN = {
    4: route("0.0.0.0/0", "192.0.2.9", table=TABLE),
    6: route("2001:db8:9::/64", table=TABLE),
}
_RULES = {
    version: PolicyRule(source=ip_network(source), table=TABLE, priority=20001)
    for version, source in ((4, "10.1.0.9/32"), (6, "fd00:1::/64"))
}


class PolicyTests(BackendTests):
    """A driver that does not carry ``PolicyRule`` needs no tables but the main one either."""

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_route_of_an_own_table_is_beside_that_of_the_main_one(
        self, place: Place, version: int
    ) -> None:
        """Each is found, and removed without the other."""
        need(place, _RULES[version])
        own = _OWN[version]
        main = replace(own, table=MAIN_TABLE)
        add(place, own, main)
        assert is_there(place, own)
        assert is_there(place, main)
        assert refused(place, Add(own)) is Exists
        remove(place, own)
        assert is_gone(place, own)
        assert is_there(place, main)
        assert refused(place, Remove(own)) is Missing

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_rule_is_added_found_and_removed(self, place: Place, version: int) -> None:
        """``Add`` is strict, and so is ``Remove``."""
        rule = _RULES[version]
        need(place, rule)
        first = replace(rule, table=MAIN_TABLE, priority=20000, specific=True)
        add(place, rule, first)
        assert is_there(place, rule)
        assert is_there(place, first)
        assert refused(place, Add(rule)) is Exists
        assert refused(place, Add(first)) is Exists
        remove(place, first)
        assert is_gone(place, first)
        assert is_there(place, rule)
        assert refused(place, Remove(first)) is Missing
        assert refused(place, Remove(replace(rule, table=TABLE + 1))) is Missing
        remove(place, rule)
        assert not place.driver.snapshot([PolicyRule])

    def test_a_link_takes_its_routes_of_own_tables_along(self, place: Place) -> None:
        """As those of the main table."""
        need(place, _RULES[4])
        away = route("10.77.0.0/24", name="away", table=TABLE)
        add(place, Bridge(name="away"), away)
        assert is_there(place, away)
        do(place, Remove(link(place, Bridge, "away")))
        assert not any(noun.key == away.key for noun in place.driver.snapshot().values())
