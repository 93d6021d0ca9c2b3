"""A VM's NIC: tap and macvtap descriptors, and cables that copy frames between two of them.

A hypervisor does the same: a frame that the guest sends is written to the descriptor of
its VNIC, and a frame read from there goes to the guest.  See
Documentation/networking/tuntap.rst, drivers/net/tun.c and tap.c.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import tempfile
import threading
from struct import Struct

from snnet.contract import ApiError, error_for
from snnet.core.vnics import CnciVnic
from snnet.system.namespaces import Namespace

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_SIOCSIFHWADDR = 0x8924  # linux/sockios.h
_ARPHRD_ETHER = 1  # linux/if_arp.h
_FLAGS = Struct("=16sH22x")  # struct ifreq, linux/if.h
_HARDWARE = Struct("=16sH6s16x")

# asm-generic/unistd.h and linux/mount.h, the same on all architectures since Linux 5.2
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6

_FRAME = 65536 + 22
"""Bytes of the longest frame: an IP packet of 64 KiB and an Ethernet header with two tags."""
_BURST = 64
"""Frames to copy from one end before the other ends get their turn."""


class Cables:
    """Pairs of descriptors, and one thread that copies frames between them.

    Owns the descriptors; ``close()`` ends the thread and closes them.
    """

    def __init__(self) -> None:
        self._other: dict[int, int] = {}
        self._poll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._thread = threading.Thread(target=self._copy, name="snnet-cables", daemon=True)
        self._thread.start()

    def join(self, one: int, other: int) -> None:
        """Connect two descriptors, each of which reads and writes whole frames."""
        self._other[one], self._other[other] = other, one
        for fd in (one, other):
            os.set_blocking(fd, False)
        for fd in (one, other):
            self._poll.register(fd, select.EPOLLIN)

    def close(self) -> None:
        """Stop copying and close all descriptors; may be repeated."""
        if self._thread.is_alive():
            os.eventfd_write(self._end, 1)
            self._thread.join()
            self._poll.close()
            os.close(self._end)
        while self._other:
            os.close(self._other.popitem()[0])

    def _copy(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._end:
                    return
                self._pass_on(fd, self._other[fd])

    def _pass_on(self, source: int, target: int) -> None:
        for _ in range(_BURST):
            try:
                frame = os.read(source, _FRAME)
            except BlockingIOError:
                return
            except OSError:
                # The link was deleted: no frame will ever arrive here again.
                self._poll.unregister(source)
                return
            try:
                os.write(target, frame)
            except OSError:
                continue  # the link is down: the frame is lost, as on any wire


def open_tap(namespace: Namespace, name: str, mac: str | None = None) -> int:
    """Open the tap of this name and return its descriptor.

    A tap that does not exist is created and lives as long as the descriptor.
    ``mac`` is the MAC address to set on the tap.
    """

    def attach() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, _FLAGS.pack(name.encode(), _IFF_TAP | _IFF_NO_PI))
            if mac is not None:
                address = bytes.fromhex(mac.replace(":", ""))
                fcntl.ioctl(fd, _SIOCSIFHWADDR, _HARDWARE.pack(b"", _ARPHRD_ETHER, address))
        except BaseException:
            os.close(fd)
            raise
        return fd

    try:
        return namespace.call(attach)
    except OSError as error:
        raise error_for(error.errno or 0, f"open tap {name}") from error


def open_macvtap(namespace: Namespace, vnic: CnciVnic) -> int:
    """Open a concentrator's VNIC, a macvtap in this namespace; return its descriptor.

    In a container /dev may lack the node of a new device; a temporary node is then
    created and removed again once it is open.
    """
    number = namespace.call(lambda: _device_number(vnic))
    try:
        if _is_device(vnic.device, number):
            return _open_macvtap(vnic.device)
        with tempfile.TemporaryDirectory(dir="/dev", prefix="snnet-") as private:
            node = f"{private}/{vnic.link_name}"
            os.mknod(node, 0o600 | 0o020000, number)
            return _open_macvtap(node)
    except OSError as error:
        raise error_for(error.errno or 0, f"open {vnic.device}", detail=str(error)) from error


def _open_macvtap(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # By default each frame has a header for offloads in front.
        fcntl.ioctl(fd, _TUNSETIFF, _FLAGS.pack(b"", _IFF_TAP | _IFF_NO_PI))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_device(path: str, number: int) -> bool:
    try:
        return os.stat(path).st_rdev == number
    except FileNotFoundError:
        return False


def _device_number(vnic: CnciVnic) -> int:
    """The number of the character device, from the sysfs of the caller's namespace.

    /sys shows the namespace of the process that mounted it, so the sysfs of this
    namespace is opened without mounting it anywhere.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def system_call(number: int, *arguments: object) -> int:
        result: int = libc.syscall(number, *arguments)
        if result < 0:
            raise error_for(ctypes.get_errno(), "open the namespace's sysfs")
        return result

    filesystem = system_call(_FSOPEN, b"sysfs", _CLOEXEC)
    try:
        system_call(_FSCONFIG, filesystem, _FSCONFIG_CMD_CREATE, None, None, 0)
        root = system_call(_FSMOUNT, filesystem, _CLOEXEC, 0)
    finally:
        os.close(filesystem)
    try:
        name = f"class/net/{vnic.link_name}/macvtap/tap{vnic.index}/dev"
        with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)) as file:
            major, minor = map(int, file.read().split(":"))
    except (OSError, ValueError) as error:
        raise ApiError(f"{vnic.link_name} has no character device: {error}") from error
    finally:
        os.close(root)
    return os.makedev(major, minor)
