"""Keeps a run from time to time, and takes it up where it was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.replay.pieces import pieces
from qmtl.runtime.replay.run import Part, Run
from qmtl.runtime.sdk.proof import ReadRange
from qmtl.runtime.sdk.run_state import Header, Place, RunState, StateFile
from qmtl.runtime.sdk.strategy import Strategy

# After so many rows the clock is looked at, and after so many seconds the file is written.
ROWS_BETWEEN, EVERY_S = 20_000, 5.0


class RunKeeper:
    """Of a run that has not begun: where its file is there, the run is put to where that one was.

    read: what the run reads, as it grows. monotonic: seconds that never go back. is_timed: parts are not the
    same when they are read again, and the place is the time up to which all was played.
    """

    def __init__(
        self,
        file: StateFile,
        header: Header,
        run: Run,
        strategy: Strategy,
        read: Sequence[ReadRange],
        monotonic: Callable[[], float],
        is_timed: bool,
    ) -> None:
        self._file, self._header = file, header
        self._run, self._strategy, self._read = run, strategy, read
        self._monotonic, self._is_timed = monotonic, is_timed
        self._written: float | None = None
        self._until = 0
        self._state = file.state()
        if self._state is not None:
            self._until = self._state.place.part
            run.take_up(self._state.run)
            if is_timed:
                run.drop_ahead()
            vars(strategy).clear()
            vars(strategy).update(self._state.strategy)

    def pieces(self, number: int, part: Part, until: int) -> Iterator[tuple[Part, int]]:
        """What is left to be played of part `number`. The run is kept between two of its pieces.

        Raises `InvalidRequestError` where other bars were read than by the run that is taken up.
        """
        if self._is_timed:
            yield from self._timed(part, until)
            return
        for piece, found in enumerate(pieces(part, until, ROWS_BETWEEN)):
            place = Place(number, piece)
            if self._state is not None and place < self._state.place:
                continue
            if self._state is not None:
                self._check(self._state)
                self._state, self._written = None, self._monotonic()
            else:
                self._keep_if_due(place)
            yield found

    def _timed(self, part: Part, until: int) -> Iterator[tuple[Part, int]]:
        for piece, upto in pieces(part, until, ROWS_BETWEEN):
            self._keep_if_due(Place(self._until, 0))
            yield piece, upto
            self._until = upto

    def _check(self, state: RunState) -> None:
        if list(state.read) != list(self._read):
            raise InvalidRequestError(
                f"the state {self._file.path} is of a run that was given other bars",
                why="what is read again up to there has other fingerprints",
                next_step="delete it to begin again",
            )

    def _keep_if_due(self, place: Place) -> None:
        if self._written is not None and self._monotonic() - self._written < EVERY_S:
            return
        own = {name: value for name, value in vars(self._strategy).items() if name != "_run"}
        self._file.write(self._header, RunState(place, self._run.kept(), own, list(self._read)))
        self._written = self._monotonic()
