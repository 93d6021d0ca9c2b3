"""Pictures of data centres of any size."""

from __future__ import annotations

from snnet.drawing.picture import CONCENTRATOR, Bridge, Host, Nic, Picture, Tunnel, joined


def data_centre(hosts: int, tenants: int = 3, nics: int = 4) -> Picture:
    """Hosts with a network of each of up to three tenants, and so many VNICs on each."""
    names = [f"tenant-{number}" for number in range(tenants)]
    cards = [
        Host(
            f"concentrator {name}", name, CONCENTRATOR, (f"192.0.2.{200 + number % 50}",),
            (Bridge(f"concentrator {name}/web", name, "web", _facts(number)),),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    tunnels = []
    for index in range(hosts):
        bridges = []
        for number in sorted({(index + step) % tenants for step in range(3)}):
            id = f"node-{index}/{number}"
            bridges.append(Bridge(id, names[number], "web", _facts(number), _nics(index, nics)))
            ends = (id, f"concentrator {names[number]}/web")
            tunnels.append(Tunnel(names[number], "web", ends, "vxlan"))
        address = f"192.0.2.{index % 199 + 1}"
        cards.append(
            Host(f"node {index}", f"node-{index + 1}", facts=(address,), bridges=tuple(bridges))
        )
    return joined("cluster", cards, tunnels)


def _facts(number: int) -> tuple[str, ...]:
    return (f"10.{number}.0.0/16", f"key {number + 1}")


def _nics(host: int, count: int) -> tuple[Nic, ...]:
    return tuple(
        Nic(
            f"vm-{host}-{number}",
            (f"10.1.{host}.{number + 2}",),
            ("snv-gtlqrhqrfx", f"02:00:0a:01:{host:02x}:{number + 2:02x}"),
        )
        for number in range(count)
    )
