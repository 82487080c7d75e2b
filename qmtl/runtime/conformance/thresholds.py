"""Where plausible ends: every threshold of the rules with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Where plausible ends. Each was set on real data, so that clean series raise nothing.

    Prices are compared as natural logarithms of ratios: 0.1 is about 10 percent.

    A range is the true range of a bar (from the lower of its low and the close before, to the higher of its
    high and that close); its neighbours are up to 63 bars on either side. The usual range is their median, a
    large one their 90th percentile, the nearest ones are those of the four bars on either side.

    Small excursions must be out of all proportion, for real markets have many of them:
    spike_least: an excursion below this is no spike, whatever its surroundings. Late prints after hours
        reach 0.015 beyond quiet minutes of SPY (2011-03-21, 2013-10-08).
    spike_times_usual: a spike is this many times the usual range ...
    spike_times_large: ... and this many times a large one. The flash crash of
        2010-05-06 was 19.7 and 9.8 times (AAPL, hours), the mildest bad print that must be found, SPY's of
        2000-12-18, is 23.8 and 11.1 times; wrong digits are hundreds of times.
    spike_rows: neighbours that must exist to know a range.

    Far excursions are rare, so it is enough that they stand out:
    far_least: from here on; the largest real wick in 24,000 days of shares is 0.20 (AAPL, 2010-05-06).
    far_times_usual, far_times_large, far_times_near: how many times the usual range, a large one, and the
        largest of the nearest it must be. A crash has wild days beside it: that of bitcoin on 2015-01-14 was
        10, 3.6 and 1.8 times. A low of half the price is 20, 11 and 9 times on a usual day of AAPL.
    far_always: no excursion, and no jump, beyond this is plausible in any series: 7.4 times the price.

    shift_least: a move between closes below this is no level shift; a 3:2 split is 0.41.
    shift_kept: the share of the move that the following bars must keep.
    jump_least: a move below this is no price jump; YHOO rose by 0.39 on an offer (2008-02-01), a 2:1 split is
        0.69. The usual range grows with the square root of the bars that are missing before the jump, as the
        range of a random walk does; otherwise a jump is judged as a far excursion is.
    jump_times_near: as far_times_near, for jumps; that of bitcoin on 2015-01-14 was 2.3 times.
    volume_times: a volume spike is this many times the largest volume among the neighbours.
    run_rows: a run of bars that repeat one another is no finding if it is shorter than this. Seconds of SPY
        before the open repeat 30 times.
    run_always: a run as long as this is a finding whatever lies around it, so no more of it need be read.
    padded_share: made-up bars are a finding where they are at least this share of the bars around (63 on
        either side, and the bar itself). Each bar of a run of 32 among bars that trade reaches it.
    padded_rows: how many bars around must exist to know the share.
    silence_chance: a silence is implausible if the local rhythm gives it less than this chance; so is a run.
    silence_times_gap: and if it is this many times the third longest of the gaps (runs) around it.
    silence_rows: neighbours that must exist on a side for that side to have a rhythm.
    other_timeframe_steps: so many steps in a row must have a common divisor.
    beside_session: nanoseconds from a session within which a bar outside it is extended hours. US shares
        trade from 5.5 hours before the open; nine hours cover the night between two sessions.
    """

    spike_least: float = 0.05
    spike_times_usual: float = 20.0
    spike_times_large: float = 10.0
    spike_rows: int = 8
    far_least: float = 0.3
    far_times_usual: float = 5.0
    far_times_large: float = 1.5
    far_times_near: float = 2.0
    far_always: float = 2.0
    shift_least: float = 0.35
    shift_kept: float = 0.5
    jump_least: float = 0.5
    jump_times_near: float = 3.0
    volume_times: float = 20.0
    run_rows: int = 60
    run_always: int = 4096
    padded_share: float = 0.25
    padded_rows: int = 32
    silence_chance: float = 1e-9
    silence_times_gap: float = 4.0
    silence_rows: int = 32
    other_timeframe_steps: int = 32
    beside_session: int = 9 * 3_600_000_000_000


DEFAULT_THRESHOLDS = Thresholds()
