"""Taps have an owner: root alone, unless the config names a user."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import replace

import pytest

import snnet
from snnet.contract import Add, Tap
from snnet.system.netns import in_netns
from tests.node.world import RealWorld, World, vm

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
NOBODY = 65534


def tap(world: World, name: str) -> Tap:
    found = world.link(name)
    assert isinstance(found, Tap)
    return found


@pytest.mark.parametrize(("owner", "uid"), [(None, 0), (4242, 4242), ("nobody", NOBODY)])
def test_the_owner_is_root_or_the_user_named(
    world: World, owner: str | int | None, uid: int
) -> None:
    node = world.node()
    vnic = node.create_vnic(vm(9, owner=owner)).vnic
    assert (vnic.user, tap(world, vnic.link_name).user) == (uid, uid)
    assert node.create_vnic(vm(9, owner=uid)).vnic == vnic
    with pytest.raises(snnet.Conflict, match=f"owner {uid} .asked for: 77"):
        node.create_vnic(vm(9, owner=77))
    node.close()
    again = world.node()
    assert again.verify() == []
    assert again.topology().vnics[0].user == uid
    again.create_vnic(vm(9, owner=owner))
    again.reset_network()


def test_an_owner_that_somebody_changed_is_found(world: World) -> None:
    node = world.node()
    name = node.create_vnic(vm(9)).vnic.link_name
    found = tap(world, name)
    world.delete(name)
    outcome = world.kernel.apply([Add(replace(found, user=4242, index=0))])
    assert outcome.error is None
    assert any("user 4242" in line for line in node.verify())
    node.close()
    node = world.node()
    assert any("user 4242" in line for line in node.verify())
    node.repair()
    assert tap(world, name).user == 0
    assert node.verify() == []
    node.reset_network()


def joins(world: RealWorld, name: str, uid: int, *, several: bool) -> int:
    """The errno of joining the tap as this user without privileges; 0 if it works."""
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE | IFF_VNET_HDR if several else 0)
    tun = in_netns(world.kernel.host.netns.fd, lambda: os.open("/dev/net/tun", os.O_RDWR))
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(uid, uid, uid)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("=16sH22x", name.encode(), flags))
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    os.close(tun)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.kernel
@pytest.mark.parametrize("queues", [1, 2])
def test_nobody_else_joins_a_tap(real: World, queues: int) -> None:
    assert isinstance(real, RealWorld)
    if queues > 1 and not real.hands_out_queues:
        return
    node = real.node()
    several = queues > 1
    mine = node.create_vnic(vm(8, queues=queues)).vnic
    theirs = node.create_vnic(vm(9, queues=queues, owner=NOBODY)).vnic
    assert joins(real, mine.link_name, NOBODY, several=several) == errno.EPERM
    assert joins(real, theirs.link_name, NOBODY, several=several) == 0
    assert joins(real, theirs.link_name, NOBODY - 1, several=several) == errno.EPERM
    for fd in (*mine.fds, *theirs.fds):
        os.close(fd)
    assert joins(real, mine.link_name, NOBODY, several=several) == errno.EPERM
    node.reset_network()
