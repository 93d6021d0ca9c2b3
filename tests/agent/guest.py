"""A real VM for tests: Debian's kernel, with busybox as all its user space."""

from __future__ import annotations

from pathlib import Path

from tools.initramfs import archive, fetch_kernel, module_files, unpacked, version_of

MODULES = ("virtio_pci", "virtio_net", "ipv6")
OPTIONS = ("-M", "q35", "-m", "192", "-nodefaults", "-no-reboot", "-display", "none")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /www
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in {modules}; do insmod /modules/$module; done
ip link set lo up
ip link set eth0 up
echo "mtu $(cat /sys/class/net/eth0/mtu)"
udhcpc -i eth0 -n -q -f -t 20 -T 1 -s /bin/bound >/dev/null
for target in {targets}; do
    ping -c 1 -W 10 $target >/dev/null && echo "reaches $target"
done
echo "this is $(hostname)" >/www/index.html
httpd -p 80 -h /www
echo serving
sleep 1000
poweroff -f
"""
BOUND = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface
ip route add default via $router
hostname $hostname
echo "lease $ip via $router dns $dns" >/dev/console
"""


def boot_options(folder: Path, targets: tuple[str, ...]) -> list[str]:
    """QEMU's options for a guest that reports on stdout, a line at a time.

    It takes a lease and says "lease ...", pings ``targets`` and says "reaches ...", and
    says "serving" when its host name is to be had on port 80.
    """
    vmlinuz = fetch_kernel()
    modules = module_files(version_of(vmlinuz), MODULES)
    init = INIT.format(modules=" ".join(file.name for file in modules), targets=" ".join(targets))
    initramfs = folder / "initramfs"
    initramfs.write_bytes(archive(init, modules, {"bin/bound": BOUND}))
    return [
        *OPTIONS, "-serial", "stdio", "-kernel", str(unpacked(vmlinuz)),
        "-initrd", str(initramfs), "-append", "console=ttyS0 quiet loglevel=1 panic=-1",
    ]  # fmt: skip
