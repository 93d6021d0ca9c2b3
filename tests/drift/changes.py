"""The foreign changes, by name: where, the script that makes it, and the one that takes it back.

``{bridge}`` and the like stand for links of the nodes: see ``world.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Foreign(NamedTuple):
    """A change by somebody else, on the host ``cn`` or ``hub``."""

    name: str
    host: str
    do: str
    undo: str = ":"
    """Takes back what a node does not."""


def changes() -> Iterator[Foreign]:
    """Yield all changes."""
    yield from _links()
    yield from _ports()
    yield from _rates()
    yield from _addresses()
    yield from _routes()
    yield from _sysctls()
    yield from _rules()
    yield from _processes()


_OURS = {
    "bridge": "cn", "tunnel": "cn", "tap": "cn", "veth": "cn",
    "cbridge": "hub", "ctunnel": "hub", "mesh": "hub",
}  # fmt: skip
_BACK = {
    "alias": "ip link set {%s} alias '{alias of %s}'",
    "group": "ip link set {%s} group 1936617076",
    "renamed": "ip link set other0 down; ip link set other0 name {%s} 2>/dev/null && "
    "ip link set {%s} up || ip link delete other0",
}
_EVERY = {
    "down": "ip link set {%s} down",
    "mtu": "ip link set {%s} mtu 1300",
    "alias": "ip link set {%s} alias somebody",
    "group": "ip link set {%s} group 5",
    "deleted": "ip link delete {%s}",
    "renamed": "ip link set {%s} down; ip link set {%s} name other0; ip link set other0 up",
}


def _links() -> Iterator[Foreign]:
    for link, host in _OURS.items():
        for what, script in _EVERY.items():
            undo = _BACK.get(what, ":").replace("%s", link)
            yield Foreign(f"{link} {what}", host, script.replace("%s", link), undo)
        if link != "mesh":
            script = f"ip link set {{{link}}} address 02:00:00:99:99:99"
            yield Foreign(f"{link} mac", host, script)
    for link, host in (("bridge", "cn"), ("cbridge", "hub")):
        for what, words in {
            "stp": "stp_state 1",
            "no multicast snooping": "mcast_snooping 0",
            "ageing": "ageing_time 0",
            "group forwarding": "group_fwd_mask 8",
            "iptables calls": "nf_call_iptables 1",
        }.items():
            yield Foreign(f"{link} {what}", host, f"ip link set {{{link}}} type bridge {words}")
        for what, words in {"promiscuous": "promisc on", "queue length": "txqueuelen 10"}.items():
            yield Foreign(f"{link} {what}", host, f"ip link set {{{link}}} {words}")
        yield Foreign(f"{link} arp off", host, f"ip link set {{{link}}} arp off")
        yield Foreign(f"{link} link-local", host, f"ip link set {{{link}}} addrgenmode eui64")
    yield Foreign("vxlan learning", "cn", "ip link set {tunnel} type vxlan learning")
    yield Foreign("vxlan remote", "cn", "ip link set {tunnel} type vxlan remote 192.0.2.99")
    yield Foreign("vxlan ttl", "cn", "ip link set {tunnel} type vxlan ttl 3")
    yield Foreign(
        "vxlan learning of the concentrator", "hub", "ip link set {ctunnel} type vxlan learning"
    )
    yield Foreign(
        "foreign port",
        "cn",
        "ip link add f0 type veth peer name f1; ip link set f0 up master {bridge}",
        "ip link delete f0",
    )
    yield Foreign(
        "foreign link", "cn", "ip link add f0 type veth peer name f1", "ip link delete f0"
    )
    yield Foreign("end in the guest down", "cn", "ip link set {peer} up; ip link set {peer} down")
    yield Foreign(
        "end in the guest mtu", "cn", "ip link set {peer} mtu 1300", "ip link set {peer} mtu 1450"
    )
    yield Foreign("uplink down", "cn", "ip link set eth0 down", "ip link set eth0 up")
    yield Foreign("uplink mtu", "cn", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500")
    yield Foreign(
        "uplink renamed",
        "cn",
        "ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up",
        "ip link set lan0 down; ip link set lan0 name eth0; ip link set eth0 up",
    )
    yield Foreign("device down", "hub", "ip link set ext1 down", "ip link set ext1 up")
    yield Foreign(
        "device renamed",
        "hub",
        "ip link set ext1 down; ip link set ext1 name wan1; ip link set wan1 up",
        "ip link set wan1 down; ip link set wan1 name ext1; ip link set ext1 up",
    )


_PORT = {
    "isolated": "isolated on",
    "not learning": "learning off",
    "hairpin": "hairpin on",
    "guard": "guard on",
    "no flood": "flood off",
    "no multicast flood": "mcast_flood off",
    "no broadcast flood": "bcast_flood off",
    "neighbour suppression": "neigh_suppress on",
    "proxy arp": "proxy_arp on",
    "listening": "state 1",
    "disabled": "state 0",
    "cost": "cost 99",
    "root block": "root_block on",
}


def _ports() -> Iterator[Foreign]:
    for link, host in (("tap", "cn"), ("tunnel", "cn"), ("ctunnel", "hub")):
        yield Foreign(f"{link} unplugged", host, f"ip link set {{{link}}} nomaster")
        yield Foreign(
            f"{link} elsewhere",
            host,
            f"ip link add o0 type bridge; ip link set {{{link}}} master o0",
            "ip link delete o0",
        )
        for what, words in _PORT.items():
            if link == "tap" and what in ("listening", "disabled"):
                continue  # nobody has opened it: without a carrier its state is fixed
            command = (
                "ip link set {%s} type bridge_slave %s"
                if "proxy" in what
                else "bridge link set dev {%s} %s"
            )
            yield Foreign(f"{link} {what}", host, command % (link, words))
    yield Foreign(
        "forwarding entry of a guest elsewhere",
        "cn",
        "bridge fdb replace 02:00:0a:01:00:09 dev {tunnel} master static",
    )
    yield Foreign(
        "forwarding entry of the tunnel",
        "cn",
        "bridge fdb append 02:00:00:00:00:42 dev {tunnel} dst 192.0.2.66",
    )
    yield Foreign(
        "forwarding entry of the concentrator",
        "hub",
        "bridge fdb replace 02:00:0a:01:00:09 dev {cbridge} self local",
        "bridge fdb del 02:00:0a:01:00:09 dev {cbridge} self local",
    )


def _rates() -> Iterator[Foreign]:
    for what, script in {
        "rate to the guest": "tc qdisc change dev {tap} root handle 736e: tbf rate 1mbit "
        "burst 72k limit 100k",
        "rate to the guest gone": "tc qdisc delete dev {tap} root",
        "another queue in place of a rate": "tc qdisc replace dev {tap} root handle 7: pfifo",
        "rate from the guest gone": "tc qdisc delete dev {block} root",
        "redirect gone": "tc qdisc delete dev {tap} clsact",
        "ifb down": "ip link set {block} down",
        "ifb deleted": "ip link delete {block}",
    }.items():
        yield Foreign(what, "cn", script)
    first = "tc filter add dev {tap} ingress protocol all pref 1 u32 match u32 0 0 classid 1:1"
    last = "tc filter delete dev {tap} ingress pref 1"
    yield Foreign("filter before the redirect", "cn", first, last)


def _addresses() -> Iterator[Foreign]:
    yield Foreign("address on a bridge", "cn", "ip address add 10.1.0.200/24 dev {bridge}")
    yield Foreign(
        "IPv6 address on a bridge", "cn", "ip address add 2001:db8:9::1/64 dev {bridge} nodad"
    )
    yield Foreign("gateway gone", "hub", "ip address del 10.1.0.1/24 dev {cbridge}")
    yield Foreign(
        "gateway with another length",
        "hub",
        "ip address del 10.1.0.1/24 dev {cbridge}; ip address add 10.1.0.1/16 dev {cbridge}",
    )
    yield Foreign(
        "second address on a concentrator's bridge",
        "hub",
        "ip address add 10.1.0.222/32 dev {cbridge}",
    )
    yield Foreign("public address gone", "hub", "ip address del 203.0.113.5/32 dev ext0")
    yield Foreign(
        "public address elsewhere",
        "hub",
        "ip address del 203.0.113.5/32 dev ext0; ip address add 203.0.113.5/32 dev ext1",
    )
    yield Foreign("mesh address gone", "hub", "ip address flush dev {mesh}")
    yield Foreign(
        "uplink address gone",
        "cn",
        "ip address del 192.0.2.11/24 dev eth0",
        "ip address add 192.0.2.11/24 dev eth0",
    )
    yield Foreign(
        "uplink second address",
        "cn",
        "ip address add 192.0.2.77/32 dev eth0",
        "ip address del 192.0.2.77/32 dev eth0",
    )
    yield Foreign(
        "device another address",
        "hub",
        "ip address del 198.51.100.1/24 dev ext1; ip address add 198.51.100.2/24 dev ext1",
        "ip address flush dev ext1; ip address add 198.51.100.1/24 dev ext1",
    )
    yield Foreign(
        "loopback address",
        "hub",
        "ip address add 192.168.99.1/32 dev lo",
        "ip address del 192.168.99.1/32 dev lo",
    )
    for what, entry in {
        "a guest": "10.1.0.9 lladdr 02:00:00:00:00:99",
        "nobody": "10.1.0.99 lladdr 02:00:00:00:00:98",
    }.items():
        yield Foreign(
            f"neighbour entry of {what}",
            "hub",
            f"ip neighbour replace {entry} dev {{cbridge}} nud permanent",
        )
    yield Foreign("mesh neighbour gone", "hub", "ip neighbour flush dev {mesh} nud permanent")
    yield Foreign(
        "mesh neighbour changed",
        "hub",
        "ip neighbour replace 172.31.0.2 lladdr 02:00:00:00:00:97 dev {mesh} nud permanent",
    )
    yield Foreign(
        "mesh forwarding entry gone",
        "hub",
        "for mac in $(bridge fdb show dev {mesh} | cut -d' ' -f1); do "
        "bridge fdb del $mac dev {mesh}; done",
    )


def _routes() -> Iterator[Foreign]:
    yield Foreign("mesh route gone", "hub", "ip route del 10.9.0.0/24")
    yield Foreign(
        "mesh route elsewhere",
        "hub",
        "ip route del 10.9.0.0/24; ip route add 10.9.0.0/24 via 203.0.113.200",
        "ip route del 10.9.0.0/24 via 203.0.113.200 || true",
    )
    yield Foreign(
        "mesh route closed",
        "hub",
        "ip route del 10.9.0.0/24; ip route add blackhole 10.9.0.0/24",
        "ip route del blackhole 10.9.0.0/24 || true",
    )
    yield Foreign("peer route gone", "hub", "ip route del 172.31.0.2")
    yield Foreign("foreign route to a bridge", "hub", "ip route add 10.77.0.0/16 dev {cbridge}")
    yield Foreign(
        "foreign route", "hub", "ip route add 10.78.0.0/16 dev ext1", "ip route del 10.78.0.0/16"
    )
    yield Foreign(
        "default route gone",
        "hub",
        "ip route del default",
        "ip route add default via 203.0.113.200 dev ext0",
    )
    yield Foreign(
        "default route elsewhere",
        "hub",
        "ip route replace default via 198.51.100.200 dev ext1",
        "ip route replace default via 203.0.113.200 dev ext0",
    )
    yield Foreign(
        "way to a peer closed",
        "cn",
        "ip route add blackhole 192.0.2.10/32",
        "ip route del blackhole 192.0.2.10/32",
    )
    yield Foreign(
        "way to a peer closed by a rule",
        "cn",
        "ip rule add to 192.0.2.10 prohibit pref 10",
        "ip rule del pref 10",
    )
    yield Foreign(
        "subnet's route elsewhere",
        "hub",
        "ip route add 10.1.0.0/25 dev ext1; ip route add 10.1.0.128/25 dev ext1",
        "ip route del 10.1.0.0/25; ip route del 10.1.0.128/25",
    )
    yield Foreign(
        "subnet taken by a rule",
        "hub",
        "ip rule add to 10.1.0.0/24 prohibit pref 10",
        "ip rule del pref 10",
    )
    yield Foreign(
        "rule of another table",
        "hub",
        "ip rule add fwmark 5 table 99",
        "ip rule del fwmark 5 table 99",
    )


def _sysctls() -> Iterator[Foreign]:
    def change(name: str, host: str, parameter: str, value: int, back: int) -> Foreign:
        return Foreign(
            name, host, f"sysctl -qw {parameter}={value}", f"sysctl -qw {parameter}={back}"
        )

    yield change("forwarding off", "hub", "net.ipv4.ip_forward", 0, 1)
    yield change("default forwarding off", "hub", "net.ipv4.conf.default.forwarding", 0, 1)
    yield change("bridge forwarding off", "hub", "net.ipv4.conf.{cbridge}.forwarding", 0, 1)
    yield change("mesh forwarding off", "hub", "net.ipv4.conf.{mesh}.forwarding", 0, 1)
    yield change("device forwarding off", "hub", "net.ipv4.conf.ext1.forwarding", 0, 1)
    yield change("strict filter on a second way in", "hub", "net.ipv4.conf.ext1.rp_filter", 1, 0)
    yield change("strict filter everywhere", "hub", "net.ipv4.conf.all.rp_filter", 1, 0)
    yield change("strict filter on a bridge", "hub", "net.ipv4.conf.{cbridge}.rp_filter", 1, 0)
    yield change("bridged frames to IP", "hub", "net.bridge.bridge-nf-call-iptables", 1, 0)
    yield change(
        "bridged frames to IP, compute node", "cn", "net.bridge.bridge-nf-call-iptables", 0, 1
    )
    yield change("forwarding on a compute node", "cn", "net.ipv4.ip_forward", 1, 0)
    yield change("IPv6 on a port", "cn", "net.ipv6.conf.{tap}.disable_ipv6", 0, 1)
    yield change("IPv6 on a tunnel", "cn", "net.ipv6.conf.{tunnel}.disable_ipv6", 0, 1)
    yield change(
        "router advertisements on a bridge", "cn", "net.ipv6.conf.{bridge}.accept_ra", 2, 0
    )
    yield change("redirects on a bridge", "cn", "net.ipv6.conf.{bridge}.accept_redirects", 1, 0)
    yield change("no IPv6 on a bridge", "cn", "net.ipv6.conf.{bridge}.disable_ipv6", 1, 0)
    yield change("proxy ARP on a bridge", "hub", "net.ipv4.conf.{cbridge}.proxy_arp", 1, 0)
    yield change("no ARP answers on a bridge", "hub", "net.ipv4.conf.{cbridge}.arp_ignore", 8, 0)
    yield change("no ARP answers on the uplink", "cn", "net.ipv4.conf.eth0.arp_ignore", 8, 0)
    yield change("connections tracked", "hub", "net.netfilter.nf_conntrack_tcp_loose", 0, 1)


def _rules() -> Iterator[Foreign]:
    inet, bridged = "inet snnet-cnci-cnci-1", "bridge snnet-cnci-cnci-1"
    own, ports = "inet snnet-cn-cn-1", "bridge snnet-cn-cn-1"
    for what, host, script in (
        ("all rules flushed", "hub", "nft flush ruleset"),
        ("all rules flushed, compute node", "cn", "nft flush ruleset"),
        ("table gone", "hub", f"nft delete table {inet}"),
        ("table of ports gone", "hub", f"nft delete table {bridged}"),
        ("table of ports gone, compute node", "cn", f"nft delete table {ports}"),
        ("table flushed", "hub", f"nft flush table {inet}"),
        ("table of ports flushed", "cn", f"nft flush table {ports}"),
        (
            "link out of its zone",
            "hub",
            f"nft delete element {inet} inside '{{ \"{{cbridge}}\" }}'",
        ),
        (
            "link out of its zone's maps",
            "hub",
            f"nft delete element {inet} from '{{ \"{{cbridge}}\" }}'",
        ),
        ("exit gone", "hub", f"nft flush set {inet} exits"),
        ("masquerade gone", "hub", f"nft flush set {inet} masquerades"),
        ("forward gone", "hub", f"nft flush map {inet} port_forwards"),
        ("record of a forward gone", "hub", f"nft flush set {inet} forwards"),
        ("hairpin gone", "hub", f"nft flush map {inet} hairpins"),
        ("services open", "hub", f"nft flush set {inet} limited"),
        ("frames tracked", "hub", f"nft flush map {bridged} untracking"),
        (
            "exit by somebody else",
            "hub",
            f'nft add element {inet} exits \'{{ "{{cbridge}}" . "ext1" }}\'',
        ),
        (
            "masquerade by somebody else",
            "hub",
            f"nft add element {inet} masquerades '{{ \"ext1\" }}'",
        ),
        (
            "forward by somebody else",
            "hub",
            f"nft add element {inet} port_forwards '{{ \"ext0\" . tcp . 99 : 10.1.0.9 . 99 }}'",
        ),
        ("anti-spoofing gone", "cn", f"nft flush set {ports} guarded"),
        ("anti-spoofing addresses gone", "cn", f"nft flush set {ports} sources"),
        (
            "anti-spoofing address added",
            "cn",
            f"nft add element {ports} sources '{{ \"{{tap}}\" . 02:00:0a:01:00:09 . 10.1.0.99 }}'",
        ),
        ("host isolation gone", "cn", f"nft flush set {own} isolated"),
        ("rule in a chain of ours", "hub", f"nft insert rule {inet} forward drop"),
        ("rule in a chain of ours, accepting", "hub", f"nft insert rule {inet} forward accept"),
    ):
        yield Foreign(what, host, script)
    yield Foreign(
        "foreign table", "hub", "nft add table inet theirs", "nft delete table inet theirs"
    )
    base = "type filter hook %s priority 0; policy drop;"
    drop = f"nft add table inet theirs; nft 'add chain inet theirs x {{ {base} }}'"
    for hook in ("input", "forward", "output"):
        yield Foreign(f"foreign drop, {hook}", "hub", drop % hook, "nft delete table inet theirs")
    yield Foreign("foreign drop of a tunnel", "cn", drop % "input", "nft delete table inet theirs")
    for variant in ("nft", "legacy"):
        for chain in ("INPUT", "FORWARD", "OUTPUT"):
            yield Foreign(
                f"iptables-{variant} {chain} policy",
                "hub",
                f"iptables-{variant} -P {chain} DROP",
                f"iptables-{variant} -P {chain} ACCEPT",
            )
        yield Foreign(
            f"iptables-{variant} rule",
            "hub",
            f"iptables-{variant} -A INPUT -p udp --dport 67 -j DROP",
            f"iptables-{variant} -F INPUT",
        )
        yield Foreign(
            f"iptables-{variant} raw rule",
            "hub",
            f"iptables-{variant} -t raw -A PREROUTING -p udp -j DROP",
            f"iptables-{variant} -t raw -F",
        )
        yield Foreign(
            f"iptables-{variant} forward rule",
            "hub",
            f"iptables-{variant} -A FORWARD -i {{cbridge}} -j DROP",
            f"iptables-{variant} -F FORWARD",
        )
    yield Foreign("connections forgotten", "hub", "conntrack -F 2>/dev/null")


def _processes() -> Iterator[Foreign]:
    for signal in ("TERM", "KILL", "STOP", "HUP"):
        yield Foreign(
            f"DHCP server {signal}", "hub", f"kill -{signal} $(cat {{server}}/pid); sleep 0.3"
        )
    for file in ("hosts", "names", "servers", "pid", "scope.json"):
        yield Foreign(f"file {file} gone", "hub", f"rm {{server}}/{file}")
        yield Foreign(f"file {file} emptied", "hub", f": > {{server}}/{file}")
    yield Foreign(
        "file hosts with another entry", "hub", "echo 02:00:00:00:00:66,10.1.0.66 >> {server}/hosts"
    )
    yield Foreign(
        "file hosts without an entry",
        "hub",
        "sed -i --follow-symlinks /10.1.0.77/d {server}/hosts",
    )
    yield Foreign("file hosts unreadable", "hub", "chmod 600 {server}/hosts")
    yield Foreign("file leases gone", "hub", "rm -f {server}/leases")
    yield Foreign("folder of the DHCP server gone", "hub", "rm -r {server}")
    yield Foreign("folder of the DHCP server unreadable", "hub", "chmod 700 {server}")
    yield Foreign("record of intents gone", "hub", "rm {intents}")
    yield Foreign("record of intents damaged", "hub", "echo nonsense > {intents}")
