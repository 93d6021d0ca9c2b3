"""Rules and settings of somebody else, by chance: put onto a real host and taken away again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress

from snnet.contract import SnnetError
from snnet.system.process import run
from tests.differential.dice import Dice

from .hosts import HOST, OPEN, OUTSIDE, Host

_TABLES = ("theirs", "others")
_IPTABLES = ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
_PROTOCOLS = ("tcp", "udp", "icmp", "ipv6-icmp", "{ tcp, udp }")
_STATES = ("new", "established", "invalid", "established,related")
_HOOKS = {
    "inet": ("prerouting", "input", "forward", "forward", "forward", "output", "postrouting"),
    "ip": ("prerouting", "input", "forward", "forward", "output", "postrouting"),
    "ip6": ("prerouting", "input", "forward", "forward", "output", "postrouting"),
    "bridge": ("prerouting", "input", "forward", "forward", "output", "postrouting"),
    "arp": ("input", "output"),
    "netdev": ("ingress",),
}


class Others:
    """What somebody else did to a host, or to the namespaces of its concentrators."""

    def __init__(self, host: Host, dice: Dice) -> None:
        self._host = host
        self._dice = dice
        self.done: list[str] = []
        """The commands that worked."""
        self._undo: list[Callable[[], object]] = []

    def act(self) -> None:
        """Do something, most of it about the firewall."""
        dice = self._dice
        space = dice.pick(["", "", "", *self._host.spaces])
        for _ in range(dice.pick([1, 1, 2, 3])):
            kind = dice.pick(["nft"] * 5 + ["iptables"] * 4 + ["setting"])
            {"nft": self._nft, "iptables": self._iptables, "setting": self._setting}[kind](space)

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()

    def _try(self, space: str, command: str, text: str | None = None) -> bool:
        """Run a command; what this kernel or this program cannot do is left out."""
        try:
            self._host.run(*shlex.split(command), text=text, space=space)
        except SnnetError:
            return False
        where = f"in {space}: " if space else ""
        self.done.append(f"{where}{command}{f' <<< {text!r}' if text else ''}")
        return True

    # -- nft ------------------------------------------------------------------------------

    def _nft(self, space: str) -> None:
        dice = self._dice
        family = dice.pick(["inet"] * 4 + ["ip", "ip6", "bridge", "bridge", "arp", "netdev"])
        table = dice.pick(_TABLES)
        hook = dice.pick(_HOOKS[family])
        self._undo.append(lambda: self._drop_table(space, family, table))
        policy = "drop" if dice.percent(12) else "accept"
        priority = dice.pick([-300, -250, -150, -90, -10, 0, 0, 0, 10, 50, 150, 250])
        device = f" device {dice.pick(self._links(space))}" if family == "netdev" else ""
        rules = [self._nft_rule(space, family, hook) for _ in range(dice.pick([1, 1, 2, 3]))]
        lines = [
            f"add table {family} {table}",
            f"add set {family} {table} bad {{ type ipv4_addr; flags interval; "
            f"elements = {{ {', '.join(self._some(4))} }}; }}",
            f"add chain {family} {table} more",
            f"add rule {family} {table} more {self._nft_match(space, family, hook)} drop",
            f"add chain {family} {table} one {{ type filter hook {hook}{device} "
            f"priority {priority}; policy {policy}; }}",
        ]
        if self._try(space, "nft -f -", "\n".join(lines)):
            for rule in rules:
                self._try(space, "nft -f -", f"add rule {family} {table} one {rule}")

    def _drop_table(self, space: str, family: str, table: str) -> None:
        with suppress(SnnetError):
            self._host.run("nft", "delete", "table", family, table, space=space)

    def _nft_rule(self, space: str, family: str, hook: str) -> str:
        dice = self._dice
        matches = [
            self._nft_match(space, family, hook) for _ in range(dice.pick([0, 1, 1, 1, 2, 2, 3]))
        ]
        if dice.percent(15):
            value = dice.pick(["0x1", "meta mark | 0x4002", "meta mark & 0xff", "0x0"])
            return " ".join([*matches, f"meta mark set {value}"])
        verdict = dice.pick(["drop"] * 6 + ["counter drop", "accept", "jump more", "return"])
        if hook in ("input", "forward", "output") and family in ("inet", "ip", "ip6"):
            verdict = dice.pick([verdict, verdict, "reject", 'log prefix "theirs" drop'])
        return " ".join([*matches, verdict])

    def _nft_match(self, space: str, family: str, hook: str) -> str:
        dice, negated = self._dice, self._dice.pick(["", "", "", "!= "])
        if family == "arp":
            return dice.pick(
                [
                    f"arp operation {dice.pick(['request', 'reply'])}",
                    f"arp saddr ip {negated}{dice.pick(self._some(4))}",
                    f"iifname {negated}{dice.pick(self._links(space))}",
                ]
            )
        found = [
            f"ip saddr {negated}{dice.pick(self._some(4))}",
            f"ip daddr {negated}{dice.pick(self._some(4))}",
            f"ip6 saddr {negated}{dice.pick(self._some(6))}",
            f"ip6 daddr {negated}{{ {', '.join(dict.fromkeys(self._some(6)))} }}",
            "ip saddr @bad",
            "ip daddr != @bad",
            f"ip saddr . ip daddr {negated}{{ {' . '.join(self._some(4))}, 10.9.9.9 . 10.9.9.9 }}",
            f"tcp dport {negated}{dice.pick([str(OPEN), '22', f'{OPEN - 5}-{OPEN + 5}'])}",
            f"udp dport {negated}{{ 53, {OPEN} }}",
            f"tcp sport {OPEN}",
            f"meta l4proto {negated}{dice.pick(_PROTOCOLS)}",
            f"icmp type {dice.pick(['echo-request', 'echo-reply', 'redirect'])}",
            f"icmpv6 type {dice.pick(['echo-request', 'echo-reply', 'nd-neighbor-solicit'])}",
            f"meta nfproto {dice.pick(['ipv4', 'ipv6'])}" if family == "inet" else (
                f"ether type {dice.pick(['ip', 'ip6', 'arp'])}"
            ),
            "tcp flags & (fin|syn|rst|ack) == syn",
        ]  # fmt: skip
        if hook not in ("output",):
            found += [f"iifname {negated}{dice.pick(self._links(space))}"] * 3
        if hook in ("forward", "output", "postrouting"):
            found += [f"oifname {negated}{dice.pick(self._links(space))}"] * 3
        if family in ("inet", "ip", "ip6"):
            found += [
                f"ct state {negated}{dice.pick(_STATES)}",
                "ct state vmap { established : accept, invalid : drop }",
                "fib daddr type local",
                "fib daddr type != local",
                "fib daddr type { unicast, broadcast }",
                "fib daddr type unreachable",
            ]
        if family in ("bridge", "netdev"):
            found += [f"ether saddr {negated}{dice.pick(self._macs())}"]
        if dice.percent(2):
            found = ["limit rate 1000/second", "meta length > 2000"]
        elif dice.percent(12):
            found = [
                "meta mark 0x1",
                "meta mark != 0x1",
                "meta mark & 0xff == 0x2",
                "meta mark { 0x1, 0x4002 }",
            ]
        return dice.pick(found)

    # -- iptables ---------------------------------------------------------------------------

    def _iptables(self, space: str) -> None:
        dice = self._dice
        program = dice.pick(_IPTABLES)
        before = self._saved(space, program)
        if before is None:
            return
        self._undo.append(lambda: self._restore(space, program, before))
        if dice.percent(10):
            self._try(space, f"{program} -P {dice.pick(['INPUT', 'FORWARD', 'FORWARD'])} DROP")
        if dice.percent(30):
            self._try(space, f"{program} -N THEIRS")
            self._try(
                space, f"{program} -A THEIRS {self._x_match(space, program, 'FORWARD')} -j DROP"
            )
            chain = dice.pick(["INPUT", "FORWARD", "OUTPUT"])
            self._try(space, f"{program} {dice.pick(['-A', '-I'])} {chain} -j THEIRS")
        for _ in range(dice.pick([1, 1, 2, 3])):
            table, chain = dice.pick(
                [("filter", "FORWARD")] * 5
                + [("filter", "INPUT"), ("filter", "OUTPUT"), ("raw", "PREROUTING")]
                + [("mangle", "FORWARD"), ("mangle", "POSTROUTING"), ("raw", "OUTPUT")]
                + [("mangle", "PREROUTING")]
            )
            matches = [self._x_match(space, program, chain) for _ in range(dice.pick([0, 1, 1, 2]))]
            target = dice.pick(["DROP"] * 5 + ["ACCEPT", "RETURN"])
            target = dice.pick([target, target, "REJECT"]) if table == "filter" else target
            if table == "mangle" and dice.percent(50):
                target = dice.pick(["MARK --set-mark 0x1", "MARK --or-mark 0x4002"])
            how = dice.pick(["-A", "-I"])
            self._try(space, f"{program} -t {table} {how} {chain} {' '.join(matches)} -j {target}")

    def _saved(self, space: str, program: str) -> str | None:
        try:
            return self._host.run(f"{program}-save", space=space)
        except SnnetError:
            return None

    def _restore(self, space: str, program: str, before: str) -> None:
        """Have the tables as they were; those that were not there are emptied."""
        now = self._saved(space, program) or ""
        for table in {line for line in now.splitlines() if line.startswith("*")}:
            if table not in before.splitlines():
                for words in ("-F", "-X"):
                    self._host.run(program, "-t", table[1:], words, space=space)
                for chain in ("INPUT", "FORWARD", "OUTPUT") if table == "*filter" else ():
                    self._host.run(program, "-P", chain, "ACCEPT", space=space)
        if before.strip():
            self._host.run(f"{program}-restore", text=before, space=space)

    def _x_match(self, space: str, program: str, chain: str) -> str:
        dice = self._dice
        six = program.startswith("ip6")
        addresses = self._some(6 if six else 4)
        negated = dice.pick(["", "", "", "! "])
        icmp = "icmpv6 --icmpv6-type" if six else "icmp --icmp-type"
        found = [
            f"{negated}-s {dice.pick(addresses)}",
            f"{negated}-d {dice.pick(addresses)}",
            f"{negated}-p {dice.pick(['tcp', 'udp', 'icmpv6' if six else 'icmp'])}",
            f"-p tcp --dport {dice.pick([str(OPEN), f'{OPEN}:{OPEN + 9}', '22'])}",
            f"-p udp -m multiport --dports 53,{OPEN}",
            f"-p tcp {negated}--syn",
            f"-p {icmp} {dice.pick(['echo-request', 'echo-reply'])}",
            f"-m conntrack {negated}--ctstate {dice.pick(['NEW', 'ESTABLISHED', 'INVALID'])}",
            "-m conntrack --ctstate RELATED,ESTABLISHED",
            f"-m addrtype {negated}--dst-type {dice.pick(['LOCAL', 'UNICAST', 'UNREACHABLE'])}",
        ]
        if chain in ("INPUT", "FORWARD", "PREROUTING"):
            found += [f"{negated}-i {dice.pick(self._links(space))}"] * 2
        if chain in ("OUTPUT", "FORWARD", "POSTROUTING"):
            found += [f"{negated}-o {dice.pick(self._links(space))}"] * 2
        if dice.percent(2):
            found = ["-m limit --limit 1000/second"]
        elif dice.percent(12):
            found = ["-m mark --mark 0x1", "-m mark ! --mark 0x2/0xff"]
        return dice.pick(found)

    # -- settings -----------------------------------------------------------------------------

    def _setting(self, space: str) -> None:
        dice = self._dice
        do, back = dice.pick(
            [
                ("sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv4.ip_forward=1"),
                (
                    "sysctl -w net.bridge.bridge-nf-call-iptables=0",
                    "sysctl -w net.bridge.bridge-nf-call-iptables=1",
                ),
                (
                    "sysctl -w net.bridge.bridge-nf-call-ip6tables=0",
                    "sysctl -w net.bridge.bridge-nf-call-ip6tables=1",
                ),
                ("ip route add blackhole 10.1.0.9", "ip route delete blackhole 10.1.0.9"),
                (
                    "sysctl -w net.ipv4.conf.all.rp_filter=1",
                    "sysctl -w net.ipv4.conf.all.rp_filter=0",
                ),
                ("tc qdisc add dev eth0 root blackhole", "tc qdisc delete dev eth0 root"),
                (
                    f"ip xfrm policy add dir {dice.pick(['in', 'fwd', 'out'])} src "
                    f"{dice.pick(self._some(4))} dst 0.0.0.0/0 action block",
                    "ip xfrm policy flush",
                ),
            ]
        )
        if self._try(space, do):
            self._undo.append(lambda: self._host.run(*shlex.split(back), space=space))

    # -- what rules are about -------------------------------------------------------------------

    def _links(self, space: str) -> Sequence[str]:
        names = self._host.run("ls", "/sys/class/net", space=space) if space else ""
        found = names.split() if space else [
            line.split(":")[1].split("@")[0].strip()
            for line in run(
                ["ip", "-o", "link"], netns=self._host.host.netns.fd
            ).stdout.splitlines()
        ]  # fmt: skip
        return [name for name in found if name != "lo"]

    def _macs(self) -> Sequence[str]:
        return [guest.space.call(lambda: _mac()) for guest in self._host.guests]

    def _some(self, version: int) -> list[str]:
        """Addresses and networks, the first of them by chance."""
        index = 0 if version == 4 else 1
        found = [guest.addresses[index] for guest in self._host.guests]
        found += [HOST[index], OUTSIDE[index]]
        found += ["10.1.0.0/24", "10.0.0.0/8"] if version == 4 else ["fd00:1::/64", "fd00::/16"]
        return [self._dice.pick(found), self._dice.pick(found)]


def _mac() -> str:
    return run(["ip", "-br", "link", "show", "eth0"]).stdout.split()[2]
