"""Public addresses in topology "local": the host answers for them, a guest has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, ProxyNeighbour, Route
from snnet.system.process import run

from .test_local import HOST, OneHost, config, vnic
from .test_local_kernel import RealOneHost

PUBLIC, PUBLIC6, ROUTER = "192.0.2.50", "2001:db8::50", "192.0.2.1"
OUTSIDE, OUTSIDE6 = "192.0.2.99", "2001:db8::99"
DUAL = snnet.LocalSubnet(subnet_id="web", subnet=("10.1.0.0/24", "fd00:1::/64"), subnet_key=7)


def serve(one: Any, cfg: snnet.ConcentratorConfig, **to: str) -> snnet.Cnci:
    """Have the concentrator; ``to`` are the guests of its public addresses."""
    made = one.cn.set_concentrator(cfg)
    cnci: snnet.Cnci = one.cnci(made)
    (subnet,) = cfg.subnets
    result = cnci.reconcile(
        subnets=[snnet.Subnet(subnet.networks, 7, link=made.links["web"])],
        nat=[made.uplink],
        exits=[(made.uplink, subnet.networks)],
        public_ips=[
            {"address": address, "to": to[f"v{address.version}"], "device": made.uplink}
            for address in made.publics
        ],
    )
    assert not result.failed, result.failed
    return cnci


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    yield host
    host.close()


# -- on the fake --------------------------------------------------------------------------


def connected(one: OneHost, source: Any, address: str, port: int = 22) -> tuple[str, str] | None:
    found = one.fabric.connected(source, address, "tcp", port)
    return None if found is None else (found.station, str(found.source))


def test_in_and_out(one: OneHost) -> None:
    """From outside, from the tenant's other guests and from other tenants; and out with it."""
    serve(one, config(public_ips=[PUBLIC], forwards=[]), v4="10.1.0.9")
    serve(one, config("other", forwards=[]))
    mine, second, theirs = one.guest(9), one.guest(10), one.guest(9, "other")
    one.fabric.listen(mine, "tcp")
    assert connected(one, one.outside, PUBLIC) == ("acme-9", OUTSIDE)
    assert connected(one, mine, OUTSIDE) == ("outside", PUBLIC)
    assert connected(one, second, OUTSIDE) == ("outside", HOST)
    found = connected(one, theirs, PUBLIC)
    assert found is not None
    assert found[0] == "acme-9"
    assert connected(one, second, PUBLIC) is not None
    assert not one.fabric.ping(one.outside, "10.1.0.10")
    assert one.cn.verify() == []


def test_nothing_but_the_address_is_opened(one: OneHost) -> None:
    cnci = serve(one, config(public_ips=[PUBLIC], forwards=[]), v4="10.1.0.9")
    (made,) = one.cn.topology().concentrators
    assert connected(one, one.outside, str(made.ip)) is None
    proxies = [str(noun) for noun in one.kernel.snapshot({ProxyNeighbour}).values()]
    assert len(proxies) == 1, "one entry, no proxy_arp"
    assert PUBLIC in proxies[0]
    cnci.shutdown()
    one.cn.set_concentrator(config(forwards=[]))
    assert not one.kernel.snapshot({ProxyNeighbour})
    assert one.cn.verify() == []
    one.cn.reset_network()
    assert one.kernel.to_text() == one.clean


def test_another_node_reads_it_back(one: OneHost) -> None:
    publics = config(public_ips=[PUBLIC, PUBLIC6], forwards=[], subnets=[DUAL])
    serve(one, publics, v4="10.1.0.9", v6="fd00:1::9")
    (before,) = one.cn.topology().concentrators
    one.cn.close()
    one.cn = one.node()
    assert one.cn.topology().concentrators == (before,)
    assert [str(address) for address in before.publics] == [PUBLIC, PUBLIC6]
    assert one.cn.verify() == []


