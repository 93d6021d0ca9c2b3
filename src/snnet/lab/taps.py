"""A VM's side of its VNIC: descriptors that give and take Ethernet frames.

See Documentation/networking/tuntap.rst, drivers/net/tun.c and tap.c.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import tempfile
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


def open_tap(namespace: Namespace, name: str, mac: str | None = None) -> int:
    """A descriptor of the tap of this name.

    If there is none, it is made, and lives as long as the descriptor.
    ``mac`` is for the tap itself.
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


def open_macvtap(namespace: Namespace, port: CnciVnic) -> int:
    """A descriptor of a concentrator's VNIC, which was made in this namespace.

    In a container /dev may lack the node of a new device: then it is made for
    as long as it takes to open it.
    """
    number = namespace.call(lambda: _device_number(port))
    try:
        if _is_device(port.device, number):
            return _open_macvtap(port.device)
        with tempfile.TemporaryDirectory(dir="/dev", prefix="snnet-") as private:
            node = f"{private}/{port.link_name}"
            os.mknod(node, 0o600 | 0o020000, number)
            return _open_macvtap(node)
    except OSError as error:
        raise error_for(error.errno or 0, f"open {port.device}", detail=str(error)) from error


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


def _device_number(port: CnciVnic) -> int:
    """The number of the character device, from the sysfs of the caller's namespace.

    That sysfs is mounted nowhere: /sys shows the namespace of whoever mounted it.
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
        name = f"class/net/{port.link_name}/macvtap/tap{port.index}/dev"
        with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)) as file:
            major, minor = map(int, file.read().split(":"))
    except (OSError, ValueError) as error:
        raise ApiError(f"{port.link_name} has no character device: {error}") from error
    finally:
        os.close(root)
    return os.makedev(major, minor)
