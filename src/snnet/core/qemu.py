"""The arguments of QEMU for a NIC on a tap."""

from __future__ import annotations

from collections.abc import Sequence


def qemu_args(
    netdev: str, mac: str, mtu: int, *, tap: str = "", fds: Sequence[int] = ()
) -> list[str]:
    """The arguments of QEMU for a NIC on a tap, by the tap's name or by a descriptor a queue."""
    if fds:
        source = f"fds={':'.join(map(str, fds))}"
        queues = f",mq=on,vectors={2 * len(fds) + 2}"
    else:
        source, queues = f"ifname={tap},script=no,downscript=no", ""
    nic = f"virtio-net-pci,netdev={netdev},mac={mac},host_mtu={mtu}{queues}"
    return ["-netdev", f"tap,id={netdev},{source}", "-device", nic]
