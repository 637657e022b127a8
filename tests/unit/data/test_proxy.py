"""The guarding proxy against a loopback web: each bad case has its status, and nothing gets past the limits."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.web import Web, good
from tests.web_cases import Case
from vltk.data.fetch.hosts import DEAD_AFTER
from vltk.data.fetch.policy import FetchError, Policy, quoted
from vltk.data.fetch.proxy import Proxy
from vltk.data.fetch.server import Log, Server


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def policy(web: Web) -> Policy:
    return Policy(private_hosts=web.hosts, deadline=2.0, patience=2.0)


def ask(proxy: Proxy, url: str, method: str = "GET") -> tuple[str, bytes]:
    """Status word and body of a URL in the request line."""
    with closing(http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=60)) as connection:
        connection.request(method, url)
        answer = connection.getresponse()
        word = "ok" if answer.status == 200 else answer.reason.split()[1]
        return word, answer.read()


def rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_case_of_the_web_ends_as_it_must(web: Web, policy: Policy, tmp_path: Path) -> None:
    def end(case: Case) -> tuple[str, str]:
        try:
            return case.name, ask(proxy, quoted(case.url))[0]
        except FetchError as error:  # never sent
            return case.name, error.status

    cases = web.cases()
    with Proxy(policy, tmp_path / "log") as proxy, ThreadPoolExecutor(len(cases)) as pool:
        found = dict(pool.map(end, cases))
        peak = _peak_megabytes(proxy.process.pid)
    assert found == {case.name: case.status for case in cases}
    assert peak < 200
    assert web.agents == {policy.user_agent}
    # refusals are not repeated; a host that says when to come back is asked once more
    assert {web.requests[f"/{name}"] for name in ("404", "410", "403", "429", "500", "noai")} == {1}
    assert web.requests["/503-once"] == 2


def _peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_the_bytes_arrive_unchanged_and_each_request_is_in_the_log(web: Web, policy: Policy, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Proxy(policy, log) as proxy:
        assert ask(proxy, web.good(3)) == ("ok", good(3))
        assert ask(proxy, f"{web.url}/gzip") == ("ok", good(36))
        assert ask(proxy, f"{web.url}/404") == ("http_404", b"")
    first, _, last = rows(log)
    assert (first["url"], first["status"], first["bytes"]) == (web.good(3), "ok", len(good(3)))
    assert (last["status"], last["bytes"]) == ("http_404", 0)
    assert 0 <= first["seconds"] < 60


def test_without_leave_no_request_reaches_a_private_address(web: Web, policy: Policy, tmp_path: Path) -> None:
    before = web.requests.total()
    with Proxy(replace(policy, private_hosts=()), tmp_path / "log") as proxy:
        assert ask(proxy, web.good(1))[0] == "private_address"
        assert ask(proxy, f"http://localhost:{web.port}/good/1.jpg")[0] == "private_address"
        assert _tunnel(proxy, f"127.0.0.1:{web.port}")[1] == "private_address"
        assert ask(proxy, "file:///etc/hostname")[0] == "bad_scheme"
        assert ask(proxy, web.good(1), "POST")[0] == "unknown_failure"
    assert web.requests.total() == before
    with Proxy(Policy(allow_private=True), tmp_path / "log") as proxy:
        assert ask(proxy, web.good(1)) == ("ok", good(1))


def test_what_asks_of_the_proxy_itself_ends(policy: Policy, tmp_path: Path) -> None:
    with Proxy(replace(policy, allow_private=True), tmp_path / "log") as proxy:
        assert ask(proxy, f"{proxy.url}/x")[0] == "http_4xx"
        with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=20) as link:
            link.sendall(b"nonsense\r\n\r\n")
            assert link.recv(2**16).startswith(b"HTTP/1.1 400 vltk bad_url no request")


def _tunnel(proxy: Proxy, target: str) -> tuple[socket.socket, str]:
    """A socket after CONNECT, and the status word."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    link = socket.create_connection((host, int(port)), timeout=20)
    link.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and (byte := link.recv(1)):
        head += byte
    words = head.decode().split("\r\n")[0].split()
    return link, "ok" if words[1] == "200" else words[3]


def _read_all(link: socket.socket) -> int:
    count = 0
    while data := link.recv(2**16):
        count += len(data)
    return count


