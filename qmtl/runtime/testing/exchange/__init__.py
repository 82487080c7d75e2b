"""A whole exchange on this machine, with an API that ordinary clients talk to, and every fault on request."""

from qmtl.runtime.testing.exchange.faults import (
    Altered,
    Cut,
    Fault,
    NoAnswer,
    Outage,
    ShortPage,
    Status,
    doubled,
    high_below_low,
    negative_price,
    not_a_number,
    shifted,
    shuffled,
)
from qmtl.runtime.testing.exchange.market import Market, Trade
from qmtl.runtime.testing.exchange.server import Request, SimulatedExchange

__all__ = [
    "Altered",
    "Cut",
    "Fault",
    "Market",
    "NoAnswer",
    "Outage",
    "Request",
    "ShortPage",
    "SimulatedExchange",
    "Status",
    "Trade",
    "doubled",
    "high_below_low",
    "negative_price",
    "not_a_number",
    "shifted",
    "shuffled",
]
