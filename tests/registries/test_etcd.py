"""The etcd registry when members are killed, paused or refuse; its URLs, TLS and users."""

from __future__ import annotations

import base64
import itertools
import json
import os
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from snnet import Agent, Cluster, NetworkConfig
from snnet.cluster import keys
from snnet.contract import (
    Compacted,
    Delete,
    Denied,
    InvalidRequest,
    NoDocument,
    Put,
    RegistryWatch,
    SessionLost,
    Stale,
    Unavailable,
)
from snnet.drawing import live
from snnet.explain.gathering import gather
from snnet.explain.many import explain_hosts
from snnet.explain.question import Question
from snnet.registries import gateway
from snnet.registries.etcd import EtcdRegistry
from snnet.registries.etcd_url import PASSWORD, Address
from snnet.registries.gateway import encode
from snnet.registries.streams import Streams

from .members import Members

SOON = 30.0


class TestUrls:
    def test_all_parts(self) -> None:
        found = Address.parse("//u%40x@h1,h2:99,[::1]:7/a/b?ca=/c&cert=/d&key=/e")
        assert found.members == (("h1", 2379), ("h2", 99), ("::1", 7))
        assert (found.namespace, found.user) == ("a/b/", "u@x")
        assert found.tls == {"ca": "/c", "cert": "/d", "key": "/e"}
        assert Address.parse("//h").namespace == "snnet/"

    @pytest.mark.parametrize(
        "url",
        [
            "", "//", "h:1", "//h:port", "//h,", "//h?token=1", "//h:0x1", "//a b", "//h?cert=/c",
            "//h?ca=/c&key=/k", "//h?cert=/c&key=/k",
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, url: str) -> None:
        with pytest.raises(InvalidRequest):
            Address.parse(url)

    @pytest.mark.parametrize("query", ["ca", "ca=", "ca=/nowhere", "ca={0}", "ca={0}/junk"])
    def test_files_of_tls_that_cannot_be_used(self, tmp_path: Path, query: str) -> None:
        """Above all an empty name, as of a variable that is not set: it is not "no TLS"."""
        (tmp_path / "junk").write_text("junk")
        with pytest.raises(InvalidRequest, match=r"ca=.* cannot be used: "):
            EtcdRegistry(f"//127.0.0.1:1?{query.format(tmp_path)}")

    def test_a_key_that_is_not_the_certificates(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca"))
        for name in "ab":
            issued = authority.issue_cert(name)
            issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}-cert"))
            issued.private_key_pem.write_to_path(str(tmp_path / f"{name}-key"))
        files = f"ca={tmp_path}/ca&cert={tmp_path}/a-cert&key={tmp_path}/b-key"
        with pytest.raises(InvalidRequest, match=r"a-cert with key=.*b-key cannot be used: "):
            EtcdRegistry(f"//127.0.0.1:1?{files}")

    def test_a_password_in_the_url_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(InvalidRequest, match=PASSWORD) as raised:
            Address.parse("//me:secret@h")
        assert "secret" not in str(raised.value)

    def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway, "PATIENCE", 0.2)
        with pytest.raises(
            Unavailable, match=r"no etcd member answers: 127\.0\.0\.1:1: "
        ) as raised:
            EtcdRegistry("//127.0.0.1:1")
        assert raised.value.unwritten

    @pytest.mark.parametrize("page", [b"<html>", b"{}", b"[]", b'{"status": "ok"}'])
    def test_another_server(self, monkeypatch: pytest.MonkeyPatch, page: bytes) -> None:
        """Something that answers every question with a page is not taken for etcd."""
        monkeypatch.setattr(Page, "text", page, raising=False)
        monkeypatch.setattr(gateway, "PATIENCE", 0.2)
        with ExitStack() as stack:
            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), Page))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            with pytest.raises(Unavailable, match="it is not etcd: correct the URL"):
                EtcdRegistry(f"//127.0.0.1:{server.server_port}")


