"""What stands before the command: which settings, which store, and where output goes."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from qmtl.interfaces.cli.arguments import as_path

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from qmtl.foundation.server_addresses import ServerAddress
    from qmtl.foundation.settings import Settings
    from qmtl.runtime.io.sql.postgres.store import PostgresStore
    from qmtl.runtime.io.sql.upkeep import KeptStore
    from qmtl.runtime.sdk.provider import SeamlessDataProvider
    from qmtl.runtime.worlds.world import World


# Columns where there is no terminal: a file or a pipe folds nothing.
NO_TERMINAL = 1_000
# Variables by which rich may take a file or a pipe for a terminal.
_CALLS_IT_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")


class Log(StrEnum):
    """How stderr is written: for people, or a JSON object per line and nothing else."""

    text = "text"
    json = "json"


@dataclass
class Session:
    """One call of `qmtl`. With `json`, stdout belongs to machines, and people read stderr.

    With `log` as JSON, machines read stderr too; what `json` sends there for people is left out.
    """

    config: Path | None
    store: Path | str | None  # a text is an address
    json: bool
    verbose: bool
    log: Log = Log.text
    options: Container[str] = ()  # the options of the command at work

    def settings(self) -> Settings:
        """As qmtl.yml, QMTL_ variables and `--store` say. Raises `SettingsError`."""
        with _without_plugins():
            from qmtl.foundation.settings import Settings

            settings = Settings.load(self.config)
        if self.store is None:
            return settings
        store: Path | ServerAddress | None
        if isinstance(self.store, str):
            from qmtl.foundation.server_addresses import server_named

            store = server_named(self.store)
        else:
            store = self.store
        seamless = settings.seamless.model_copy(update={"store": store})
        return settings.model_copy(update={"seamless": seamless})

    def world(self, path: Path) -> World:
        """The world of a file. Raises `SettingsError`."""
        with _without_plugins():
            from qmtl.runtime.worlds.loading import load_world

            return load_world(path)

    def provider(self, *, make: bool = True) -> SeamlessDataProvider:
        """A provider as the settings say; a context manager."""
        settings = self.settings()  # before the provider, which would load the models with plugins

        from qmtl.foundation.observability.metrics import Unread
        from qmtl.runtime.sdk.provider import SeamlessDataProvider

        if not make:
            _must_exist(settings.seamless.store)
        # Commands show their own progress, and end before anybody could read their metrics.
        return SeamlessDataProvider.from_settings(settings, progress=False, metrics_registry=Unread())

    def open_store(
        self, *, make: bool = False, read_only: bool = False, lost_commits_ok: bool = False
    ) -> KeptStore:
        """The store alone. Without `make`, a store that is not there is an error, not a new one."""
        from qmtl.runtime.sdk.stores import embedded_store, postgres_store, questdb_store

        seamless = self.settings().seamless
        if not make:
            _must_exist(seamless.store)
        if isinstance(seamless.store, Path):
            return embedded_store(
                seamless.store,
                read_only=read_only,
                retention=seamless.retention,
                lost_commits_ok=lost_commits_ok,
            )
        from qmtl.foundation.questdb_address import QuestDBAddress

        if isinstance(seamless.store, QuestDBAddress):
            return questdb_store(seamless.store, read_only=read_only, retention=seamless.retention)
        return postgres_store(seamless.store, read_only=read_only, retention=seamless.retention)

    def server_store(self, what: str) -> PostgresStore:
        """The store on a server, for what only a server has. Raises `InvalidRequestError` for a folder."""
        from qmtl.foundation.errors import InvalidRequestError
        from qmtl.foundation.store_address import StoreAddress
        from qmtl.runtime.sdk.stores import postgres_store

        store = self.settings().seamless.store
        if not isinstance(store, StoreAddress):
            what_it_is = "a folder" if isinstance(store, Path) else "one with rows in QuestDB"
            raise InvalidRequestError(
                f"{what} is of stores on PostgreSQL",
                why=f"this one is {what_it_is}: {store}",
                next_step="use the rights of its files, such as chmod",
            )
        _must_exist(store)
        return postgres_store(store)

    @property
    def stream(self) -> TextIO | None:
        """Where people read; None where that is closed."""
        return sys.stderr if self.json else sys.stdout

    @property
    def is_plain(self) -> bool:
        """Whether what people read is surely without styles, and no terminal limits its lines."""
        is_terminal = self.stream is not None and self.stream.isatty()
        return not (is_terminal or any(name in os.environ for name in _CALLS_IT_A_TERMINAL))

    def console(self) -> Console:
        """The same, with styles. Rich, which makes it, is loaded for a terminal alone."""
        from qmtl.interfaces.cli.console import PipeAwareConsole

        console = PipeAwareConsole(
            file=self.stream,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )
        if not console.is_terminal:
            console.width = NO_TERMINAL
        return console

    def show(self, *what: RenderableType) -> None:
        """For people."""
        if (self.json and self.log is Log.json) or self.stream is None:
            return
        from qmtl.foundation.words import shown_lines

        what = tuple(shown_lines(one) if isinstance(one, str) else one for one in what)
        text = _plain(what, NO_TERMINAL if self.is_plain else None)
        if text is None:
            self.console().print(*what, sep="\n", markup=False)
        else:
            typer.echo(text, err=self.json)

    def note(self, text: str) -> None:
        """For people, and always on stderr."""
        if self.log is Log.json:
            logging.getLogger("qmtl.cli").info(text, extra={"event": "cli.note", "text": text})
        else:
            from qmtl.foundation.words import shown_lines

            typer.echo(shown_lines(text), err=True)  # the words of a vendor or server may stand in it

    def emit(self, value: Any) -> None:
        """For machines: one JSON document per call of `qmtl`; nothing without `--json`."""
        if self.json:
            import json

            json.dump(value, sys.stdout, indent=2, allow_nan=False)
            sys.stdout.write("\n")

    @contextmanager
    def logging(self) -> Iterator[None]:
        """With -v or --log json, what the package logs goes to stderr while the command runs."""
        if not self.verbose and self.log is Log.text:
            yield
            return
        from qmtl.foundation.observability.log import JsonLines, written_to

        formatter = (
            JsonLines()
            if self.log is Log.json
            else logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")
        )
        with written_to(sys.stderr, formatter, logging.DEBUG if self.verbose else logging.INFO):
            yield


def _plain(what: Iterable[RenderableType], width: int | None) -> str | None:
    """The lines of what rich would print as they are, and is not loaded for; None for all else.

    width: columns for tables, where nothing is styled.
    """
    lines: list[str] = []
    for one in what:
        shown = one.split("\n") if isinstance(one, str) else width and _lines_of_table(one, width)
        if not shown or not all(map(str.isprintable, shown)):
            return None
        lines += shown
    return "\n".join(lines)


def _lines_of_table(one: RenderableType, width: int) -> list[str] | None:
    from qmtl.interfaces.cli.tables import Rows

    return one.without_style(width) if isinstance(one, Rows) else None


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Let pydantic make models without its plugins: it looks for them in every package that is installed.

    typer does so for the parameters of a command.
    """
    name = "PYDANTIC_DISABLE_PLUGINS"
    before = os.environ.get(name)
    os.environ[name] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def place(store: str) -> Path | str:
    """What `--store` names: a folder, or a text that is meant as the address of a server."""
    from qmtl.foundation.local_paths import names_questdb, names_server

    return store if names_server(store) or names_questdb(store) else as_path(store)


