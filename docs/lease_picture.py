"""The life of a lease, drawn from its table of transitions."""

from __future__ import annotations

from collections.abc import Iterator

from drawing import BLUE, GREY, ROSE, SAND, TEAL, Arrow, Box, diagram

from qmtl.foundation.leases import FINAL, TRANSITIONS, LeaseState

_W, _H = 170, 44
# Where the box of each state stands, and what is said below its name.
_PLACES = {
    LeaseState.REQUESTED: (20, 150, "a shard has missing bars"),
    LeaseState.HELD: (270, 150, "one worker fills it"),
    LeaseState.REQUEUED: (270, 300, "somebody else may try"),
    LeaseState.COMPLETED: (540, 30, "all was asked for"),
    LeaseState.FAILED: (540, 120, "the holder gave up"),
    LeaseState.EXPIRED: (540, 210, "the holder fell silent"),
    LeaseState.ABANDONED: (810, 165, "with its violation"),
}


def leases() -> str:
    """One box per state, one arrow per line of the table."""
    title = "The life of a lease: " + ", ".join(state.value for state in LeaseState)
    return diagram(1000, 370, title, [*_boxes(), *_arrows()])


def _boxes() -> Iterator[Box]:
    fills = {
        LeaseState.HELD: BLUE,
        LeaseState.COMPLETED: TEAL,
        LeaseState.ABANDONED: ROSE,
        LeaseState.FAILED: SAND,
        LeaseState.EXPIRED: SAND,
    }
    assert set(_PLACES) == set(LeaseState)
    for state, (x, y, words) in _PLACES.items():
        yield Box(x, y, _W, _H, (state.value, words), fills.get(state, GREY))


def _arrows() -> Iterator[Arrow]:
    for (state, event), after in TRANSITIONS.items():
        assert state not in FINAL
        words = event.__name__.lower()
        if state is after:  # a loop above the box
            x, y, _ = _PLACES[state]
            loop = ((x + 50, y), (x + 50, y - 30), (x + 100, y - 30), (x + 100, y))
            yield Arrow(loop, words, at=(x + 75, y - 36))
        else:
            start, end = _border(state, after), _border(after, state)
            yield Arrow((start, end), words, at=_beside(start, end))


def _beside(start: tuple[int, int], end: tuple[int, int]) -> tuple[int, int]:
    """A place for words next to the middle of a line."""
    (ax, ay), (bx, by) = start, end
    x, y = (ax + bx) // 2, (ay + by) // 2
    if ax == bx:
        return x + 32, y
    slope = (by - ay) / (bx - ax)
    return x + round(60 * max(-0.6, min(0.6, slope))), y - 7


def _border(state: LeaseState, other: LeaseState) -> tuple[int, int]:
    """Where the line between the middles of two boxes leaves the first."""
    (x, y), (far_x, far_y) = _middle(state), _middle(other)
    dx, dy = far_x - x, far_y - y
    share = min(_W / 2 / abs(dx) if dx else 1.0, _H / 2 / abs(dy) if dy else 1.0)
    return round(x + dx * share), round(y + dy * share)


def _middle(state: LeaseState) -> tuple[int, int]:
    x, y, _ = _PLACES[state]
    return x + _W // 2, y + _H // 2