class Page(BaseHTTPRequestHandler):
    text: ClassVar[bytes]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Lagging:
    """A gateway to a member that is some revisions behind, and counts what it is asked."""

    def __init__(self) -> None:
        self.revision, self.agreed = 5, 7
        self.asked: list[bool] = []

    def call(self, path: str, body: dict[str, Any], *, repeatable: bool = True) -> dict[str, Any]:
        ranges = [one["request_range"] for one in body["success"]]
        alone = all(one.get("serializable", False) for one in ranges)
        self.asked.append(alone)
        revision = self.revision if alone else self.agreed
        pair = {"key": encode(f"snnet/k{revision}"), "value": "e30=", "mod_revision": str(revision)}
        answer = {"response_range": {"kvs": [pair], "count": "1"}}
        return {"header": {"revision": str(revision)}, "responses": [answer for _ in ranges]}

    def close(self) -> None:
        pass


def test_a_member_that_lags_behind_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stream told of is read from one member, if it has come there, else from all."""
    gateway = Lagging()
    monkeypatch.setattr("snnet.registries.etcd.Gateway", lambda address: gateway)
    with EtcdRegistry("//h") as registry:
        gateway.asked.clear()
        assert registry.written(["k"], 4, 5)[0] == 5
        assert gateway.asked == [True]
        revision, (written,) = registry.written(["k"], 4, 6)
        assert (revision, [change.key for change in written.changes]) == (7, ["k7"])
        assert gateway.asked == [True, True, False]
        assert registry.written(["k"], 4)[0] == 7
        assert registry.keys(["k"], 3) == (3, {"k7"})
        assert gateway.asked[3:] == [False, False]


@pytest.mark.parametrize("value", [{}, {"value": base64.b64encode(b'{"a": "\xff"}').decode()}])
def test_a_value_of_others_is_a_damaged_document(
    value: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty one, which the gateway leaves out, and one that is not UTF-8."""
    monkeypatch.setattr("snnet.registries.etcd.Gateway", lambda address: Lagging())
    with EtcdRegistry("//h") as registry:
        change = registry.change({"key": encode("snnet/k"), "mod_revision": "7", **value})
    assert (change.key, change.revision) == ("k", 7)
    assert isinstance(change.entry().document, NoDocument)


class Silent:
    """A stream of a member that says nothing until it is closed."""

    member = 0

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers, self._closed = answers, threading.Event()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._answers
        if not self._answers:
            self._closed.wait()

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        self._closed.set()


