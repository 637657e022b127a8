"""Addresses that may be connected to, URLs as they are sent, wishes of hosts not to be used."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from vltk.data.fetch import addresses, answer
from vltk.data.fetch.hosts import Hosts
from vltk.data.fetch.policy import FetchError, Policy, agent, followed, quoted
from vltk.data.statuses import Status


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
    ],
)
def test_a_private_address_is_not_public(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_public(address: str) -> None:
    assert addresses.is_public(address)


def test_resolving_keeps_the_public_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(0, 0, 0, "", ("10.0.0.1", port)), (0, 0, 0, "", ("8.8.8.8", port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert addresses.resolve("mixed.example", 80) == [("8.8.8.8", 80)]
    assert addresses.resolve("mixed.example", 80, allow_private=True) == [("10.0.0.1", 80), ("8.8.8.8", 80)]


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "::1"])
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    with pytest.raises(FetchError) as caught:
        addresses.resolve(host, 80)
    assert caught.value.status == "private_address"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://a.example/x.jpg", "http://a.example/x.jpg"),
        (" HTTPS://A.Example \n", "https://a.example/"),
        ("http://a.example/pic ture.jpg?q=a b#part", "http://a.example/pic%20ture.jpg?q=a%20b"),
        ("http://a.example/größe", "http://a.example/gr%C3%B6%C3%9Fe"),
        ("http://a.example/100%/x%20y", "http://a.example/100%25/x%20y"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://a.example:8080/a\tb\nc", "http://a.example:8080/abc"),
        ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/x"),
        ('http://a.example/"<>\\^`{|}', "http://a.example/%22%3C%3E%5C%5E%60%7B%7C%7D"),
    ],
)
def test_a_url_is_quoted_once_and_for_all(url: str, sent: str) -> None:
    assert quoted(url) == sent
    assert quoted(quoted(url)) == sent


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (None, "no_url"),
        ("  ", "no_url"),
        ("None", "bad_scheme"),
        ("file:///etc/passwd", "bad_scheme"),
        ("data:image/png;base64,AA", "bad_scheme"),
        ("a.example/x.jpg", "bad_scheme"),
        ("http://", "bad_url"),
        ("http:///x", "bad_url"),
        ("http://a.example:0/", "bad_url"),
        ("http://a.example:http/", "bad_url"),
        ("http://user:word@a.example/", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://a b.example/", "bad_url"),
        ("http://a.example/\ud800", "bad_url"),
        ("http://a\u2100b.example/", "bad_url"),
        (f"http://{'ü' * 80}.example/", "bad_url"),
    ],
)
def test_what_is_no_url_is_named(url: str | None, status: str) -> None:
    with pytest.raises(FetchError) as caught:
        quoted(url)
    assert caught.value.status == status


def test_a_redirect_is_followed_where_it_can_be() -> None:
    assert followed("http://a.example/b/c", "../d e") == "http://a.example/d%20e"
    for place in ("http://[x", "//[x", "http://a\u2100b.example/"):
        with pytest.raises(FetchError) as caught:
            followed("http://a.example/", place)
        assert caught.value.status == "bad_url"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("\u00b2", None),
        (f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT", None),
        (f"Mon, 01 Jan {'9' * 5000} 00:00:00 GMT", None),
    ],
)
def test_the_wait_that_a_host_asks_for_is_read(value: str, seconds: float | None) -> None:
    assert answer.retry_after([(b"retry-after", value.encode("latin-1"))]) == seconds


def test_each_refusal_of_a_silenced_host_is_an_error_of_its_own() -> None:
    async def refused() -> FetchError:
        with pytest.raises(FetchError) as caught:
            async with hosts.turn("a.example:80"):
                pass
        return caught.value

    hosts = Hosts(Policy(patience=1.0))
    reason = FetchError(Status.http_429, "asked before")
    hosts._host("a.example:80").pause(100.0, reason)
    first, second = asyncio.run(refused()), asyncio.run(refused())
    assert first is not second and reason.__traceback__ is None  # one error raised again and again keeps every caller
    assert (second.status, second.detail) == ("http_429", "asked before")


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("x-robots-tag", "noai", True),
        ("x-robots-tag", "NoML", True),
        ("x-robots-tag", "nofollow, noimageindex", True),
        ("x-robots-tag", "none", True),
        ("x-robots-tag", "vltk: noindex", True),
        ("x-robots-tag", "*: noai", True),
        ("x-robots-tag", "otherbot: nofollow, noindex", False),
        ("x-robots-tag", "otherbot: noindex, vltk: noai", True),
        ("x-robots-tag", "unavailable_after: 25 Jun 2030 15:00:00 PST, noindex", True),
        ("x-robots-tag", "all", False),
        ("tdm-reservation", "1", True),
        ("tdm-reservation", "0", False),
    ],
)
def test_the_wish_not_to_be_used_is_read(name: str, value: str, refused: bool) -> None:
    headers = [(name.encode(), value.encode())]
    if not refused:
        answer.check_opt_out(headers, Policy())
        return
    with pytest.raises(FetchError) as caught:
        answer.check_opt_out(headers, Policy())
    assert caught.value.status == "opted_out"


def test_the_user_agent_says_who_asks() -> None:
    assert agent("https://lab.example/crawl").endswith("(+https://lab.example/crawl)")
    assert Policy().user_agent.startswith("vltk/")
    assert "Mozilla" not in Policy().user_agent
