"""iptables, ip6tables, ebtables and arptables in memory.

They take the arguments and texts that snnet gives them, keep chains and rules, and print
what the real ones print (version 1.8.9): ``test_tools.py`` compares both. A table of a
restore text takes effect whole or not at all.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from snnet.system.process import Completed

NAMES = [
    f"{tool}{variant}{verb}"
    for tool in ("iptables", "ip6tables", "ebtables", "arptables")
    for variant in ("", "-nft", "-legacy")
    for verb in ("", "-restore", "-save")
    if not (variant == "-legacy" and tool in ("ebtables", "arptables"))
]

_HOOKS = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
}
_HEADS = ("-s", "-d", "-i", "-o", "-p")
_ORDERS = {
    "ebtables": ("-p", "-s", "-d", "-i", "--arp-op", "--arp-ip-src", "--arp-mac-src"),
    "arptables": ("-j",),
}
_ICMP = {
    "router-advertisement": "134",
    "neighbour-solicitation": "135",
    "neighbour-advertisement": "136",
    "redirect": "137",
}


class Refused(Exception):
    """A command that ends with this exit code and these words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass
class Table:
    """One table: its chains, the built-in ones first, and their policies."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Table:
        chains = {chain: list(rules) for chain, rules in self.chains.items()}
        return Table(chains, dict(self.policies))


class Xtables:
    """The tables of one namespace; called with the arguments and stdin of a program.

    ``said`` keeps what it was given. ``refuse`` maps a text to the kernel's words with
    which the next change that holds the text is refused.
    """

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], dict[str, Table]] = {}
        self.said: list[tuple[list[str], str]] = []
        self.refuse: dict[str, str] = {}
        self.on_change: Callable[[str], None] | None = None
        self._lock = threading.Lock()

    def __call__(self, argv: Sequence[str], text: str) -> Completed:
        with self._lock:
            self.said.append((list(argv), text))
            tool, *parts = argv[0].split("-")
            variant = next((part for part in parts if part in ("nft", "legacy")), "nft")
            if "save" in parts:
                return Completed(0, self._save(tool, variant, argv[0]), "")
            words = [*argv[1:]]
            if "-w" in words:
                del words[words.index("-w") : words.index("-w") + 2]
            if words == ["-V"]:
                named = "nf_tables" if variant == "nft" else "legacy"
                version = "1.8.9" if tool == "ebtables" else "v1.8.9"
                return Completed(0, f"{tool} {version} ({named})\n", "")
            try:
                if "restore" in parts:
                    assert words == ["--noflush"], "without it others' rules would be gone"
                    return Completed(0, self._restore(tool, variant, text), "")
                return Completed(0, self._command(tool, variant, words), "")
            except Refused as refused:
                return Completed(refused.code, "", f"{argv[0]}: {refused}\n")

    def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        """The same for somebody else: it is not kept."""
        done = self(argv, "")
        self.said.pop()
        return done.returncode, done.stdout, done.stderr

    def read(self, path: str) -> str:
        """The files of /proc that tell which of the old tables are there, and of IPv6."""
        tool = {"ip_tables_names": "iptables", "ip6_tables_names": "ip6tables"}
        name = path.rpartition("/")[2]
        if name in tool:
            return "".join(f"{table}\n" for table in self._of(tool[name], "legacy"))
        assert name == "snmp6"
        return "Ip6InReceives 0\n"

    def rules(self) -> str:
        """Everything there is, but tables that nobody has put anything into."""
        return "\n".join(
            f"{tool} {variant} {name} {line}"
            for (tool, variant), tables in sorted(self.tables.items())
            for name, table in sorted(tables.items())
            for line in self._declared(tool, table, sort=True)
            if not re.match(r":\S+ ACCEPT", line)
        )

    def changes(self) -> Iterator[str]:
        """The texts and commands that changed something, a program's name before each."""
        for argv, text in self.said:
            if any(f"\n{verb} " in text for verb in ("-A", "-D", "-I", "-X")):
                yield f"{argv[0]}\n{text}"
            elif not text and set(argv) & {"-A", "-D", "-I", "-N", "-X"}:
                yield " ".join(argv)

    # -- one command, one text ---------------------------------------------------------

    def _command(self, tool: str, variant: str, words: list[str]) -> str:
        name = "filter"
        if words[0] == "-t":
            name, words = words[1], words[2:]
        tables = self._of(tool, variant)
        table = (tables.get(name) or _fresh(tool, name)).copy()
        printed = self._do(tool, name, table, words)
        tables[name] = table
        return printed

    def _restore(self, tool: str, variant: str, text: str) -> str:
        printed = []
        tables = self._of(tool, variant)
        name, table = "", Table()
        for line in text.splitlines():
            if line.startswith("*"):
                if name:
                    tables[name] = table
                name = line[1:]
                table = (tables.get(name) or _fresh(tool, name)).copy()
            elif line == "COMMIT":
                tables[name], name = table, ""
            elif line.startswith(":"):
                chain, policy, *_ = line[1:].split()
                table.chains[chain] = []
                if policy != "-" and chain in _HOOKS[name]:
                    table.policies[chain] = policy
            else:
                printed.append(self._do(tool, name, table, _words(line)))
        if name:
            assert tool == "ebtables", "a table without COMMIT has no effect"
            tables[name] = table
        return "".join(printed)

    def _do(self, tool: str, name: str, table: Table, words: list[str]) -> str:
        if words == ["-F"]:
            for rules in table.chains.values():
                rules.clear()
            return ""
        verb, chain, *rest = words
        if verb not in ("-S", "-L", "-C"):
            self._may(f"{tool} {name} {' '.join(words)}")
        if verb == "-N":
            if chain in table.chains:
                raise Refused(1, "Chain already exists.")
            table.chains[chain] = []
            return ""
        if chain not in table.chains:
            raise Refused(1, "No chain/target/match by that name.")
        rules = table.chains[chain]
        if verb in ("-S", "-L"):
            return "".join(f"{line}\n" for line in _listed(tool, name, chain, table, verb))
        if verb == "-P":
            table.policies[chain] = rest[0]
        elif verb == "-F":
            rules.clear()
        elif verb == "-D" and rest[0].isdecimal():
            del rules[int(rest[0]) - 1]
        elif verb == "-X":
            if rules or any(_leads(rule) == chain for all in table.chains.values() for rule in all):
                raise Refused(4, f"CHAIN_DEL failed (Device or resource busy): chain {chain}")
            del table.chains[chain]
        else:
            numbered = verb == "-I" and rest[0].isdecimal()
            number = int(rest.pop(0)) if numbered else 1
            self._change(tool, table, verb, chain, _canonical(tool, rest), number)
        return ""

    def _change(
        self, tool: str, table: Table, verb: str, chain: str, rule: str, number: int
    ) -> None:
        rules, leads = table.chains[chain], _leads(rule)
        if leads and leads not in table.chains:
            raise Refused(2, f"Chain '{leads}' does not exist")
        if verb == "-A":
            rules.append(rule)
        elif verb == "-I":
            rules.insert(number - 1, rule)
        elif rule not in rules:
            raise Refused(1, "Bad rule (does a matching rule exist in that chain?).")
        elif verb == "-D":
            rules.remove(rule)

    def _may(self, change: str) -> None:
        if self.on_change is not None:
            self.on_change(change)
        for text in self.refuse:
            if text in change:
                raise Refused(4, f"RULE_APPEND failed ({self.refuse.pop(text)}): rule in chain")

    # -- printing ----------------------------------------------------------------------

    def _of(self, tool: str, variant: str) -> dict[str, Table]:
        return self.tables.setdefault((tool, variant), {})

    def _save(self, tool: str, variant: str, program: str) -> str:
        lines = []
        tables = self._of(tool, variant)
        for name in (name for name in ("raw", "filter", "nat") if name in tables):
            lines += [f"# Generated by {program} v1.8.9", f"*{name}"]
            lines += [*self._declared(tool, tables[name], sort=True), "COMMIT", "# Completed"]
        return "\n".join([*lines, ""])

    @staticmethod
    def _declared(tool: str, table: Table, *, sort: bool) -> Iterable[str]:
        count = " [0:0]" if tool in ("iptables", "ip6tables") else ""
        none = "-" if count else "RETURN"
        chains = [*table.policies, *sorted(table.chains.keys() - table.policies.keys())]
        yield from (f":{chain} {table.policies.get(chain, none)}{count}" for chain in chains)
        for chain in chains:
            yield from (f"-A {chain} {rule}" for rule in table.chains[chain])