def _must_exist(store: Path | ServerAddress) -> None:
    from qmtl.foundation.errors import StoreError
    from qmtl.runtime.sdk.stores import is_store

    if not (store.expanduser().exists() if isinstance(store, Path) else is_store(store)):
        raise StoreError(
            "there is no store yet",
            path=store,
            next_step="name another with --store DIR, or fill this one with 'qmtl import' or 'qmtl fetch'",
        )


def session_of(ctx: typer.Context) -> Session:
    """The session that the options before the command made."""
    session: Session = ctx.obj
    return session


def _json_too(ctx: typer.Context, wanted: bool) -> bool:
    if wanted:
        session_of(ctx).json = True
    return wanted


# `--json` stands before the command; people write it behind, too.
JsonToo = Annotated[bool, typer.Option("--json", callback=_json_too, help="As before the command.")]


_NANOSECONDS = re.compile(r"-[0-9]+|[0-9]{9,}")


def instant(text: str | None) -> str | int | None:
    """A time as it is written on a command line: ints are nanoseconds, negative or of nine digits on."""
    return int(text) if text is not None and _NANOSECONDS.fullmatch(text) else text


def commit_time(text: str, name: str) -> int:
    """A point in time to read the store at (ns); `name` is that of the option or argument."""
    from qmtl.foundation.times import to_ns, warn_of_small_ints

    written = instant(text)
    warn_of_small_ints(written)
    return to_ns(written, name=name)
