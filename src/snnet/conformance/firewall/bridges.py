"""``BridgeAccept``: bridges whose ports reach only each other."""

from __future__ import annotations

from snnet.conformance.endpoints import A1, A2, B1, C1, EXT0, HUB, OUT, PORT
from snnet.conformance.rig import Answer, Rig
from snnet.contract import BridgeAccept

from .base import FirewallTests, add, answer, passes, remove, silent, stopped


class BridgeTests(FirewallTests):
    def test_ports_of_a_bridge_reach_each_other(self, rig: Rig) -> None:
        """Packets between the ports of a ``BridgeAccept`` bridge pass."""
        add(rig, BridgeAccept(owner=rig.owner, bridge="in-a"))
        assert stopped(rig.ping, A1, B1.ip)
        assert passes(rig.ping, A1, A2.ip)
        assert answer(rig, A2, A1.ip) == Answer(A1, A2.ip)
        assert passes(rig.ping, A1, A2.ip6)

    def test_nothing_is_routed_from_it_or_to_it(self, rig: Rig) -> None:
        """Other packets from or to such a bridge are dropped, of both families."""
        rule = BridgeAccept(owner=rig.owner, bridge="in-a")
        add(rig, rule)
        for source, target in ((A1, B1), (B1, A1), (A1, OUT), (OUT, A1)):
            assert stopped(rig.ping, source, target.ip)
        assert stopped(rig.ping, A1, B1.ip6)
        assert silent(rig, OUT, A1.ip, "udp", PORT)
        assert passes(rig.ping, B1, C1.ip)
        remove(rig, rule)
        assert passes(rig.ping, A1, B1.ip)

    def test_two_bridges_are_not_joined(self, rig: Rig) -> None:
        """Two such bridges do not reach each other."""
        add(rig, *(BridgeAccept(owner=rig.owner, bridge=name) for name in ("in-a", "in-b")))
        assert stopped(rig.ping, A1, B1.ip)
        assert passes(rig.ping, A1, A2.ip)

    def test_the_host_reaches_the_bridge(self, rig: Rig) -> None:
        """The host itself still reaches the bridge; ``HostIsolation`` is another rule."""
        add(rig, BridgeAccept(owner=rig.owner, bridge="in-a"))
        assert stopped(rig.ping, B1, A1.ip)
        assert passes(rig.ping, HUB, A1.ip)
        assert passes(rig.ping, A1, EXT0.address.ip)