class Opened:
    """A gateway of such streams, and an empty registry."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers, self.streams = answers, Queue[Silent]()

    def stream(self, path: str, requests: list[Any]) -> Silent:
        self.streams.put(stream := Silent(*self._answers))
        return stream

    def range(self, prefix: str) -> dict[str, Any]:
        return {"key": prefix}

    def keys(self, prefixes: list[str], at: int = 0) -> tuple[int, set[str]]:
        return 5, set()


def test_a_watch_that_etcd_refuses_says_so_and_does_not_press() -> None:
    """It may read the key that tells the revision, and not those that it watches."""
    refusal = {"created": True, "canceled": True, "cancel_reason": "permission denied"}
    etcd: Any = Opened(refusal)
    streams = Streams(etcd, etcd)
    watch = streams.watch([["k/"]], 5)
    with pytest.raises(Unavailable, match="etcd ended a watch: permission denied"):
        watch.next(10)
    assert etcd.streams.qsize() == 2
    streams.close()


def test_a_watch_that_etcd_has_not_answered_is_closed() -> None:
    etcd: Any = Opened()
    streams = Streams(etcd, etcd)
    streams.watch([["k/"]], 5)
    stream = etcd.streams.get(timeout=10)
    closing = threading.Thread(target=streams.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    assert stream._closed.is_set()


@pytest.fixture
def cluster(members: Members) -> Iterator[Members]:
    """The members; all of them run and have a leader before and after the test."""
    members.leader()
    yield members
    for member in range(3):
        if not members.running(member):
            members.start(member)
        members.resume(member)
    members.leader()


def retried(work: Callable[[], Any]) -> Any:
    """What the work returns as soon as etcd answers."""
    deadline = time.monotonic() + SOON
    while True:
        try:
            return work()
        except Unavailable:
            assert time.monotonic() < deadline


class Steps(threading.Thread):
    """Counts by compare-and-swap, with a document of its own for each step."""

    def __init__(self, registry: EtcdRegistry) -> None:
        super().__init__()
        self.registry = registry
        self.stopped = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                entry = self.registry.read("n").entries.get("n")
                number = entry.document["n"] if entry else 0
                step = f"log/{number + 1:06}"
                self.registry.commit(
                    [Put("n", {"n": number + 1}), Put(step, {}), Delete(f"log/{number - 5:06}")],
                    {"n": entry.revision if entry else 0, step: 0},
                )
            except (Stale, Unavailable):
                continue


def follow(watch: RegistryWatch, state: dict[str, int], until: Callable[[], bool]) -> None:
    """Apply what the watch reports; every commit must be seen as a whole."""
    deadline = time.monotonic() + SOON
    seen = set()
    while not until():
        assert time.monotonic() < deadline, "the watch stopped"
        try:
            changes = watch.next(1)
        except Unavailable:
            continue
        for change in changes:
            assert (change.key, change.revision) not in seen, "reported twice"
            seen.add((change.key, change.revision))
            if change.entry is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.revision
        if changes and "n" in state:
            newest = max(key for key in state if key.startswith("log/"))
            assert state[newest] == state["n"], "half a commit"


@pytest.mark.kernel
class TestFaults:
    @pytest.mark.parametrize("prefixes", [("",), ("n", "log/")], ids=["one", "two"])
    @pytest.mark.parametrize("how", ["kill", "pause"])
    def test_each_member_fails_in_turn(
        self, cluster: Members, how: str, prefixes: tuple[str, ...]
    ) -> None:
        """Two counters go on and lose no step; a watch misses none and repeats none."""
        url = cluster.url(f"{how}{len(prefixes)}")
        with EtcdRegistry(url) as registry, EtcdRegistry(url) as second:
            watch = registry.watch(*prefixes, after=registry.read().revision)
            state: dict[str, int] = {}
            with Steps(registry), Steps(second):
                for member in range(3):
                    goal = state.get("n", 0) + 6
                    getattr(cluster, how)(member)
                    follow(watch, state, lambda goal=goal: state.get("n", 0) >= goal)  # type: ignore[misc]
                    if how == "kill":
                        cluster.start(member)
                    else:
                        cluster.resume(member)
                    cluster.leader()
            final = retried(lambda: registry.read(*prefixes))
            expected = {key: entry.revision for key, entry in final.entries.items()}
            follow(watch, state, lambda: state == expected)
            number = final.entries["n"].document["n"]
            logs = sorted(key for key in expected if key.startswith("log/"))
            assert logs == [f"log/{n:06}" for n in range(max(1, number - 5), number + 1)]

    def test_without_a_majority(self, cluster: Members) -> None:
        """Nothing is read or written, and watches say so; then everything goes on."""
        state: dict[str, int] = {}
        with EtcdRegistry(cluster.url("majority")) as registry:
            session = registry.session(60)
            revision = registry.commit([Put("k", {"n": 1}, session.id)])
            watch = registry.watch("k", after=revision)
            others = {0, 1, 2} - {cluster.leader()}
            cluster.kill(*others)
            with pytest.raises(Unavailable):
                registry.read("k")
            with pytest.raises(Unavailable):
                registry.commit([Put("l", {})])
            with pytest.raises(Unavailable):
                assert watch.next(SOON)
            cluster.start(*others)
            cluster.leader()
            retried(session.renew)
            assert list(retried(lambda: registry.read("k")).entries) == ["k"]
            revision = retried(lambda: registry.commit([Put("k", {"n": 2}, session.id)]))
            follow(watch, state, lambda: state.get("k", 0) >= revision)
            session.close()

    def test_the_only_reachable_member_is_cut_off(self, cluster: Members) -> None:
        """It answers, but has no leader: its watch must not look merely idle."""
        state: dict[str, int] = {}
        leader = cluster.leader()
        alone = next(member for member in range(3) if member != leader)
        with EtcdRegistry(cluster.url("alone", [alone])) as registry:
            watch = registry.watch("k", after=registry.read().revision)
            assert watch.next(0.3) == []
            for member in {0, 1, 2} - {alone}:
                cluster.pause(member)
            with pytest.raises(Unavailable):
                assert watch.next(SOON)
            for member in {0, 1, 2} - {alone}:
                cluster.resume(member)
            cluster.leader()
            revision = retried(lambda: registry.commit([Put("k", {})]))
            follow(watch, state, lambda: state.get("k", 0) >= revision)

    def test_compaction_while_a_watch_has_no_member(self, cluster: Members) -> None:
        """One prefix: it says that it has missed something.  Several: it compares."""
        leader = cluster.leader()
        alone = next(member for member in range(3) if member != leader)
        with (
            EtcdRegistry(cluster.url("away", [alone])) as registry,
            EtcdRegistry(cluster.url("away", [leader])) as other,
        ):
            after = registry.commit([Put("k", {}), Put("l", {})])
            watches = [registry.watch("k", after=after), registry.watch("k", "l", after=after)]
            assert [watch.next(0.3) for watch in watches] == [[], []]
            cluster.kill(alone)
            other.commit([Delete("k")])
            revision = other.commit([Put("k", {"n": 2})])
            other.compact(revision)
            cluster.start(alone)
            with pytest.raises(Compacted):
                retried(partial(watches[0].next, SOON))
            changes = retried(partial(watches[1].next, SOON))
            assert [(change.key, change.revision) for change in changes] == [("k", revision)]
            late = registry.watch("k", "l", after=after)
            with pytest.raises(Compacted):
                late.next(SOON)

    def test_sessions_outlive_their_member(self, cluster: Members) -> None:
        """Renewals go to another member; without them the session ends."""
        with EtcdRegistry(cluster.url("sessions")) as registry:
            session = registry.session(5)
            registry.commit([Put("k", {}, session.id)])
            for member in range(3):
                cluster.kill(member)
                retried(session.renew)
                cluster.start(member)
                cluster.leader()
            assert list(retried(lambda: registry.read("k")).entries) == ["k"]
            watch = registry.watch("k", after=registry.read().revision)
            (change,) = retried(lambda: watch.next(SOON))
            assert change.entry is None
            with pytest.raises(SessionLost):
                retried(session.renew)

    def test_a_watch_of_many_prefixes_has_all_of_them(self, cluster: Members) -> None:
        """Etcd must read the whole request, also what it has not read when it begins to answer."""
        with EtcdRegistry(cluster.url("many")) as registry:
            for turn in range(10):
                prefixes = [f"{turn}/a/prefix/that/is/long/{number}/" for number in range(12)]
                watch = registry.watch(*prefixes, after=registry.read().revision)
                for prefix in reversed(prefixes):
                    registry.commit([Put(f"{prefix}k", {})])
                    assert [change.key for change in watch.next(SOON)] == [f"{prefix}k"]
                watch.close()

    def test_a_watch_of_several_prefixes_reads_only_what_changed(
        self, cluster: Members, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever is deleted with it; else each change would cost as much as there is."""
        with EtcdRegistry(cluster.url("few")) as registry:
            keys = [f"{letter}/{number:03}" for letter in "ab" for number in range(200)]
            for start in range(0, len(keys), 100):
                registry.commit([Put(key, {}) for key in keys[start : start + 100]])
            watch = registry.watch("a/", "b/", after=registry.read().revision)
            assert watch.next(0.3) == []
            sizes: list[int] = []
            ranges = EtcdRegistry._ranges

            def counted(self: EtcdRegistry, requests: Any) -> Any:
                revision, answers = ranges(self, requests)
                found = list(answers)
                sizes.append(sum(len(answer.get("kvs", [])) for answer in found))
                return revision, iter(found)

            monkeypatch.setattr(EtcdRegistry, "_ranges", counted)
            revision = registry.commit([Put("a/007", {"n": 1}), Put("b/new", {})])
            found = watch.next(SOON)
            assert {(change.key, change.revision) for change in found} == {
                ("a/007", revision), ("b/new", revision),
            }  # fmt: skip
            assert sizes == [2]
            # Nobody knows of deletions in the other stream: at most their prefix is listed.
            revision = registry.commit([Delete("a/008"), Delete("b/new"), Put("a/new", {})])
            found = watch.next(SOON)
            assert {(change.key, change.entry is None) for change in found} == {
                ("a/008", True), ("b/new", True), ("a/new", False),
            }  # fmt: skip
            assert {change.revision for change in found} == {revision}
            assert sum(sizes[1:]) <= 2 + 200
            registry.commit([Delete("a/new")])
            registry.commit([Put("a/new", {})])
            state: dict[str, int] = {}
            follow(watch, state, lambda: "a/new" in state)

    @pytest.mark.parametrize("value", [b"", b"hello", b"[1]", b"\xff\x00", b"[" * 100_000])
    def test_what_is_no_document_stops_nobody(self, cluster: Members, value: bytes) -> None:
        """Whoever wrote it: its object has failed and can be deleted, and the agent goes on."""
        url = cluster.url(f"no-document-{zlib.crc32(value)}")
        with (
            EtcdRegistry(url) as registry,
            Agent(
                "cn-1", NetworkConfig(topology="local", compute_nets=["192.0.2.0/24"]),
                registry=registry, backend="fake", firewall="fake", dhcp="fake",
            ) as agent,
        ):  # fmt: skip
            wanted = Cluster(registry)
            agent.step(0)
            wanted.create_network("web", tenant="acme", subnet="10.1.0.0/24")
            wanted.create_network("web", tenant="other", subnet="10.1.0.0/24")
            damaged = {keys.network("acme", "web"), f"{keys.ROOT}mine"}
            watch = registry.watch("", after=registry.read("").revision)
            namespace = url.rpartition("/")[2]
            for key in damaged:
                ask(
                    cluster.clients[0], "kv/put", value=base64.b64encode(value).decode(),
                    key=encode(f"{namespace}/{key}"),
                )  # fmt: skip
            told = set[str]()
            while not damaged <= told:
                told |= {change.key for change in watch.next(SOON)}
            wanted.create_vnic("v1", tenant="other", network="web", node="cn-1")
            deadline = time.monotonic() + SOON
            while wanted.get_vnic("other", "v1").state != "ready":
                assert time.monotonic() < deadline
                agent.step(0.1)
            failed, other = wanted.list_networks()
            assert "its document cannot be read: it is not a JSON object" in str(failed.error)
            assert (other.tenant, other.error) == ("other", None)
            wanted.delete_network("acme", "web", force=True)
            assert [item.tenant for item in wanted.list_networks()] == ["other"]

    def test_a_forked_child_is_refused(self, cluster: Members) -> None:
        with EtcdRegistry(cluster.url("fork")) as registry:
            child = os.fork()
            if child == 0:
                try:
                    registry.read("")
                except InvalidRequest:
                    registry.close()
                    os._exit(7)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            registry.commit([Put("k", {})])

    def test_closing_leaves_no_thread(self, cluster: Members) -> None:
        before = set(threading.enumerate())
        with EtcdRegistry(cluster.url("threads")) as registry:
            for number in range(5):
                registry.watch(f"k{number}", "l", after=registry.read().revision)
            registry.watch("k", after=0).close()
        mine = set(threading.enumerate()) - before
        for thread in mine:
            thread.join(30)  # it may have its last step before it
        assert not any(thread.is_alive() for thread in mine)

    def test_many_documents_come_in_pages(
        self, cluster: Members, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of one revision, though others write meanwhile."""
        monkeypatch.setattr("snnet.registries.etcd._PAGE", 7)
        with EtcdRegistry(cluster.url("pages")) as registry:
            keys = [f"{letter}/{number:02}" for letter in "abc" for number in range(30)]
            revision = registry.commit([Put(key, {"k": key}) for key in keys])
            reading = registry.read("a/", "b/", "c/")
            assert list(reading.entries) == keys
            assert reading.revision == revision
            assert list(registry.read("").entries) == keys
            for number in itertools.count():
                registry.commit([Put("b/05", {"n": number})])
                if number == 3:
                    break
            watch = registry.watch("a/", "b/", after=revision)
            assert [change.key for change in watch.next(SOON)] == ["b/05"]


@pytest.mark.kernel
def test_an_etcd_without_space(etcd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so at once, takes deletions, and sessions live on."""
    monkeypatch.setattr(gateway, "PATIENCE", 3600.0)
    members = Members(etcd, tmp_path, "--quota-backend-bytes", str(1 << 21))
    members.start()
    members.leader()
    try:
        with EtcdRegistry(members.url("x")) as registry:
            session = registry.session(60)
            registry.commit([Put("k", {})])

            def fill() -> None:
                for number in range(200):
                    registry.commit([Put(f"big{number}", {"x": "y" * 50_000})])

            with pytest.raises(Unavailable, match="no space left: compact its history") as caught:
                fill()
            assert caught.value.unwritten
            with pytest.raises(Unavailable, match="no space left"):
                registry.session(60)
            registry.commit([Delete("k")])
            assert registry.read("k").entries == {}
            session.renew()
    finally:
        members.kill()


def ask(port: int, path: str, token: str = "", **body: Any) -> Any:
    """Call a method of etcd."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v3/{path}",
        json.dumps(body).encode(),
        {"Authorization": token} if token else {},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.kernel
class TestSecurity:
    @pytest.fixture
    def certificates(self, tmp_path: Path) -> dict[str, str]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca"))
        for name in ("server", "client"):
            issued = authority.issue_cert("127.0.0.1")
            issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}-cert"))
            issued.private_key_pem.write_to_path(str(tmp_path / f"{name}-key"))
        return {path.name: str(path) for path in tmp_path.iterdir()}

    def test_tls_with_certificates_of_both_sides(
        self,
        etcd: str,
        tmp_path: Path,
        certificates: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        files = certificates
        (tmp_path / "data").mkdir()
        members = Members(
            etcd,
            tmp_path / "data",
            *("--client-cert-auth", "--trusted-ca-file", files["ca"]),
            *("--cert-file", files["server-cert"], "--key-file", files["server-key"]),
            scheme="https",
        )
        members.start()
        try:
            tls = f"?ca={files['ca']}&cert={files['client-cert']}&key={files['client-key']}"
            with retried(lambda: EtcdRegistry(members.url("x") + tls)) as registry:
                watch = registry.watch("k", after=registry.read().revision)
                registry.commit([Put("k", {"n": 1})])
                assert len(watch.next(SOON)) == 1
            monkeypatch.setattr(gateway, "PATIENCE", 0.5)
            for bad in ("", f"?ca={files['ca']}", f"?ca={files['server-cert']}"):
                with pytest.raises(Unavailable):
                    EtcdRegistry(members.url("x") + bad)
        finally:
            members.kill()

    def test_a_signed_token_after_a_change_of_roles(
        self, etcd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """etcd refuses it from then on, whatever the change was about."""
        secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (tmp_path / "key").write_bytes(
            secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (tmp_path / "public").write_bytes(
            secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        (tmp_path / "data").mkdir()
        files = f"pub-key={tmp_path}/public,priv-key={tmp_path}/key"
        members = Members(
            etcd, tmp_path / "data", "--auth-token", f"jwt,{files},sign-method=RS256,ttl=10m"
        )
        members.start()
        members.leader()
        monkeypatch.setenv(PASSWORD, "secret")
        try:
            call = partial(ask, members.clients[0])
            call("auth/user/add", name="root", password="secret")
            call("auth/role/add", name="root")
            call("auth/user/grant", user="root", role="root")
            call("auth/enable")
            url = members.url("x").replace("//", "//root@")
            with EtcdRegistry(url) as registry:
                watch = registry.watch("k", after=registry.read().revision)
                token = call("auth/authenticate", name="root", password="secret")["token"]
                uses: list[Callable[[], object]] = [
                    registry.read, partial(registry.commit, [Put("k", {})]), registry.read
                ]  # fmt: skip
                for number, use in enumerate(uses):
                    call("auth/role/add", token=token, name=f"r{number}")
                    token = call("auth/authenticate", name="root", password="secret")["token"]
                    use()
                assert [change.key for change in watch.next(SOON)] == ["k"]
        finally:
            members.kill()

    def test_users_and_roles(
        self, etcd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The recipes of docs/registry.md: enough for an agent and an operator, and no more."""
        members = Members(etcd, tmp_path, "--auth-token-ttl", "2")
        members.start()
        members.leader()
        port = members.clients[0]
        url = members.url("snnet")

        def call(path: str, **body: Any) -> None:
            ask(port, f"auth/{path}", **body)

        def opened(user: str) -> EtcdRegistry:
            return EtcdRegistry(url.replace("//", f"//{user}@"))

        rights = {
            "root": ("", ""),
            "agent": (
                "networks/ groups/ members/ concentrators/ questions/ vnics/cn-1/",
                "registry/ nodes/cn-1/ alive/cn-1/ status/cn-1/ tunnels/cn-1/ answers/cn-1/ "
                "claims/node-numbers/",
            ),
            "operator": (
                "answers/ nodes/ alive/ concentrators/ vnics/ forwards/ public-ips/ networks/ "
                "status/",
                "questions/",
            ),
        }
        try:
            for name, (read, write) in rights.items():
                call("user/add", name=name, password="secret")
                call("role/add", name=name)
                call("user/grant", user=name, role=name)
                for kind, prefixes in (("READ", read), ("READWRITE", write)):
                    for prefix in prefixes.split():
                        key, end = (f"snnet/v1/{prefix[:-1]}{last}" for last in "/0")
                        perm = {"permType": kind, "key": encode(key), "range_end": encode(end)}
                        call("role/grant", name=name, perm=perm)
                if read:
                    perm = {"permType": "READ", "key": encode("snnet/")}
                    call("role/grant", name=name, perm=perm)
            call("enable")
            monkeypatch.setenv(PASSWORD, "secret")
            with opened("root") as root, opened("operator") as operator:
                cluster = Cluster(root)
                cluster.create_network("web", subnet="10.1.0.0/24", tenant="acme")
                for name in ("v1", "v2"):
                    cluster.create_vnic(name, network="web", tenant="acme", node="cn-1")
                root.commit([Put("v1/concentrators/acme/", {"address": "192.0.2.9"})])
                with opened("agent") as registry:
                    hub = NetworkConfig(compute_nets=["192.0.2.0/24"])
                    with Agent("cn-1", hub, registry=registry, roles=["compute"],
                               backend="fake", firewall="fake") as agent:  # fmt: skip
                        agent.step(0)
                        assert agent.status()["problem"] is None
                        question = Question("v1", "v2")
                        with ThreadPoolExecutor(1) as pool:
                            told = pool.submit(explain_hosts, operator, question, 10)
                            seen = pool.submit(gather, operator, None, 10)
                            while not seen.done():
                                agent.step(0.1)
                        assert told.result().explanation.why == "v2 of acme answers"
                        picture = live.picture(Cluster(operator), seen.result())
                        assert picture.counts == "1 host, 1 concentrator, 1 tenant, 2 VNICs"
                    with pytest.raises(Denied):
                        registry.read("v1/answers/cn-2/")
                    assert cluster.get_vnic("acme", "v1").state == "ready"
                    for forbidden in ("v1/vnics/cn-2/acme/v2/", "v1/status/cn-2/x/", "secret"):
                        for user in (registry, operator):
                            with pytest.raises(Denied, match="permission denied"):
                                user.commit([Put(forbidden, {})])
                    with pytest.raises(Denied):
                        registry.read("")
                    time.sleep(3)  # the token expires
                    assert list(registry.read("v1/tunnels/cn-1/").entries) == [
                        "v1/tunnels/cn-1/acme/web/"
                    ]
            with pytest.raises(Denied, match="user name is empty"):
                EtcdRegistry(url)
            monkeypatch.setenv(PASSWORD, "wrong")
            with pytest.raises(Denied, match="authentication failed"):
                opened("agent")
        finally:
            members.kill()
