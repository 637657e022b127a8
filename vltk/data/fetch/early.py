"""An early look: when the first rows give far fewer images than expected, the fetch stops and names the symptom."""

from __future__ import annotations

from collections import Counter

from vltk.data.fetch.downloader import Piece, outcomes
from vltk.data.fetch.estimate import DEFAULT_RATE
from vltk.data.fetch.packer import check
from vltk.data.prepare import Limits, NotAdmitted
from vltk.data.statuses import Status
from vltk.errors import VltkError

ROWS = 500  # rows that are looked at
FEWEST = 50  # of a shorter list
SHARE = 1 / 3  # of the expected rate

SYMPTOMS = {
    Status.not_an_image: "a proxy or a login page answers instead of the hosts: look at the answer above, and at the "
    "network that this machine is in",
    Status.dns: "names do not resolve: look at the DNS of this machine (data.md: a caching resolver near by helps)",
    Status.private_address: "the names resolve to private addresses: a captive network, or a list of inner hosts "
    "(allow_private=true)",
    Status.refused: "connections are refused: look at the firewall and the proxy settings of this machine",
    Status.timeout: "nothing answers in time: look at the firewall of this machine, or fetch with fewer threads",
    Status.too_slow: "the line is too slow for so many downloads at once: fewer threads, or a longer deadline",
    Status.http_403: "the hosts forbid it: many do so to data centres and unknown agents; give a contact",
    Status.http_429: "too many requests at once: fewer threads, a lower per_host",
}
OTHER = "are the columns right, and is the list current?"


class TooFew(VltkError):
    """The first rows give far fewer images than expected."""


class Look:
    """Counts how rows end until there are enough; `expected` is the share that should give an image."""

    def __init__(self, expected: float | None, limits: Limits) -> None:
        self.expected, self.limits = expected or DEFAULT_RATE, limits
        self.statuses: Counter[Status] = Counter()
        self.examples: dict[Status, str] = {}

    @property
    def enough(self) -> bool:
        return self.statuses.total() >= ROWS

    def at(self, piece: Piece) -> None:
        """Looks at a finished piece. Raises TooFew when there are enough rows, and too few images among them."""
        for outcome in outcomes(piece):
            result = None if outcome.data is None else check(outcome.data, self.limits)
            status = result.status if isinstance(result, NotAdmitted) else outcome.status
            detail = result.detail if isinstance(result, NotAdmitted) else outcome.detail
            self.statuses[status] += 1
            self.examples.setdefault(status, f"{outcome.url}: {detail or status.meaning}")
            if self.enough:
                break
        if self.enough:
            self.judge()

    def judge(self) -> None:
        """Raises TooFew when too few of the rows so far gave an image."""
        total, good = self.statuses.total(), self.statuses[Status.ok]
        if total < FEWEST or good >= SHARE * self.expected * total:
            return
        failed = [(status, count) for status, count in self.statuses.most_common() if status != Status.ok]
        told = ", ".join(f"{count} {status.value} ({status.meaning})" for status, count in failed[:4])
        worst = failed[0][0]
        raise TooFew(
            f"stopped: {good} of the first {total} rows gave an image, {self.expected:.0%} were expected\n"
            f"The others: {told}\nFor instance {self.examples[worst]}\n"
            f"Likely: {SYMPTOMS.get(worst, OTHER)}\n"
            f"If it is meant to be so: expected={max(good / total, 0.001):.3f}"
        )