def test_a_tunnel_has_a_deadline_and_a_limit(web: Web, policy: Policy, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Proxy(replace(policy, deadline=1.0, max_bytes=2**20), log) as proxy:
        for path, most in (("endless", 2**20 + 2**17), ("hang", 0)):
            link, word = _tunnel(proxy, f"127.0.0.1:{web.port}")
            begun = time.monotonic()
            with link:
                link.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert word == "ok"
                assert _read_all(link) <= most
            assert time.monotonic() - begun < 10
        assert _tunnel(proxy, "169.254.169.254:80")[1] == "private_address"
        assert _tunnel(proxy, "no-port")[1] == "bad_url"


def test_whatever_goes_wrong_with_a_url_its_request_is_answered(tmp_path: Path) -> None:
    async def ask_for(url: str) -> bytes:
        server = Server(Policy(), Log(tmp_path / "log"))
        server.client.get = broken  # type: ignore[method-assign]
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        with closing(listener), closing(writer):
            writer.write(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return await reader.read()

    async def broken(url: str) -> Any:
        raise LookupError("nobody thought of this")

    said = asyncio.run(ask_for("http://a.example/"))
    assert said.startswith(b"HTTP/1.1 502 vltk unknown_failure LookupError: nobody thought of this\r\n")
    assert rows(tmp_path / "log")[0]["status"] == "unknown_failure"


def test_a_host_that_asks_for_quiet_is_left_alone(policy: Policy, tmp_path: Path) -> None:
    with Web() as web, Proxy(replace(policy, private_hosts=web.hosts), tmp_path / "log") as proxy:
        assert ask(proxy, f"{web.url}/429-long")[0] == "http_429"
        assert {ask(proxy, web.good(number))[0] for number in range(5)} == {"http_429"}
        assert web.requests.total() == 1


def test_a_dead_host_is_not_waited_for_again_and_again(web: Web, policy: Policy, tmp_path: Path) -> None:
    log, url = tmp_path / "log", f"http://127.0.0.1:{web.closed_port}/x.jpg"
    with Proxy(policy, log) as proxy:
        assert {ask(proxy, url)[0] for _ in range(DEAD_AFTER + 2)} == {"refused"}
        assert ask(proxy, web.good(1))[0] == "ok"
    details = [row.get("detail", "") for row in rows(log)]
    assert sum(detail.startswith("not asked") for detail in details) == 2


def test_a_host_gets_few_requests_at_once(policy: Policy, tmp_path: Path) -> None:
    with Web() as web, Proxy(replace(policy, private_hosts=web.hosts, per_host=2), tmp_path / "log") as proxy:
        web.slow_down(0.2)
        with ThreadPoolExecutor(12) as pool:
            assert set(pool.map(lambda number: ask(proxy, web.good(number))[0], range(12))) == {"ok"}
        assert web.most_at_once == 2


def test_the_whole_chain_of_redirects_has_one_deadline(web: Web, policy: Policy, tmp_path: Path) -> None:
    with Proxy(replace(policy, deadline=1.0), tmp_path / "log") as proxy:
        begun = time.monotonic()
        assert ask(proxy, f"{web.url}/redirect-slowly?0")[0] == "timeout"
        assert time.monotonic() - begun < 8


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    both, key = tmp_path / "both.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"]
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*making, *subject, "-keyout", str(key), "-out", str(both)], check=True, capture_output=True)
    both.write_text(both.read_text() + key.read_text())
    return both


class _Picture(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(good(1))

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def secure(certificate: Path) -> Iterator[str]:
    """host:port of a server that speaks TLS."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Picture) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_https_is_spoken_by_the_proxy_and_the_certificate_is_checked(
    secure: str, certificate: Path, policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(policy, private_hosts=(secure,))
    with Proxy(mine, tmp_path / "log") as proxy:
        assert ask(proxy, f"https://{secure}/x.jpg")[0] == "refused"
    assert "CERTIFICATE_VERIFY_FAILED" in rows(tmp_path / "log")[0]["detail"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Proxy(mine, tmp_path / "log") as proxy:
        assert ask(proxy, f"https://{secure}/x.jpg") == ("ok", good(1))


PARENT = """
import sys, time
from pathlib import Path
from vltk.data.fetch.policy import Policy
from vltk.data.fetch.proxy import Proxy
with Proxy(Policy(), Path(sys.argv[1])) as proxy:
    print(proxy.process.pid, flush=True)
    time.sleep(60)
"""


def test_the_proxy_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    proxy = Path("/proc") / parent.stdout.readline().strip()
    assert proxy.exists()
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    until = time.monotonic() + 10
    while _lives(proxy) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(proxy)


def _lives(process: Path) -> bool:
    """False for a zombie too, where nobody reaps orphans."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
