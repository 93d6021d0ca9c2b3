"""IPv6 in topology "local": out as the host, in by its ports, beside IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import snnet
from snnet.core.concentrators import build_concentrator
from snnet.core.local_requests import local_concentrator
from tests.pings import pings

from .test_local import HOST, OneHost, config
from .test_local_public import DUAL, OUTSIDE, OUTSIDE6, SERVER6, Real

HOST6 = "2001:db8::11"
ONLY6 = snnet.LocalSubnet(subnet_id="web", subnet="fd00:1::/64", subnet_key=7)


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    yield host
    host.close()


def doors(one: OneHost, *forwards: snnet.HostForward, **changes: Any) -> list[str]:
    """The host's ports for a concentrator with these forwards."""
    made = one.cn.set_concentrator(config(forwards=forwards, **{"subnets": [DUAL], **changes}))
    return sorted(str(rule).partition(" on eth0 ")[2] for rule in made.forwards)


def test_a_port_of_the_host_leads_on_by_each_family_of_the_subnets(one: OneHost) -> None:
    forward = snnet.HostForward(protocol="tcp", port=33022)
    found = doors(one, forward)
    assert [text.startswith("to [fd73:6e6e:6574::a9fe:") for text in found] == [False, True]
    assert one.cn.verify() == []


def test_of_ipv4_alone_there_is_one_way_in(one: OneHost) -> None:
    (found,) = doors(one, snnet.HostForward(protocol="tcp", port=33022), subnets=config().subnets)
    assert found.startswith("to 169.254.")


@pytest.mark.parametrize(
    ("sources", "families"),
    [
        (("198.51.100.0/24",), ["to 169.254"]),
        (("2001:db8::/32",), ["to [fd73"]),
        (("198.51.100.0/24", "2001:db8::/32"), ["to 169.254", "to [fd73"]),
    ],
)
def test_sources_say_by_which_family(
    one: OneHost, sources: tuple[str, ...], families: list[str]
) -> None:
    """Nobody else may come by the family that no source has."""
    found = doors(one, snnet.HostForward(protocol="tcp", port=33022, sources=sources))
    assert [text[: len(start)] for text, start in zip(found, families, strict=True)] == families
    assert all(any(source in text for source in sources) for text in found)


@pytest.mark.parametrize(
    ("given", "field"),
    [({"sources": ["2001:db8::/32"]}, "sources"), ({"address": HOST6}, "address")],
)
def test_without_an_ipv6_subnet_there_is_no_way_in_by_ipv6(
    one: OneHost, given: dict[str, Any], field: str
) -> None:
    before = one.kernel.to_text()
    with pytest.raises(snnet.InvalidRequest, match="has no IPv6 subnet") as refused:
        doors(one, snnet.HostForward(protocol="tcp", port=1, **given), subnets=config().subnets)
    assert refused.value.field == f"forwards[0].{field}"
    assert one.kernel.to_text() == before


def test_without_its_ipv6_subnet_a_concentrator_has_no_forwards_of_ipv6(one: OneHost) -> None:
    """A subnet that changes its key is unplugged first, and its forwards wait for it."""
    doors(one, snnet.HostForward(protocol="tcp", port=33022))
    request = local_concentrator(
        config(subnets=[DUAL], forwards=[snnet.HostForward(protocol="tcp", port=33022)]),
        one.cn.site,
    )
    (old,) = one.cn.topology().concentrators
    built = build_concentrator(
        one.cn.site, request, old.ip, netns=old.netns, link=old.link_name, plugs={}, addresses=()
    )
    assert built.ip6 is None
    assert [rule.target for rule in built.forwards] == [old.ip]
    other = replace(DUAL, subnet_key=9)
    done = one.cn.reconcile(
        concentrators=[
            config(subnets=[other], forwards=[snnet.HostForward(protocol="tcp", port=33022)])
        ]
    )
    assert [item.action for item in done.items] == ["updated"]
    (made,) = one.cn.topology().concentrators
    assert [rule.target for rule in made.forwards] == [made.ip, made.ip6]
    assert one.cn.verify() == []


@pytest.mark.parametrize("subnet", [DUAL, ONLY6])
def test_another_node_reads_it_back(one: OneHost, subnet: snnet.LocalSubnet) -> None:
    before = one.cn.set_concentrator(config(subnets=[subnet]))
    assert str(before.ip6).startswith("fd73:6e6e:6574::a9fe:")
    one.cn.close()
    one.cn = one.node()
    assert one.cn.topology().concentrators == (before,)
    assert one.cn.verify() == []


# -- on the kernel ------------------------------------------------------------------------


@pytest.fixture(params=["nftables", "iptables"])
def real(
    request: pytest.FixtureRequest, netns: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Real]:
    monkeypatch.setattr("tests.node.test_local_kernel._SERVER", SERVER6)
    real = Real(netns, request.param)
    try:
        yield real
    finally:
        real.close()


def serve(real: Real) -> snnet.Cnci:
    made = real.cn.set_concentrator(config(subnets=[DUAL]))
    cnci = real.cnci(made)
    result = cnci.reconcile(
        subnets=[snnet.Subnet(DUAL.networks, 7, link=made.links["web"])],
        nat=[{"device": made.uplink, "nat66": True}],
        exits=[(made.uplink, DUAL.networks)],
        forwards=[
            {
                "protocol": "tcp",
                "device": made.uplink,
                "port": 33022,
                "to": address,
                "to_port": 22,
            }
            for address in ("10.1.0.9", "fd00:1::9")
        ],
    )
    assert not result.failed, result.failed
    return cnci


@pytest.mark.kernel
def test_real_guests_go_out_and_are_reached_by_both_families(real: Real) -> None:
    cnci = serve(real)
    mine, second = real.dual_guest(9), real.dual_guest(10)

    def works() -> None:
        assert real.ask(mine, OUTSIDE6, 80) == f"outside {HOST6}"
        assert real.ask(mine, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
        assert pings(mine, OUTSIDE6, size=1452)
        assert real.ask(real.outside, HOST6, 33022) == f"acme-9 {OUTSIDE6}"
        assert real.ask(real.outside, HOST, 33022) == f"acme-9 ::ffff:{OUTSIDE}"
        assert real.ask(None, HOST6, 33022).startswith("acme-9")
        assert real.ask(second, HOST6, 33022).startswith("acme-9"), "from a guest beside it"
        assert real.ask(mine, HOST6, 33022).startswith("acme-9"), "from the guest itself"

    works()
    assert not pings(mine, HOST6, patience=1), "the host is out of reach but for its port"
    assert (real.cn.verify(), cnci.verify()) == ([], [])
    real.cn.close()
    real.cn = real.node()
    assert real.cn.verify() == []
    works()
    cnci.shutdown()
    cnci.close()
    real.cn.reset_network()
    assert real.text() == real.clean