@pytest.mark.parametrize(
    ("publics", "error", "message"),
    [
        ([HOST], snnet.Conflict, "192.0.2.11 is this host's own address on eth0"),
        ([PUBLIC, PUBLIC], snnet.InvalidRequest, r"public_ips\[1\]: is there twice"),
        (["169.254.7.7"], snnet.InvalidRequest, r"public_ips\[0\]: 169.254.7.7 is known on one"),
        (["192.0.2.0"], snnet.InvalidRequest, r"public_ips\[0\]: .* is the network address of"),
        (["192.0.2.255"], snnet.InvalidRequest, r"public_ips\[0\]: .* is the broadcast address"),
        ([ROUTER], snnet.Conflict, "192.0.2.1 is a gateway of this host"),
        (["x"], snnet.InvalidRequest, r"public_ips\[0\]: "),
    ],
)
def test_bad_addresses(
    one: OneHost, publics: list[str], error: type[Exception], message: str
) -> None:
    default = Route(destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_address(ROUTER))
    assert one.kernel.apply([Add(default)]).error is None
    before = one.kernel.to_text()
    with pytest.raises(error, match=message):
        one.cn.set_concentrator(config(public_ips=publics))
    assert one.kernel.to_text() == before


def test_a_concentrator_that_is_wrong_fails_alone_and_stays(one: OneHost) -> None:
    """Whatever is wrong with it; an atomic call raises it, and touches nothing."""
    one.cn.set_concentrator(config(public_ips=[PUBLIC]))
    before = one.kernel.to_text()
    wrong = config(public_ips=["0.0.0.0"])
    named = r"^concentrators\[0\]\.public_ips\[0\]: 0.0.0.0 is not the unicast"
    with pytest.raises(snnet.InvalidRequest, match=named) as caught:
        one.cn.reconcile(concentrators=[wrong, config("other", 33023)], atomic=True)
    assert caught.value.field == "concentrators[0].public_ips[0]"
    assert one.kernel.to_text() == before
    done = one.cn.reconcile(concentrators=[wrong, config("other", 33023)])
    actions = {item.key: item.action for item in done.items}
    assert actions == {
        ("concentrator", "acme", "c-acme"): "failed",
        ("concentrator", "other", "c-other"): "created",
    }
    (failed,) = done.failed
    assert isinstance(failed.error, snnet.InvalidRequest)
    assert failed.error.field == "public_ips[0]"
    assert [str(ip) for ip in one.cn.topology().concentrators[0].publics] == [PUBLIC]
    with pytest.raises(snnet.InvalidRequest, match="is there twice") as caught:
        one.cn.reconcile(concentrators=[wrong, wrong])
    assert caught.value.field == "concentrators[1]"
    for atomic in (False, True):
        with pytest.raises(snnet.InvalidRequest, match=r"^concentrators\[0\]: 'acme' is not a"):
            one.cn.reconcile(concentrators=["acme"], atomic=atomic)  # type: ignore[list-item]


def test_an_address_has_one_concentrator(one: OneHost) -> None:
    one.cn.set_concentrator(config(public_ips=[PUBLIC]))
    with pytest.raises(snnet.Conflict, match=f"{PUBLIC} belongs to concentrator c-acme of tenant"):
        one.cn.set_concentrator(config("other", 33023, public_ips=[PUBLIC]))
    # In one reconcile it may go from one to the other.
    result = one.cn.reconcile(concentrators=[config(), config("other", 33023, public_ips=[PUBLIC])])
    assert not result.failed
    assert one.cn.verify() == []


def test_the_host_announces_it(one: OneHost) -> None:
    one.cn.set_concentrator(config(public_ips=[PUBLIC]))
    found = [(item.link, str(item.address)) for item in one.kernel.announced]
    assert ("eth0", PUBLIC) in found


# -- on the kernel ------------------------------------------------------------------------