def _words(line: str) -> list[str]:
    """The words of a line, of which comments may be quoted."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', line)]


def _fresh(tool: str, name: str) -> Table:
    hooks = [hook for hook in _HOOKS[name] if tool != "arptables" or hook != "FORWARD"]
    if (tool, name) == ("ebtables", "nat"):
        hooks.remove("INPUT")
    return Table({hook: [] for hook in hooks}, dict.fromkeys(hooks, "ACCEPT"))


def _listed(tool: str, name: str, chain: str, table: Table, verb: str) -> Iterator[str]:
    rules, policy = table.chains[chain], table.policies.get(chain)
    if tool == "ebtables":
        yield from (f"Bridge table: {name}", "")
        yield f"Bridge chain: {chain}, entries: {len(rules)}, policy: {policy or 'RETURN'}"
        yield from rules
    elif tool == "arptables":
        users = sum(_leads(rule) == chain for all in table.chains.values() for rule in all)
        yield f"Chain {chain} ({f'policy {policy}' if policy else f'{users} references'})"
        yield from rules
    else:
        assert verb == "-S"
        yield f"-P {chain} {policy}" if policy else f"-N {chain}"
        yield from (f"-A {chain} {rule}" for rule in rules)


def _leads(rule: str) -> str | None:
    """The chain of somebody's own that a rule leads to."""
    match = re.search(r"(?:^| )-[jg] (\S+)", rule)
    built_in = "ACCEPT|DROP|RETURN|REJECT|MASQUERADE|[SD]NAT|MARK|REDIRECT|LOG"
    return match[1] if match and not re.fullmatch(built_in, match[1]) else None


