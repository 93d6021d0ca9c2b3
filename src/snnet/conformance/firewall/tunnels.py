"""Who may send to a tunnel of the host."""

from __future__ import annotations

from snnet.conformance.endpoints import EXT0, EXT1, FAR, HUB, OUT, PORT, Endpoint
from snnet.conformance.rig import Answer, Rig
from snnet.contract import TunnelGuard

from .base import FirewallTests, add, answer, passes, remove, silent, stopped

KEY = 77


def _guard(rig: Rig, peer: Endpoint = FAR, link: str = "tun0", key: int = KEY) -> TunnelGuard:
    return TunnelGuard(
        owner=rig.owner, link=link, protocol="udp", port=PORT, tunnel_key=key, remote=peer.ip
    )


def _gre(rig: Rig, peer: Endpoint, link: str = "gre0", key: int = KEY) -> TunnelGuard:
    return TunnelGuard(
        owner=rig.owner, link=link, protocol="gre", port=0, tunnel_key=key, remote=peer.ip
    )


class TunnelTests(FirewallTests):
    def test_only_the_remote_reaches_a_tunnels_port(self, rig: Rig) -> None:
        """Whoever else sends there is dropped, by whichever of the host's addresses."""
        guard = _guard(rig)
        assert answer(rig, OUT, EXT0.address.ip, "udp") == Answer(HUB, OUT.ip)
        add(rig, guard)
        assert silent(rig, OUT, EXT0.address.ip, "udp")
        assert silent(rig, OUT, EXT1.address.ip, "udp")
        assert answer(rig, FAR, EXT1.address.ip, "udp") == Answer(HUB, FAR.ip)
        remove(rig, guard)
        assert answer(rig, OUT, EXT0.address.ip, "udp") == Answer(HUB, OUT.ip)

    def test_other_protocols_and_ports_are_left_alone(self, rig: Rig) -> None:
        """A port that no tunnel uses is not the guard's business."""
        add(rig, _guard(rig))
        assert answer(rig, OUT, EXT0.address.ip, "tcp") == Answer(HUB, OUT.ip)
        assert passes(rig.ping, OUT, EXT0.address.ip)

    def test_a_tunnel_has_several_remotes(self, rig: Rig) -> None:
        """A mesh has a guard for each peer."""
        one, other = _guard(rig, FAR), _guard(rig, OUT)
        add(rig, one, other)
        assert answer(rig, OUT, EXT0.address.ip, "udp") == Answer(HUB, OUT.ip)
        assert answer(rig, FAR, EXT1.address.ip, "udp") == Answer(HUB, FAR.ip)
        remove(rig, other)
        assert silent(rig, OUT, EXT0.address.ip, "udp")
        assert answer(rig, FAR, EXT1.address.ip, "udp") == Answer(HUB, FAR.ip)

    def test_tunnels_share_a_port_and_a_remote(self, rig: Rig) -> None:
        """What one guard guards stays guarded when another with the same port goes."""
        one, other = _guard(rig), _guard(rig, link="tun1", key=KEY + 1)
        add(rig, one, other)
        remove(rig, one)
        assert silent(rig, OUT, EXT0.address.ip, "udp")
        assert answer(rig, FAR, EXT1.address.ip, "udp") == Answer(HUB, FAR.ip)
        remove(rig, other)
        assert answer(rig, OUT, EXT0.address.ip, "udp") == Answer(HUB, OUT.ip)

    def test_gre_is_matched_by_its_key(self, rig: Rig) -> None:
        """Of gre only packets with the key of a guard are looked at."""
        guard = _gre(rig, FAR)
        assert passes(rig.gre, OUT, KEY)
        add(rig, guard)
        assert passes(rig.gre, FAR, KEY)
        assert stopped(rig.gre, OUT, KEY)
        assert passes(rig.gre, OUT, KEY + 1)
        remove(rig, guard)
        assert passes(rig.gre, OUT, KEY)