class Real(RealOneHost):
    def __init__(self, netns: str, firewall: str, backend: str = "netlink") -> None:
        super().__init__(netns, firewall, backend)
        self.ip("address add 2001:db8::11/64 dev eth0 nodad")
        self.outside.ip([f"address add {OUTSIDE6}/64 dev eth0 nodad"])
        self.clean = self.text()

    def text(self) -> str:
        fd = self.host.netns.fd
        more = [["ip", "-6", "route"], ["ip", "neigh", "show", "proxy"]]
        return "\n".join([super().text(), *(run(argv, netns=fd).stdout for argv in more)])

    def cnci(self, made: snnet.Concentrator) -> snnet.Cnci:
        cnci = snnet.Cnci(
            made.concentrator_id, self.cn.config, tenant_id=made.tenant_id, netns=made.netns,
            backend=self.backend, firewall=self.firewall, api_timeout=60.0,
        )  # fmt: skip
        self._open.enter_context(cnci)
        self._open.callback(self._stop, cnci)
        cnci.init()
        return cnci

    def dual_guest(self, number: int) -> Any:
        """A container with an address of each family."""
        made = self.cn.create_vnic(
            snnet.VnicConfig(
                **{
                    **vnic(number).to_dict(),
                    "role": "tenant-container",
                    "subnet": ("10.1.0.0/24", "fd00:1::/64"),
                    "ip": (f"10.1.0.{number}", f"fd00:1::{number:x}"),
                }
            )
        ).vnic
        space = self.space(f"acme-{number}")
        self.ip(f"link set {made.peer_name} netns {space.path} name eth0 up")
        space.ip(
            [
                "link set lo up",
                f"address add 10.1.0.{number}/24 dev eth0", "route add default via 10.1.0.1",
                f"address add fd00:1::{number:x}/64 dev eth0 nodad",
                "route replace default via fd00:1::1",
            ]
        )  # fmt: skip
        self.serve(space, 22, space.name)
        return space


SERVER6 = (
    "import socket,sys\ns=socket.create_server(('::',int(sys.argv[1])),family=socket.AF_INET6,"
    "dualstack_ipv6=True)\n"
    "while 1:\n c,a=s.accept();c.sendall(f'{sys.argv[2]} {a[0]}'.encode());c.close()"
)


@pytest.fixture(params=["nftables", "iptables"])
def real(
    request: pytest.FixtureRequest, netns: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Real]:
    monkeypatch.setattr("tests.node.test_local_kernel._SERVER", SERVER6)
    real = Real(netns, request.param)
    try:
        yield real
    finally:
        real.close()


@pytest.mark.kernel
def test_real_guests_have_public_addresses(real: Real) -> None:
    """Reached from outside by it, seen outside with it; drift is repaired; all of it goes."""
    publics = config(public_ips=[PUBLIC, PUBLIC6], forwards=[], subnets=[DUAL])
    cnci = serve(real, publics, v4="10.1.0.9", v6="fd00:1::9")
    mine, second = real.dual_guest(9), real.dual_guest(10)

    def works() -> None:
        assert real.ask(real.outside, PUBLIC, 22) == f"acme-9 ::ffff:{OUTSIDE}"
        assert real.ask(real.outside, PUBLIC6, 22) == f"acme-9 {OUTSIDE6}"
        assert real.ask(mine, OUTSIDE, 80) == f"outside ::ffff:{PUBLIC}"
        assert real.ask(mine, OUTSIDE6, 80) == f"outside {PUBLIC6}"
        assert real.ask(second, OUTSIDE, 80) == f"outside ::ffff:{HOST}"

    works()
    assert real.ask(None, PUBLIC, 22).startswith("acme-9"), "from the host itself"
    assert real.ask(second, PUBLIC, 22).startswith("acme-9"), "from a guest beside it"
    assert real.ask(real.outside, "192.0.2.51", 22) == "", "the host answers for no other"
    assert real.cn.verify() == []
    damages: list[Callable[[], object]] = [
        lambda: real.ip(f"neigh del proxy {PUBLIC} dev eth0"),
        lambda: real.ip(f"neigh del proxy {PUBLIC6} dev eth0"),
        lambda: real.ip(f"route del {PUBLIC}/32"),
        lambda: run(["sysctl", "-qw", "net.ipv6.conf.eth0.proxy_ndp=0"], netns=real.host.netns.fd),
    ]
    for damage in damages:
        damage()
        assert real.cn.verify()
        if damage is not damages[2]:
            assert real.cn.verify(quick=True), "no event tells of it"
        real.cn.repair()
        assert real.cn.verify() == []
    works()
    # Another process takes over, and takes nothing for somebody else's.
    real.cn.close()
    real.cn = real.node()
    assert real.cn.verify() == []
    works()
    real.cn.set_concentrator(config(forwards=[], subnets=[DUAL]))
    assert real.ask(real.outside, PUBLIC, 22) == ""
    assert real.cn.verify() == []
    cnci.shutdown()
    cnci.close()
    real.cn.reset_network()
    assert real.text() == real.clean