def _canonical(tool: str, words: list[str]) -> str:
    """A rule as the tool prints it, however it was given."""
    options = list(_options(words))
    if tool in ("iptables", "ip6tables"):
        first = [option for head in _HEADS for option in options if option[0] == head]
        options = first + [option for option in options if option[0] not in _HEADS]
    else:
        order = _ORDERS[tool]
        head = [option for name in order for option in options if option[0] == name]
        options = head + [option for option in options if option[0] not in order]
    return " ".join(" ".join(_printed(tool, option)) for option in options)


def _options(words: list[str]) -> Iterator[list[str]]:
    """Each option with its values; a "!" goes with what comes after it."""
    option: list[str] = []
    for word in words:
        if word.startswith("-") and option and option != ["!"]:
            yield option
            option = []
        if word == "!" and len(option) > 1:
            yield option
            option = []
        option.append(word)
    yield option


def _printed(tool: str, option: list[str]) -> list[str]:
    match option:
        case ["-s" | "-d" as name, address] if tool in ("iptables", "ip6tables"):
            if "/" not in address:
                address = f"{address}/{ip_address(address).max_prefixlen}"
            return [name, address]
        case ["--icmpv6-type", kind]:
            return ["--icmpv6-type", _ICMP.get(kind, kind)]
        case ["--or-mark", mark]:
            return ["--set-xmark", f"{mark}/{mark}"]
        case ["--and-mark", mark]:
            return ["--set-xmark", f"0x0/{int(mark, 16) ^ 0xFFFFFFFF:#x}"]
        case ["--opcode", "1"]:
            return ["--opcode", "Request"]
        case ["--comment", text]:
            return ["--comment", f'"{text}"' if re.search(r"[^\w.:/-]", text) else text]
    return option
