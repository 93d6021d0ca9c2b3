"""nf_tables in memory: what ``nft`` sends, and what the kernel answers.

A script takes effect whole or not at all. Sets know their types, so that keys are given
back in the kernel's bytes; the product's own encoder is not used for that.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

import pytest

from snnet.system import nf_tables
from snnet.system.netlink import NetlinkError
from snnet.system.nfnetlink import Nfnetlink, attribute, attributes
from snnet.system.process import Completed

NAMES = ["nft", "sh"]

_FAMILIES = {1: "inet", 3: "arp", 7: "bridge"}  # linux/netfilter.h
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_ELEMENTS = 1, 4, 7, 13  # linux/netfilter/nf_tables.h
_GET_GENERATION, _NEW_ELEMENTS, _DELETE_ELEMENTS = 16, 12, 14
_EXCLUSIVE = 0x200  # NLM_F_EXCL
_STATS_ENTRIES = 1  # CTA_STATS_GLOBAL_ENTRIES, linux/netfilter/nfnetlink_conntrack.h
_ELEMENTS_A_MESSAGE = 3
"""Few, so that tests see lists that come in several messages."""

_REFERENCE = "snnet-reference-"
"""In the name of tables that are made to learn how the kernel shows rules."""
_TARGET = re.compile(r"(?:jump|goto) ([^\s,}]+)")
_VERDICTS = {"jump": -3, "goto": -4}
_ELEMENT = re.compile(r'(?P<key>.+?)(?: comment "(?P<comment>[^"]*)")?(?: : (?P<data>.+))?')
_WIDTHS = {"inet_proto": 1, "inet_service": 2}
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class Refused(Exception):
    """A command that the kernel refuses with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


