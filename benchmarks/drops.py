"""What counting drops costs a frame of a guest: one that passes, and one that is dropped."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import snnet
from snnet.system.process import run as run_process

from .fake import config
from .timing import Result, median, seconds

FRAMES, ROUNDS = 20_000, 9
TABLE = "bridge snnet-cn-cn-1"


def run() -> Iterator[Result]:
    """Run it in the namespace of the process, which has an uplink in 192.0.2.0/24.

    Rounds with the counting rule and without it take turns.
    """
    with snnet.ComputeNode("cn-1", config(tunnel="vxlan", anti_spoofing=True)) as node:
        node.init()
        made = node.create_vnic(
            snnet.VnicConfig(
                role=snnet.VnicRole.TENANT_CONTAINER, tenant_id="t", subnet_id="s", vnic_id="v",
                instance_id="i", concentrator_id="c1", concentrator_ip="192.0.2.10",
                subnet="10.1.0.0/24", subnet_key=1, ip="10.1.0.7",
            )
        ).vnic  # fmt: skip
        peer = str(made.peer_name)
        run_process(["ip", "link", "set", peer, "addrgenmode", "none", "up"])
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((peer, 0))
            for what, address in (("that passes", "10.1.0.7"), ("that is dropped", "10.1.0.8")):
                yield from _compare(what, raw, _frame(made.mac, address))
        dropped = sum(one.packets for one in node.drivers.firewall.dropped())
        if dropped != FRAMES * ROUNDS:
            raise RuntimeError(f"{dropped} frames were dropped, not {FRAMES * ROUNDS}")
        node.reset_network()


def _compare(what: str, raw: socket.socket, frame: bytes) -> Iterator[Result]:
    def burst() -> None:
        for _ in range(FRAMES):
            raw.send(frame)

    counted, plain = [], []
    for _ in range(ROUNDS):
        _count(True)
        counted.append(seconds(burst))
        _count(False)
        plain.append(seconds(burst))
    _count(True)
    yield Result(f"drops: a frame {what}", median(counted) / FRAMES * 1e6, "us")
    ratios = [one / other for one, other in zip(counted, plain, strict=True)]
    yield Result(f"drops: a frame {what}, counting / not", median(ratios), "times", 1.1)


def _count(counting: bool) -> None:
    rule = "add @drop-address { iifname timeout 1d counter }"
    lines = [f"flush chain {TABLE} drop-address"]
    lines += [f"add rule {TABLE} drop-address {rule}"] if counting else []
    lines += [f"add rule {TABLE} drop-address drop"]
    run_process(["nft", "-f", "-"], input="\n".join(lines) + "\n")


def _frame(mac: str, source: str) -> bytes:
    """A UDP packet from this address to another guest; the checksum is not looked at."""
    ethernet = bytes.fromhex("020000000001") + bytes.fromhex(mac.replace(":", "")) + b"\x08\x00"
    head = bytes.fromhex("4500001c0001000040110000")
    addresses = socket.inet_aton(source) + socket.inet_aton("10.1.0.9")
    return ethernet + head + addresses + bytes.fromhex("03e803e800080000")
