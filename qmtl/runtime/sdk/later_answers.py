"""Answers that are made when somebody looks at them: of a thousand series few are looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.sdk.fetch_context import FetchEnd
from qmtl.runtime.sdk.result_builder import receipt_of, reported
from qmtl.runtime.sdk.results import FetchResult


class LaterAnswer(NamedTuple):
    """All that an answer is made of where its rows are whole and nothing was found in them.

    It needs neither the store nor the provider. baseline: what its report is compared with.
    """

    end: FetchEnd
    baseline: Mapping[str, Any] | None
    pipeline: ConformancePipeline

    @property
    def frame(self) -> pl.DataFrame:
        """Its rows, which others have as well."""
        return self.end.evaluated.frame

    def made(self) -> FetchResult:
        """The answer; each call makes one."""
        return plain_result(self.end, self.baseline, self.pipeline)


def plain_result(
    end: FetchEnd, baseline: Mapping[str, Any] | None, pipeline: ConformancePipeline
) -> FetchResult:
    """The result of a fetch that had nothing to raise, to archive or to tell of."""
    evaluated = end.evaluated
    return FetchResult(
        _frame=evaluated.frame,
        _receipt=partial(receipt_of, end, evaluated.frame, None, ()),
        _states=lambda: evaluated.states,
        _report=partial(reported, pipeline, end, evaluated.check, baseline, ()),
    )


class Answers(Mapping[str, FetchResult]):
    """Answers by node id, in order. Each is made once, when it is first asked for."""

    def __init__(self, answers: Mapping[str, FetchResult | LaterAnswer]) -> None:
        self._answers = answers
        self._made: dict[str, FetchResult] = {}

    def __getitem__(self, name: str) -> FetchResult:
        answer = self._answers[name]
        if isinstance(answer, FetchResult):
            return answer
        made = self._made.get(name)
        # Of two threads both get what the first has made.
        return self._made.setdefault(name, answer.made()) if made is None else made

    def frames(self) -> dict[str, pl.DataFrame]:
        """The rows of each, for which no answer has to be made."""
        return {name: answer.frame for name, answer in self._answers.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, name: object) -> bool:
        return name in self._answers

    def __repr__(self) -> str:
        return repr(dict(self))
