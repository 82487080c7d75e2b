"""How the demo speaks: headings, sentences, checks that are really made, and pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from qmtl.foundation.states import BarStates
from qmtl.interfaces.cli.coverage_bar import render, styled
from qmtl.runtime.sdk.receipt import Receipt


class Stage:
    """Prints for people; counts what it claimed, and whether it was true."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed = 0

    def act(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(title, "bold"), align="left"))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def check(self, claim: str, holds: bool) -> None:
        """Say what was claimed, and whether it holds; a demo that shows something untrue fails."""
        self.failed += not holds
        mark = Text("  true   ", "green") if holds else Text("  FALSE  ", "bold red")
        self.console.print(mark + Text(claim, "default"), soft_wrap=True)

    def error(self, error: Exception) -> None:
        """An error as its reader would see it."""
        name = type(error).__name__
        message = str(error).replace("\n", "\n    ")
        self.console.print(Text.assemble((f"  {name}: ", "bold red"), message), soft_wrap=True)

    def picture(self, states: BarStates) -> None:
        bar = render(states, min(self.console.width - 4, 96))
        self.console.print(Text("\n").join(Text("  ") + styled(line) for line in bar))

    def receipt(self, receipt: Receipt) -> None:
        for name, value in receipt.lines():
            self.console.print(Text.assemble((f"  {name:<12} ", "bold"), value), soft_wrap=True)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        shown = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
        self.console.print(Text.assemble(("  took   ", "cyan"), f"{shown} for the {what}"), soft_wrap=True)
