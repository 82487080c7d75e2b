"""Pages that are made from the code itself, so that they cannot drift: mkdocs calls this when it builds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = "en/reference"

_START = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=en/">
<a href="en/">qmtl</a>
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in the folder."""
    pages = {
        "cli": cli(),
        "rules": rules(),
        "metrics": metrics(),
        "settings": settings(),
        "worlds": worlds(),
        "errors": errors(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to tests, which are no part of the site, become their names."""
    return re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+(tests/[^)#]+)#([^)]+)\)",
        lambda match: f'<abbr title="{match[2]}::{match[3]}">{match[1]}</abbr>',
        markdown,
    )


def on_post_build(config: MkDocsConfig) -> None:
    """The root of the site leads to the English pages."""
    Path(config.site_dir, "index.html").write_text(_START, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def code(value: object) -> str:
    return f"`{value}`"


# -- the command line ------------------------------------------------------------------------------------


def cli() -> str:
    """Every command, as its `--help` tells it."""
    from qmtl.interfaces.cli.main import COMMANDS, FAMILIES

    parts = [
        "# Command line\n",
        "This page is what `--help` says.\n",
        _help(),
        "## Exit codes\n",
        exit_codes(),
        "A user's mistake never shows a traceback: it says what, where, and what to do next. With `--json` "
        "the error is a JSON document on stdout, too.\n",
    ]
    for name in COMMANDS:
        parts += [f"## qmtl {name}\n", _help(name)]
    for family, (_, commands) in FAMILIES.items():
        parts.append(f"## qmtl {family}\n")
        for name in commands:
            parts += [f"### qmtl {family} {name}\n", _help(*family.split(), name)]
    return "\n".join(parts)


def _help(*words: str) -> str:
    from typer.testing import CliRunner

    from qmtl.interfaces.cli.main import app

    shown = CliRunner(env={"COLUMNS": "96", "NO_COLOR": "1"}).invoke(
        app, [*words, "--help"], prog_name="qmtl"
    )
    if shown.exit_code:
        raise RuntimeError(f"qmtl {' '.join(words)} --help ended with {shown.exit_code}: {shown.output}")
    return f"```text\n{shown.output.strip()}\n```\n"


def exit_codes() -> str:
    """What a script can rely on."""
    from qmtl.interfaces.cli.guard import DEFECT, EXIT_CODES, INTERRUPTED, PIPE_CLOSED

    kinds: dict[int, list[str]] = {}
    for kind, number in EXIT_CODES:
        kinds.setdefault(number, []).append(code(kind.__name__))
    meanings = {
        2: "bad input",
        3: "data missing",
        4: "conformance: impossible or suspicious data",
        5: "an SLA budget or bound is breached",
        6: "schema: a refused change, promotion, version or audit log; rows that break a strict schema",
        7: "a source, the store or a package is unavailable",
    }
    rows = [("0", "complete", "")]
    rows += [(str(number), meanings[number], ", ".join(names)) for number, names in sorted(kinds.items())]
    rows += [
        (str(DEFECT), "a defect of qmtl; please report it", "anything else"),
        (str(INTERRUPTED), "interrupted by Ctrl-C; the next run resumes", ""),
        (str(PIPE_CLOSED), "the reader of a pipe went away", ""),
    ]
    return table(("code", "meaning", "error"), rows)


# -- catalogs ------------------------------------------------------------------------------------------


CHANGES = """What can be said of a change from one schema to another. Each problem comes with an instance
that the one schema accepts and the other rejects, confirmed by a library; where a rule is ours, or nothing
could be decided, the meaning says so.
"""


def _of_change(language: str) -> str:
    from qmtl.foundation.schema.compatibility.avro import RULES as AVRO
    from qmtl.foundation.schema.compatibility.json_schema import RULES as JSON

    found = AVRO if language == "Avro" else JSON
    return f"### {language}\n\n" + table(("rule", "meaning"), ((code(one), found[one]) for one in found))


def rules() -> str:
    """The rule catalog and its thresholds."""
    import inspect
    from dataclasses import fields

    from qmtl.runtime.conformance.rules import RULES, RULESET, Thresholds

    meanings = {
        "error": "Impossible. Such a row is never stored as present: it is kept aside (quarantined), its bar "
        "stays `unknown`, and is asked for again. Errors cannot be accepted.",
        "warning": "Suspicious. The row is stored and served, and a fetch raises until the bar is accepted.",
        "info": "Worth knowing. Never raises.",
    }
    parts = [
        "# Rules\n",
        "Every rule that bars are checked against, from `qmtl.runtime.conformance.rules`. Ids are stable. "
        f"This rule set is `{RULESET}`; reports name the one that judged them.\n",
    ]
    for severity, meaning in meanings.items():
        rows = [
            (code(rule.id), rule.stage, rule.meaning, rule.advice)
            for rule in RULES.values()
            if rule.severity == severity
        ]
        parts += [f"## {severity}\n", meaning + "\n", table(("rule", "stage", "meaning", "what to do"), rows)]
    parts += ["## Changes of a schema\n", CHANGES, _of_change("JSON Schema"), _of_change("Avro")]
    parts += [
        "## Thresholds\n",
        "Hand `ConformancePipeline(Thresholds(...))` to a provider to change them.\n",
        table(("threshold", "default"), ((code(f.name), code(f.default)) for f in fields(Thresholds))),
        f"```text\n{inspect.getdoc(Thresholds)}\n```\n",
    ]
    return "\n".join(parts)


def metrics() -> str:
    """The metric catalog and the log fields."""
    from qmtl.foundation.observability.catalog import CATALOG, LOG_FIELDS

    rows = (
        (code(one.name), one.kind, one.unit, ", ".join(map(code, one.labels)) or "none", one.meaning)
        for one in CATALOG
    )
    fields = ", ".join(map(code, LOG_FIELDS))
    return "\n".join(
        [
            "# Metrics and logs\n",
            "Metrics go to `prometheus_client.REGISTRY`, or to the `metrics_registry=` of a provider.\n",
            table(("metric", "kind", "unit", "labels", "meaning"), rows),
            "## Logs\n",
            "The loggers are `seamless.backfill` and `seamless.sla`, of the standard library; `qmtl -v` "
            f"shows them. Every event tells {fields}: the series, its timeframe, and the range as ISO 8601 "
            "UTC, its end open.\n",
            "`backfill.close_failed` is logged where a vendor, a feed or its pages could not be closed, with "
            "`source` and `error`: data are not concerned. Where all of a provider is closed it tells of no "
            "series, and of a feed no range. `backfill.left_behind` (`thread`, `seconds`) is logged where "
            "something blocked the provider's loop so long that `close()` did not wait for it.\n",
        ]
    )


KEYS = {
    "seamless": {
        "store": ("`~/.local/share/qmtl` (Linux)", "the folder of the store; made if it is not there"),
        "cache_bytes": ("`256MiB`", "how much of what was read is kept in memory"),
        "partial_ok": ("`false`", "answer with holes and findings instead of raising"),
        "sla": ("none", "budgets and bounds of each fetch; [its keys](../how-to/sla.md)"),
        "series": ("none", "declared facts of series; see below"),
        "vendors": ("ccxt, if installed", "who serves which series; see below"),
        "settle": ("`60s`", "how long a bar must have been closed before an answer without it is `no_trade`"),
        "absent_expiry": ("`24h`", "how long an absence holds before it is asked about again"),
        "retention": ("for ever", "how long older versions are kept for `as_of`; `compact` deletes the rest"),
        "max_staleness": (
            "`0s`",
            "how long what other machines commit to a store on a server may escape the cache;"
            " [0 asks each time](../operations/postgres.md#how-fresh-an-answer-is)",
        ),
        "coordinator_url": (
            "none",
            "the URL of a [coordinator](../operations/coordinator.md), which keeps machines that share a "
            "store from asking for the same bars",
        ),
        "coordinator_token": ("none", "a bearer token for the coordinator; never shown"),
    },
    "seamless.series[]": {
        "match": ("required", "a pattern of node ids; the first that matches wins"),
        "calendar": ("`24x7`", "`24x7`, `FX`, or a MIC such as `XNYS`"),
        "anchor": ("`clock`", "`clock`, or `session` if intraday bars are counted from each open"),
        "allow_nonpositive": ("`false`", "prices of zero and less are possible"),
        "has_volume": ("`true`", "`false` if the source has no volumes"),
    },
    "seamless.vendors[] of kind ccxt": {
        "match": ("required", "a pattern of node ids; the first that matches wins"),
        "kind": ("required", "`ccxt`"),
        "exchange": ("required", "the id of the exchange in ccxt"),
        "urls": (
            "ccxt's own",
            "one URL for all APIs, or ccxt's names of APIs to URLs; for proxies, simulators",
        ),
    },
    "seamless.vendors[] of kind files": {
        "match": ("required", "a pattern of node ids; the first that matches wins"),
        "kind": ("required", "`files`"),
        "path": ("required", "where the files are; may hold `{venue}`, `{symbol}`, `{timeframe}`"),
        "columns": ("found by name", "which column is which, as [on import](import.md)"),
        "date": ("none", "the column of dates, where dates and times stand apart"),
        "time": ("none", "the column of times beside it"),
        "ts_format": ("ISO 8601", "how stamps are written, such as `%d.%m.%Y %H:%M`"),
        "tz": ("UTC", "the zone of stamps that name none, or a server clock such as `America/New_York+7h`"),
        "unit": ("none", "what numeric stamps count: `s`, `ms`, `us`, `ns`, `excel`"),
        "label": (
            "`open`",
            "whether a stamp is the `open` or the `close` of its bar, or lies in its `session`",
        ),
        "scale": ("1", "what stored values are multiplied by"),
        "decimal": ("`.`", "the decimal mark of numbers that are text"),
        "thousands": ("none", "what stands between thousands"),
        "null": ("none", "words that stand for no value"),
        "where": ("all rows", "conditions that a row must meet; may hold `{symbol}` as the path does"),
        "encoding": ("UTF-8", "of text files"),
        "skip_head": ("0", "lines to leave out at the start"),
        "skip_foot": ("0", "lines to leave out at the end"),
        "separator": ("from the first line", "what stands between fields"),
        "table": ("the only one", "the member of a zip, or the keys of JSON"),
        "holes": ("`unknown`", "what a bar between the rows is: `unknown`, or `no_trade` for complete files"),
    },
    "seamless.vendors[] of kind python": {
        "match": ("required", "a pattern of node ids; the first that matches wins"),
        "kind": ("required", "`python`"),
        "object": ("required", "`package.module:name`, or an entry point of the group `qmtl.vendors`"),
        "options": ("none", "what the class or function of that name is called with"),
    },
    "seamless.vendors[] of kind polygon": {
        "match": ("required", "a pattern of node ids; the first that matches wins"),
        "kind": ("required", "`polygon`; the key is the variable `POLYGON_API_KEY`"),
        "url": ("`https://api.polygon.io`", "of the API; for proxies, simulators"),
        "per_minute": ("`5`", "requests that the plan allows, shared by all processes of this machine"),
    },
    "connectors": {
        "schema_registry_url": ("none", "the schema registry to ask, such as `http://127.0.0.1:8081`"),
        "schema_registry_user": ("none", "the name it knows you by; needs the password"),
        "schema_registry_password": ("none", "its password; never shown; better in the variable"),
        "schema_registry_token": ("none", "a bearer token in place of both; never shown"),
    },
    "schema": {
        "validation_mode": (
            "`canary`",
            "what a row that breaks its schema does where no record of governance says: `canary` reports it,"
            " `strict` refuses it",
        ),
    },
}


def settings() -> str:
    """The keys of qmtl.yml, within the text beside this file; a key without words fails the build."""
    from pydantic import BaseModel

    from qmtl.foundation.settings import (
        CcxtSettings,
        ConnectorsSettings,
        FilesSettings,
        PythonSettings,
        SchemaSettings,
        SeamlessSettings,
        SeriesSettings,
    )
    from qmtl.foundation.vendor_settings import PolygonSettings

    models: tuple[type[BaseModel], ...] = (
        SeamlessSettings,
        SeriesSettings,
        CcxtSettings,
        FilesSettings,
        PythonSettings,
        PolygonSettings,
        ConnectorsSettings,
        SchemaSettings,
    )
    parts = []
    for (section, keys), model in zip(KEYS.items(), models, strict=True):
        if set(keys) != set(model.model_fields):
            raise RuntimeError(f"docs/hooks.py: KEYS of {section} are not those of {model.__name__}")
        rows = ((code(key), default, meaning) for key, (default, meaning) in keys.items())
        parts.append(f"### {section}\n\n" + table(("key", "default", "meaning"), rows))
    text = Path(__file__).with_name("settings.md.in").read_text(encoding="utf-8")
    return text.replace("{keys}", "\n".join(parts))


WORLD_KEYS = {
    "the file": {
        "version": ("`1`", "of the form of the file; another one is refused"),
        "world": ("required", "the world"),
    },
    "world": {
        "id": ("required", "its name: letters, digits, `_`, `.` and `-`"),
        "data": ("required", "its data"),
    },
    "world.data": {
        "presets": ("required", "its inputs; one at least"),
        "preset_folder": ("none", "a folder of further presets; a relative path starts at the world file"),
        "definitions": ("none", "further presets, here"),
    },
    "world.data.presets[]": {
        "id": ("required", "by which an input of a strategy names it; each once"),
        "preset": ("required", "the name of a preset"),
        "universe": ("required", "which symbols; see below"),
        "timeframe": ("none", "where the preset leaves it open, and only there"),
        "window": ("of the preset", "how much history; see below"),
        "seamless": ("of the preset", "how it is fetched and judged; see below"),
        "live": ("of the preset", "what holds near the present; see below"),
    },
    "universe": {
        "symbols": ("required", "as they stand in node ids; each once, and in one preset of the world alone"),
    },
    "window": {
        "warmup_bars": ("`0`", "bars that an input has seen before its strategy runs"),
        "min_history": ("`0s`", "how far back history reaches at least"),
        "backfill_start": ("none", "where history begins; else as far back as the two others need"),
    },
    "seamless": {
        "sla_preset": ("`baseline`", "budgets, and whether holes are answered; see below"),
        "conformance_preset": ("`strict-blocking`", "what warnings and errors do; see below"),
        "backfill_mode": ("`foreground`", "by which strategy an input fetches what is missing; see below"),
        "stabilization_bars": ("`0`", "so many of the newest closed bars are held back: history ends before"),
        "publish_fingerprint": ("`false`", "tell the fingerprint of each history when the world was applied"),
    },
    "live": {
        "max_lag": ("none", "by how much the newest bar may trail the newest that is due"),
        "allow_partial": ("`false`", "whether others go on where a series is behind"),
    },
    "a preset": {
        "preset": ("required", "its name"),
        "meaning": ("none", "a sentence for people"),
        "series": ("required", "node ids with `{symbol}`, and `{timeframe}` where worlds name it"),
        "vendor": ("none", "as an entry of [`seamless.vendors`](settings.md), without `match`"),
        "feed": ("none", "refused: a preset cannot name a live feed yet"),
        "calendar": ("`24x7`", "declared of its series, as in [`seamless.series`](settings.md)"),
        "anchor": ("`clock`", "likewise"),
        "allow_nonpositive": ("`false`", "likewise"),
        "has_volume": ("`true`", "likewise"),
        "subject": ("`ohlcv.<venue>.<timeframe>`", "under which their schema is registered"),
        "window": ("none", "defaults of a world"),
        "seamless": ("none", "defaults of a world"),
        "live": ("none", "defaults of a world"),
    },
}


def worlds() -> str:
    """The keys of world files and presets, the names they may use, and the presets that are shipped."""
    from pydantic import BaseModel

    from qmtl.runtime.worlds.catalog import SHIPPED, read_preset
    from qmtl.runtime.worlds.definition import PresetDefinition
    from qmtl.runtime.worlds.parts import LivePart, SeamlessPart, WindowPart
    from qmtl.runtime.worlds.policies import BACKFILL_MODES, CONFORMANCE_PRESETS, SLA_PRESETS
    from qmtl.runtime.worlds.world_file import DataPart, PresetEntry, UniversePart, WorldFile, WorldPart

    models: tuple[type[BaseModel], ...] = (
        *(WorldFile, WorldPart, DataPart, PresetEntry, UniversePart),
        *(WindowPart, SeamlessPart, LivePart, PresetDefinition),
    )
    parts = [
        "# Worlds and presets\n",
        "What a [world file](../how-to/worlds.md) may say. A key that is not known is an error.\n",
    ]
    for (section, keys), model in zip(WORLD_KEYS.items(), models, strict=True):
        if set(keys) != set(model.model_fields):
            raise RuntimeError(f"docs/hooks.py: WORLD_KEYS of {section} are not those of {model.__name__}")
        rows = ((code(key), default, meaning) for key, (default, meaning) in keys.items())
        parts.append(f"## {section}\n\n" + table(("key", "default", "meaning"), rows))
    named = (("SLA presets", SLA_PRESETS), ("Conformance presets", CONFORMANCE_PRESETS))
    for title, presets in named:
        rows = ((code(name), one.meaning) for name, one in presets.items())
        parts.append(f"## {title}\n\n" + table(("name", "meaning"), rows))
    modes = ((code(name), code(one.strategy), one.meaning) for name, one in BACKFILL_MODES.items())
    parts.append("## Backfill modes\n\n" + table(("name", "strategy", "meaning"), modes))
    shipped = (read_preset(path).definition for path in sorted(SHIPPED.glob("*.yml")))
    rows = ((code(one.preset), code(one.series), one.meaning) for one in shipped)
    parts.append("## Presets that are shipped\n\n" + table(("preset", "series", "meaning"), rows))
    return "\n".join(parts)


def errors() -> str:
    """The error tree, and each error with its facts."""
    from qmtl.foundation import errors as module

    tree = (module.__doc__ or "").partition("\n\n")[2].strip()
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, module.QmtlError)
    ]
    parts = [
        "# Errors\n",
        "Every error of this package is a `qmtl.QmtlError`. It is also the built-in error that it resembles, "
        "so `except TimeoutError` catches a breached budget. `str(error)` is the whole message, with the "
        "next step; each fact is a field: `what`, `series`, `span`, `why`, `next_step`.\n",
        f"```text\n{tree}\n```\n",
        "When several apply, a fetch raises the first of: SLA, source, missing data, conformance.\n",
        "## What a command ends with\n",
        exit_codes(),
        "## Each of them\n",
    ]
    parts += [
        f"::: qmtl.{kind.__name__}\n    options:\n      merge_init_into_class: false\n" for kind in kinds
    ]
    return "\n".join(parts)
