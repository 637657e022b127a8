"""The HTML of the report: pieces every section is made of, and the page around them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")


def number(value: float) -> str:
    """Four digits that matter, thousands apart, small ones as 5e-4."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 0.001:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 20 s` or `5 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def section(title: str, body: str, *, name: str = "", note: str = "") -> str:
    """A titled part of a stage; empty when its body is."""
    if not body:
        return ""
    lead = f'<p class="note">{note}</p>' if note else ""
    anchor = f' id="{escape(name)}"' if name else ""
    return f'<section class="part"{anchor}><h3>{escape(title)}</h3>{lead}{body}</section>'


def fold(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def notice(text: str) -> str:
    """A plain sentence where something could not be shown; line breaks are kept."""
    return f'<p class="notice">{escape(text)}</p>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = ()) -> str:
    """A table; cells are HTML, columns in `numeric` are set to the right."""
    right = set(numeric)
    mark = [' class="num"' if i in right else "" for i in range(len(heads))]
    head = "".join(f"<th{mark[i]}>{escape(text)}</th>" for i, text in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{mark[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Short facts side by side: (what, HTML value); those without a value are left out."""
    cells = "".join(f"<div><dt>{escape(what)}</dt><dd>{value}</dd></div>" for what, value in pairs if value)
    return f'<dl class="facts">{cells}</dl>'


def pill(status: str) -> str:
    known = status if status in ("running", "finished", "stopped") else "other"
    return f'<span class="pill {known}">{escape(status)}</span>'


def page(title: str, body: str) -> str:
    """The whole document: nothing in it is fetched from anywhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{body}\n</main>\n<script>\n{SCRIPT.read_text(encoding='utf-8')}</script></body></html>\n"
    )
