"""Across real hosts: what is said, what the wire shows, and the printed command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from snnet.explain.question import Explanation
from tests.sample import turns

from .wired import OUTSIDE, POOL, PUBLIC, Wired

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["nftables", "iptables"])
def wired(request: pytest.FixtureRequest, blind: None) -> Iterator[Wired]:
    with closing(furnished(Wired(request.param))) as made:
        yield made


@pytest.fixture
def meshed(blind: None) -> Iterator[Wired]:
    with closing(furnished(Wired("nftables", "mesh"))) as made:
        yield made


def furnished(made: Wired) -> Wired:
    """Guests of one tenant on two compute hosts, a forward and a public address."""
    try:
        cluster = made.cluster
        cluster.create_network("web", tenant="acme", subnet="10.1.0.0/24")
        for name, node in (("v1", made.near), ("v2", made.far)):
            cluster.create_vnic(name, tenant="acme", network="web", node=node, role="container")
        cluster.create_forward(
            tenant="acme", network="web", protocol="tcp", port=8080, to="v1", to_port=80
        )
        cluster.create_public_ip(PUBLIC, tenant="acme", to="v2")
        made.until_ready()
        for name in ("v1", "v2"):
            made.guest(name)
    except BaseException:
        made.close()
        raise
    return made


def dropped(wired: Wired, host: str, source: str = "v1", target: str = "v2") -> Explanation:
    """The packet is lost on this host, and no real ping arrives either."""
    found = wired.ask(source, target).explanation
    lines = "\n".join(f"{hop.host} {hop.link}: {hop.what}" for hop in found.hops)
    assert (found.outcome, found.host) == ("dropped", host), f"{found.why}\n{lines}"
    assert not wired.pings("v1", "10.1.0.3")
    return found


def healthy(wired: Wired) -> None:
    found = wired.ask("v1", "v2").explanation
    assert (found.outcome, found.why) == ("reached", "v2 of acme answers"), found
    assert wired.pings("v1", "10.1.0.3", patience=3)


def test_each_break_is_named_on_its_host(wired: Wired) -> None:
    healthy(wired)
    out = wired.ask("v1", OUTSIDE).explanation
    assert out.outcome == "left"
    assert any(f"SNAT to {POOL}" in hop.what for hop in out.hops), "by the concentrator"
    assert wired.pings("v1", OUTSIDE, patience=3)
    way_in = wired.ask(OUTSIDE, POOL, protocol="tcp", port=8080)
    assert (way_in.explanation.outcome, way_in.explanation.why) == ("reached", "v1 of acme answers")
    assert wired.ask(OUTSIDE, PUBLIC).explanation.why == "v2 of acme answers"
    assert wired.pings("outside", PUBLIC, patience=3)

    taken = turns(0)
    wanted = next(taken)
    for number, (host, commands, mend) in enumerate(breaks(wired)):
        if number != wanted:
            continue
        wanted = next(taken)
        for command in commands:
            wired.type(host, command)
        found = dropped(wired, host)
        mend(found)
        healthy(wired)

    wired.cluster.set_group("acme", "quiet", rules=["out"])
    wired.cluster.update_vnic("acme", "v2", groups=["quiet"])
    wired.until_ready()
    assert "snnet group update" in dropped(wired, wired.far).fix
    wired.cluster.update_vnic("acme", "v2", groups=[])
    wired.until_ready()
    healthy(wired)

    port = wired.agents[wired.far].node.site.port
    guarded = wired.ask(OUTSIDE, "192.0.2.12", protocol="udp", port=port).explanation
    assert (guarded.outcome, guarded.host) == ("dropped", wired.far)
    assert guarded.fix == "the sender is no peer of the tunnel: snnet host verify"

    wired.agents[wired.far].stop()
    told = wired.ask("v1", "v2")
    assert (told.explanation.outcome, told.explanation.host) == ("unknown", wired.far)
    assert told.hosts.silent[0].why == "its agent is not running"


Break = tuple[str, list[str], Callable[[Explanation], object]]


POLICY = [
    "nft add table inet at-policy",
    "nft add chain inet at-policy one { type filter hook forward priority 0 ; policy drop ; }",
]


def breaks(wired: Wired) -> Iterator[Break]:
    """The host, what somebody types there, and what mends it: mostly the command that is said."""
    far = wired.agents[wired.far].node
    (subnet,) = far.topology().subnets
    link = far.topology().vnics[0].link_name
    inside = f"ip netns exec {wired.concentrator} "
    assert subnet.tunnel is not None

    def as_said(found: Explanation) -> None:
        wired.type(found.host, found.fix)

    def both_ways(found: Explanation) -> None:
        as_said(found)
        as_said(dropped(wired, found.host))

    yield wired.far, [f"ip link set {link} down"], as_said
    yield wired.network, ["sysctl -w net.ipv4.ip_forward=0"], as_said
    for hook, space in (("forward", ""), ("input", inside)):
        theirs = [
            f"{space}nft add table inet at-{hook}",
            f"{space}nft add chain inet at-{hook} one {{ type filter hook {hook} priority 0 ; }}",
            f"{space}nft add rule inet at-{hook} one udp dport 16384-32767 drop",
        ]
        yield wired.network, theirs, as_said
    yield wired.network, POLICY, both_ways
    yield wired.far, ["iptables-nft -I INPUT -p udp -s 192.0.2.200 -j DROP"], as_said
    yield wired.far, [f"ip link delete {subnet.tunnel.name}"], lambda _: far.repair()
    cnci = wired.agents[wired.network]._network.running["acme"]
    tunnel = cnci.topology().subnets[0].tunnels[far.compute_ip]
    yield wired.network, [f"{inside}ip link delete {tunnel.name}"], lambda _: cnci.repair()


def test_a_mesh(meshed: Wired) -> None:
    """One hop between guests; what breaks it is named on its host."""
    near, far = (meshed.agents[name].node for name in (meshed.near, meshed.far))
    healthy(meshed)
    passed = {hop.host.partition("/")[0] for hop in meshed.ask("v1", "v2").explanation.hops}
    assert passed == {"v1 of acme", meshed.near, meshed.far, "v2 of acme"}
    assert meshed.ask("v1", OUTSIDE).explanation.outcome == "left"
    assert meshed.pings("v1", OUTSIDE, patience=3)
    address = str(meshed.agents[meshed.network].node.compute_ip)
    told = meshed.ask(OUTSIDE, address, protocol="tcp", port=8080)
    assert (told.explanation.outcome, told.explanation.why) == ("reached", "v1 of acme answers")
    assert meshed.ask(OUTSIDE, PUBLIC).explanation.why == "v2 of acme answers"
    assert meshed.pings("outside", PUBLIC, patience=3)

    (here,), (there,) = near.topology().subnets, far.topology().subnets
    assert here.tunnel is not None
    assert there.tunnel is not None
    port = meshed.agents[meshed.far].node.site.port
    mac = meshed.cluster.get_vnic("acme", "v2").guest_mac
    meshed.type(meshed.far, f"ip link set {there.tunnel.name} down")
    meshed.type(meshed.far, dropped(meshed, meshed.far).fix)
    healthy(meshed)
    meshed.type(meshed.far, f"iptables-nft -I INPUT -p udp --dport {port} -j DROP")
    meshed.type(meshed.far, dropped(meshed, meshed.far).fix)
    healthy(meshed)
    entry = f"bridge fdb replace {mac} dev {here.tunnel.name} dst {address} self"
    meshed.type(meshed.near, entry)
    assert dropped(meshed, meshed.network).fix.startswith("it came to the wrong host")
    assert near.repair().healed
    healthy(meshed)
