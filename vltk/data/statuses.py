"""How an input row can end: a closed list of words, each with its meaning and whether another try can mend it."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The word of `rows/*.parquet` and of the manifest; `meaning` is one line, `retry` whether to fetch it again."""

    meaning: str
    retry: bool

    def __new__(cls, word: str, meaning: str = "", retry: bool = False) -> Status:
        status = str.__new__(cls, word)
        status._value_ = word
        status.meaning, status.retry = meaning, retry
        return status

    ok = "ok", "stored"
    # the row
    no_url = "no_url", "the row has no URL"
    bad_scheme = "bad_scheme", "the URL is neither http nor https"
    bad_url = "bad_url", "the URL cannot be read as one"
    no_caption = "no_caption", "the caption is empty"
    unreadable_row = "unreadable_row", "the input line has another layout, or is no text"
    filtered = "filtered", "left out on purpose: a filter of the card, a split list, too few words"
    # the network
    private_address = "private_address", "the host is a private, loopback or link-local address"
    dns = "dns", "the host name has no address", True
    refused = "refused", "the host accepts no connection", True
    timeout = "timeout", "no answer in time", True
    too_slow = "too_slow", "the answer was not complete at the deadline", True
    too_large = "too_large", "more bytes than the limit"
    cut_short = "cut_short", "the answer ended before the length that it announced", True
    redirect_loop = "redirect_loop", "redirected in a circle, or too often"
    opted_out = "opted_out", "the host asks not to be used for machine learning (X-Robots-Tag)"
    # the answer
    http_403 = "http_403", "the host forbids it"
    http_404 = "http_404", "not there"
    http_410 = "http_410", "gone for good"
    http_429 = "http_429", "too many requests at once", True
    http_4xx = "http_4xx", "refused for another reason (HTTP 4xx)"
    http_5xx = "http_5xx", "an error of the server (HTTP 5xx)", True
    # the file
    missing_file = "missing_file", "the file is not there, or there more than once"
    not_an_image = "not_an_image", "the bytes are no image: an HTML page, text, an unknown format"
    undecodable = "undecodable", "an image that is cut or damaged"
    too_many_pixels = "too_many_pixels", "more pixels than the limit, by the header"
    too_small = "too_small", "a side below the smallest that is allowed"
    too_long_side = "too_long_side", "a long side too many times the short side"
    unknown_failure = "unknown_failure", "a failure of no known kind; the detail says what was seen", True
