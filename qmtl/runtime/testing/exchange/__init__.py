"""A whole exchange on this machine, with an API that ordinary clients talk to, and every fault on request."""

from qmtl.runtime.testing.exchange.faults import (
    Altered,
    Cached,
    Cut,
    Elsewhere,
    Fault,
    NoAnswer,
    Outage,
    ShortPage,
    SinceIgnored,
    Status,
    doubled,
    high_below_low,
    in_microseconds,
    in_seconds,
    negative_price,
    not_a_number,
    shifted,
    shuffled,
)
from qmtl.runtime.testing.exchange.market import Market, Trade
from qmtl.runtime.testing.exchange.server import Request, SimulatedExchange

__all__ = [
    "Altered",
    "Cached",
    "Cut",
    "Elsewhere",
    "Fault",
    "Market",
    "NoAnswer",
    "Outage",
    "Request",
    "ShortPage",
    "SimulatedExchange",
    "SinceIgnored",
    "Status",
    "Trade",
    "doubled",
    "high_below_low",
    "in_microseconds",
    "in_seconds",
    "negative_price",
    "not_a_number",
    "shifted",
    "shuffled",
]