@dataclass
class Set:
    """A set or map: how it was declared, and its elements by their keys."""

    spec: str
    types: list[str]
    elements: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Comment and data of each."""

    @property
    def ranges(self) -> bool:
        """Whether each element has a first key and a last one."""
        return "interval" in self.spec and len(self.types) > 1


@dataclass
class Table:
    chains: dict[str, list[str]] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)

    def copy(self) -> Table:
        chains = {chain: list(rules) for chain, rules in self.chains.items()}
        sets = {
            name: Set(found.spec, found.types, dict(found.elements))
            for name, found in self.sets.items()
        }
        return Table(chains, dict(self.hooks), sets)


Tables = dict[tuple[str, str], Table]


class NfTables:
    """The tables of one namespace; called with the arguments and stdin of ``nft``.

    ``scripts`` keeps what was carried out. ``foreign`` is what ``list ruleset`` shows of
    others. ``lacking`` are families that the kernel does not have.
    """

    def __init__(self) -> None:
        self.tables: Tables = {}
        self.scripts: list[str] = []
        self.foreign: list[dict[str, Any]] = []
        self.lacking: set[str] = set()
        self.generation = 1
        self._lock = threading.Lock()

    def __call__(self, argv: Sequence[str], text: str) -> Completed:
        if argv[0] == "sh":
            assert list(argv) == ["sh", "-e"]
            for line in text.splitlines():
                done = self(shlex.split(line), "")
                assert done.returncode == 0, f"{line}: {done.stderr}"
            return Completed(0, "", "")
        words = [word for word in argv[1:] if word not in ("-s", "--terse")]
        if words[0] == "--json":
            assert words[1:] == ["list", "ruleset"]
            return Completed(0, json.dumps({"nftables": list(self._json())}), "")
        script = text if words == ["-f", "-"] else " ".join(words)
        with self._lock:
            return self._script(script)

    def answer(self, patch: pytest.MonkeyPatch) -> None:
        """Have requests to the kernel answered from here."""

        def ask(one: Nfnetlink, kind: int, asked: bytes, family: int = 0) -> list[bytes]:
            if one._kind != nf_tables.SUBSYSTEM << 8:  # connection tracking: it has no connection
                return [attribute(_STATS_ENTRIES, bytes(4))]
            return self.ask(kind, asked, family)

        def look_up(one: Nfnetlink, kind: int, asked: bytes, family: int = 0) -> bytes:
            (answer,) = ask(one, kind, asked, family)
            return answer

        def dump(_: Nfnetlink, kind: int, asked: bytes = b"", family: int = 0) -> list[bytes]:
            return self.dump(kind, asked, family)

        def transact(
            _: Nfnetlink,
            requests: Iterable[tuple[int, int, int, bytes]],
            *,
            generation: int | None = None,
        ) -> None:
            if generation not in (None, self.generation):
                raise NetlinkError(errno.ERESTART)
            self.transact(list(requests))

        patch.setattr(Nfnetlink, "ask", ask)
        patch.setattr(Nfnetlink, "look_up", look_up)
        patch.setattr(Nfnetlink, "dump", dump)
        patch.setattr(Nfnetlink, "transact", transact)

    def text(self) -> str:
        """Everything there is."""
        return "".join(_printed(*name, self.tables[name]) for name in sorted(self.tables))

    # -- scripts -----------------------------------------------------------------------

    def _script(self, script: str) -> Completed:
        tables, printed = {key: table.copy() for key, table in self.tables.items()}, ""
        refused: list[tuple[bool, int, str]] = []
        for number, line in enumerate(script.splitlines(), start=1):
            try:
                printed += self._do(tables, line)
            except Refused as error:
                refused.append((True, number, str(error)))
            except KeyError:
                refused.append((False, number, os.strerror(errno.ENOENT)))
        if refused:
            # nft looks names up before it sends anything, so that their errors come first.
            _, number, words = min(refused)
            said = f"/dev/stdin:{number}:1-9: Error: Could not process rule: {words}\n"
            return Completed(1, "", f"{said}{script.splitlines()[number - 1]}\n^^^^^^^^^\n")
        if tables != self.tables and _REFERENCE not in script:
            self.generation += 1
            self.scripts.append(script.rstrip("\n"))
        self.tables = tables
        return Completed(0, printed, "")

    def _do(self, tables: Tables, line: str) -> str:
        verb, what, *rest = line.split(maxsplit=4)
        if (verb, what) == ("list", "ruleset"):
            return self.text()
        if (verb, what) == ("flush", "ruleset"):
            tables.clear()
            return ""
        family, name, *rest = rest
        if family in self.lacking:
            raise Refused(errno.EOPNOTSUPP)
        if what == "table":
            return _table(tables, verb, (family, name))
        table, subject = tables[family, name], rest[0]
        if what == "chain":
            _chain(table, verb, *subject.split(maxsplit=1))
        elif what == "rule":
            chain, rule = subject.split(maxsplit=1)
            _check_target(table, rule)
            table.chains[chain].append(rule)
        elif what in ("set", "map"):
            _set(table, verb, *subject.split(maxsplit=1))
        else:
            assert what == "element"
            name, braces = subject.split(maxsplit=1)
            for text in re.split(r', (?=(?:[^"]*"[^"]*")*[^"]*$)', braces.strip("{ }")):
                _element(table, verb, table.sets[name], text)
        return ""

    def _json(self) -> Iterator[dict[str, Any]]:
        yield {"metainfo": {"json_schema_version": 1}}
        for family, name in self.tables:
            yield {"table": {"family": family, "name": name, "handle": 1}}
            for chain in self.tables[family, name].chains:
                yield {"chain": {"family": family, "table": name, "name": chain, "handle": 2}}
        yield from self.foreign

    # -- the kernel's answers ----------------------------------------------------------

    def transact(self, requests: list[tuple[int, int, int, bytes]]) -> None:
        """Change elements or delete tables, all of them or none."""
        with self._lock:
            tables = {key: table.copy() for key, table in self.tables.items()}
            script = []
            for kind, flags, family, asked in requests:
                wanted = dict(attributes(asked))
                key = (_FAMILIES[family], _text(wanted[1]))
                if kind == nf_tables.DELETE_TABLE:
                    if tables.pop(key, None) is None:
                        raise NetlinkError(errno.ENOENT)
                    script.append(f"delete table {' '.join(key)}")
                    continue
                name = _text(wanted[2])
                if key not in tables or name not in tables[key].sets:
                    raise NetlinkError(errno.ENOENT)
                verb = "create" if flags & _EXCLUSIVE else "add"
                verb = "delete" if kind == _DELETE_ELEMENTS else verb
                assert kind in (_NEW_ELEMENTS, _DELETE_ELEMENTS)
                for _, raw in attributes(wanted[3]):
                    text = _written(tables[key].sets[name], raw)
                    script.append(f"{verb} element {' '.join(key)} {name} {{ {text} }}")
                    try:
                        _element(tables[key], verb, tables[key].sets[name], text)
                    except Refused as error:
                        raise NetlinkError(error.number) from None
            if tables != self.tables:
                self.generation += 1  # a batch that changes nothing is no transaction
                self.scripts.append("\n".join(script))
            self.tables = tables

    def ask(self, kind: int, asked: bytes, family: int) -> list[bytes]:
        """What a request for one object is answered with."""
        if kind == _GET_GENERATION:
            return [attribute(1, self.generation.to_bytes(4, "big"))]
        wanted = dict(attributes(asked))
        table = self._table_of(family, wanted[1])
        if kind == _GET_CHAIN:
            if _text(wanted[3]) not in table.chains:
                raise NetlinkError(errno.ENOENT)
            return [b""]
        assert kind == _GET_ELEMENTS
        found = table.sets.get(_text(wanted[2]))
        element = dict(attributes(dict(attributes(wanted[3]))[1]))
        key = dict(attributes(element[1]))[1]
        for text in found.elements if found else ():
            assert found is not None
            if _bytes(found.types, text) == key:
                return [_message([_element_attribute(found, text)])]
        raise NetlinkError(errno.ENOENT)

    def dump(self, kind: int, asked: bytes, family: int) -> list[bytes]:
        """All objects that fit."""
        name = _FAMILIES[family]
        here = [table for there, table in self.tables if there == name]
        if kind == _GET_TABLE:
            return [attribute(1, _string(table)) for table in here]
        if kind == _GET_CHAIN:
            return [
                attribute(1, _string(table))
                + attribute(3, _string(chain))
                + (attribute(4, hooks[chain].encode()) if chain in hooks else b"")
                for table in here
                for hooks in [self.tables[name, table].hooks]
                for chain in self.tables[name, table].chains
            ]
        wanted = dict(attributes(asked))
        if kind == _GET_RULE:
            # As kernels before 6.3: those of other tables, too.
            return [
                attribute(1, _string(table))
                + attribute(2, _string(chain))
                + attribute(4, _expressions(rule))
                for table in here
                for chain, rules in self.tables[name, table].chains.items()
                for rule in rules
            ]
        assert kind == _GET_ELEMENTS
        found = self._table_of(family, wanted[1]).sets.get(_text(wanted[2]))
        if found is None:
            raise NetlinkError(errno.ENOENT)
        encoded = [part for text in found.elements for part in _element_attributes(found, text)]
        return [
            _message(encoded[start : start + _ELEMENTS_A_MESSAGE])
            for start in range(0, len(encoded), _ELEMENTS_A_MESSAGE)
        ]

    def _table_of(self, family: int, name: bytes) -> Table:
        table = self.tables.get((_FAMILIES[family], _text(name)))
        if table is None:
            raise NetlinkError(errno.ENOENT)
        return table


def _table(tables: Tables, verb: str, key: tuple[str, str]) -> str:
    if verb == "add":
        tables.setdefault(key, Table())
    elif verb == "delete":
        del tables[key]
    elif verb == "flush":
        for rules in tables[key].chains.values():
            rules.clear()
    else:
        assert verb == "list"
        return _printed(*key, tables[key])
    return ""


def _chain(table: Table, verb: str, name: str, hook: str = "") -> None:
    if verb in ("add", "create"):
        if verb == "create" and name in table.chains:
            raise Refused(errno.EEXIST)
        table.chains.setdefault(name, [])
        if hook:
            table.hooks[name] = hook
    elif verb == "flush":
        table.chains[name].clear()
    else:
        assert verb == "delete"
        if table.chains[name] or name in _targets(table):
            raise Refused(errno.EBUSY)
        del table.chains[name]


def _set(table: Table, verb: str, name: str, spec: str = "") -> None:
    if verb in ("add", "create"):
        if verb == "create" and name in table.sets:
            raise Refused(errno.EEXIST)
        match = re.match(r"\{ type(?:of)? ([\w.@, ]+?)(?: : [\w. ]+)?;", spec)
        assert match, spec
        table.sets.setdefault(name, Set(spec, match[1].split(" . ")))
    elif verb == "flush":
        table.sets[name].elements.clear()
    else:
        assert verb == "delete"
        if any(re.search(rf"@{re.escape(name)}( |$)", rule) for rule in _rules(table)):
            raise Refused(errno.EBUSY)
        del table.sets[name]


def _element(table: Table, verb: str, found: Set, text: str) -> None:
    match = _ELEMENT.fullmatch(text.strip())
    assert match, text
    key, data = match["key"], match["data"] or ""
    if "interval" not in found.spec or found.ranges:
        _bytes(found.types, key)  # it has to be of the set's type
    if verb == "delete":
        if found.elements.pop(key, None) is None:
            raise Refused(errno.ENOENT)
        return
    before = found.elements.get(key)
    if before is not None and (verb == "create" or before[1] != data):
        raise Refused(errno.EEXIST)
    _check_target(table, data)
    if before is None:
        found.elements[key] = (match["comment"] or "", data)


def _rules(table: Table) -> Iterator[str]:
    for rules in table.chains.values():
        yield from rules


def _targets(table: Table) -> set[str]:
    """The chains that rules and verdict maps lead to."""
    data = (data for found in table.sets.values() for _, data in found.elements.values())
    texts = [*_rules(table), *data]
    return {target for text in texts for target in _TARGET.findall(text)}


def _check_target(table: Table, text: str) -> None:
    if not table.chains.keys() >= set(_TARGET.findall(text)):
        raise Refused(errno.ENOENT)


# -- bytes ---------------------------------------------------------------------------


def _bytes(types: list[str], text: str) -> bytes:
    """A key as the kernel keeps it: parts of several are padded to four bytes."""
    parts = text.split(" . ")
    assert len(parts) == len(types), text
    raw = [_encoder(kind)(part) for kind, part in zip(types, parts, strict=True)]
    return raw[0] if len(raw) == 1 else b"".join(part + bytes(-len(part) % 4) for part in raw)


def _last(types: list[str], text: str) -> bytes:
    """The last key of an element with ranges."""
    parts = text.split(" . ")
    for number, part in enumerate(parts):
        if "/" in part:
            parts[number] = str(ip_network(part).broadcast_address)
        elif part.startswith("0x") and "-" in part:
            parts[number] = part.partition("-")[2]
    return _bytes(types, " . ".join(parts))


def _encoder(kind: str) -> Callable[[str], bytes]:
    if match := re.fullmatch(r"@[nt]h,\d+,(\d+)", kind):  # a number of so many bits
        return lambda text: int(text.partition("-")[0], 16).to_bytes(int(match[1]) // 8, "big")
    return _ENCODERS[kind]


def _number(kind: str) -> Callable[[str], bytes]:
    return lambda text: (_PROTOCOLS[text] if text in _PROTOCOLS else int(text)).to_bytes(
        _WIDTHS[kind], "big"
    )


_ENCODERS: dict[str, Callable[[str], bytes]] = {
    "iifname": lambda text: text[1:-1].encode().ljust(16, b"\0"),
    "ifname": lambda text: text[1:-1].encode().ljust(16, b"\0"),  # nft knows no escapes
    "ipv4_addr": lambda text: ip_address(text.partition("/")[0]).packed,  # an interval's first
    "ipv6_addr": lambda text: ip_address(text.partition("/")[0]).packed,
    "ether_addr": lambda text: bytes(int(part, 16) for part in text.split(":")),
    "inet_proto": _number("inet_proto"),
    "inet_service": _number("inet_service"),
}


def _written(found: Set, raw: bytes) -> str:
    """One element that was sent over netlink, as a script would have it."""
    parts = dict(attributes(raw))
    assert parts.keys() <= {1, 2, 6, 10}
    key = dict(attributes(parts[1]))[1]
    last = dict(attributes(parts[10]))[1] if 10 in parts else key
    text, offset = [], 0
    for kind in found.types:
        size = _size(kind)
        ends = [end[offset : offset + size] for end in (key, last)]
        text.append(_decoded(kind, *ends))
        offset += -(-size // 4) * 4
    assert len(key) in (offset, _size(found.types[0]) if len(found.types) == 1 else offset)
    words = " . ".join(text)
    if 6 in parts:
        user = parts[6]
        assert (user[0], user[1]) == (0, len(user) - 2)
        words += f' comment "{_text(user[2:])}"'
    if 2 in parts:
        words += f" : {_data_text(dict(attributes(parts[2])))}"
    return words


def _size(kind: str) -> int:
    if match := re.fullmatch(r"@[nt]h,\d+,(\d+)", kind):
        return int(match[1]) // 8
    return _SIZES[kind]


_SIZES = {
    "iifname": 16, "ifname": 16, "ipv4_addr": 4, "ipv6_addr": 16, "ether_addr": 6, **_WIDTHS,
}  # fmt: skip


def _decoded(kind: str, first: bytes, last: bytes) -> str:
    """A part of a key as nft writes it, or its range."""
    if kind.startswith("@"):
        ends = [f"0x{first.hex()}"] + ([f"0x{last.hex()}"] if last != first else [])
        return "-".join(ends)
    if kind in ("iifname", "ifname"):
        return f'"{_text(first)}"'
    if kind in ("ipv4_addr", "ipv6_addr"):
        if first == last:
            return str(ip_address(first))
        (network,) = summarize_address_range(ip_address(first), ip_address(last))
        return str(network)
    assert first == last
    if kind == "ether_addr":
        return first.hex(":")
    number = int.from_bytes(first, "big")
    names = {number: name for name, number in _PROTOCOLS.items()}
    return names[number] if kind == "inet_proto" else str(number)


def _data_text(data: dict[int, bytes]) -> str:
    if 2 in data:
        verdict = dict(attributes(data[2]))
        code = int.from_bytes(verdict[1], "big", signed=True)
        (word,) = (word for word, number in _VERDICTS.items() if number == code)
        return f"{word} {_text(verdict[2])}"
    raw = data[1]
    if len(raw) == 2:
        return str(int.from_bytes(raw, "big"))
    size = 4 if len(raw) in (4, 8) else 16
    port = f" . {int.from_bytes(raw[size : size + 2], 'big')}" if raw[size:] else ""
    return f"{ip_address(raw[:size])}{port}"


def _element_attribute(found: Set, text: str) -> bytes:
    """One element as the kernel lists it, its comment as libnftnl keeps it."""
    comment, data = found.elements[text]
    encoded = attribute(1, attribute(1, _bytes(found.types, text)), nested=True)
    if found.ranges:
        encoded += attribute(10, attribute(1, _last(found.types, text)), nested=True)
    if data:
        encoded += attribute(2, _data(data), nested=True)
    if comment:
        kept = _string(comment)
        other = bytes([7, 2]) + b"xx"  # of a kind that nobody knows
        encoded += attribute(6, other + bytes([0, len(kept)]) + kept)
    return attribute(1, encoded, nested=True)


def _element_attributes(found: Set, text: str) -> Iterator[bytes]:
    """One element as a list of the set has it: an interval has another for its end."""
    yield _element_attribute(found, text)
    if found.ranges:
        return
    end = int(ip_network(text).broadcast_address) + 1 if "interval" in found.spec else 0
    if 0 < end < 1 << 8 * len(_bytes(found.types, text)):
        key = end.to_bytes(len(_bytes(found.types, text)), "big")
        flags = attribute(3, (1).to_bytes(4, "big"))
        yield attribute(1, attribute(1, attribute(1, key), nested=True) + flags, nested=True)


def _expressions(rule: str) -> bytes:
    """A rule in bytes that have no meaning but for the MACs in it."""
    return re.sub(rb"0x([0-9a-f]{12})", lambda m: bytes.fromhex(m[1].decode()), rule.encode())


def _data(text: str) -> bytes:
    """What a map has for a key: a verdict with its chain, or a value."""
    word, _, chain = text.partition(" ")
    if word in _VERDICTS:
        code = (_VERDICTS[word] & 0xFFFFFFFF).to_bytes(4, "big")
        return attribute(2, attribute(1, code) + attribute(2, _string(chain)), nested=True)
    if text.isdigit():
        return attribute(1, int(text).to_bytes(2, "big"))
    address, _, port = text.partition(" . ")
    return attribute(
        1, ip_address(address).packed + (int(port).to_bytes(2, "big") + b"\0\0" if port else b"")
    )


def _message(elements: list[bytes]) -> bytes:
    return attribute(3, b"".join(elements), nested=True)


def _string(text: str) -> bytes:
    return text.encode() + b"\0"


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()


def _printed(family: str, name: str, table: Table) -> str:
    lines = [f"table {family} {name} {{"]
    for set_name in sorted(table.sets):
        found = table.sets[set_name]
        lines.append(f"\tset {set_name} {found.spec}")
        lines += [f"\t\t{key} {found.elements[key]}" for key in sorted(found.elements)]
    for chain in sorted(table.chains):
        lines.append(f"\tchain {chain} {table.hooks.get(chain, '')}".rstrip())
        lines += [f"\t\t{rule}" for rule in table.chains[chain]]
    return "\n".join([*lines, "}", ""])
