"""The page at /docs: the OpenAPI document as plain HTML, which needs no script and no other host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

# Nothing may be loaded; the style stands in the page itself.
HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { border-bottom: 1px solid #8888; margin-top: 2.5rem; }
section { margin: 1.5rem 0; }
code, h3, nav { font-family: ui-monospace, monospace; }
nav ul { list-style: none; padding: 0; columns: 2 22rem; }
nav li { overflow-wrap: anywhere; font-size: .875rem; }
h3 { font-size: 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem 0 0; border-bottom: 1px solid #8883; }
th, td { overflow-wrap: anywhere; }
th { font-weight: 600; width: 25%; }
td:nth-child(2) { width: 30%; }
:root { color-scheme: light dark; }
"""


def rendered(page: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document: each operation by tag, with what it takes and answers, then the types."""
    tags: dict[str, list[str]] = {}
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["other"])[0]
            tags.setdefault(tag, []).append("".join(_operation(method, path, operation)))
    title = escape(f"{page['info']['title']} {page['info']['version']}")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{escape(page['info']['description'])} ",
        'For programs: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    parts.append(_contents(page["paths"]))
    for tag, operations in tags.items():
        parts += [f"<h2>{escape(tag)}</h2>", *operations]
    parts.append("<h2>types</h2>")
    for name, schema in page["components"]["schemas"].items():
        parts.append(f'<section id="{escape(name)}"><h3>{escape(name)}</h3>')
        parts.append(f"<p>{_text(schema.get('description', ''))}</p>")
        required = schema.get("required", ())
        parts += _table(
            (escape(field) + ("" if field in required else " (optional)"), _kind(kind), _description(kind))
            for field, kind in schema.get("properties", {}).items()
        )
        parts.append("</section>")
    return "".join([*parts, "</body></html>\n"])


def _contents(paths: Mapping[str, Any]) -> str:
    links = (
        f'<li><a href="#{_anchor(method, path)}">{method.upper()} {escape(path)}</a></li>'
        for path, methods in paths.items()
        for method in methods
    )
    return f"<nav><ul>{''.join(links)}</ul></nav>"


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}{path}")


def _text(plain: str) -> str:
    """Plain text in which `this` is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(plain))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<section id="{_anchor(method, path)}">'
    yield f"<h3>{method.upper()} {escape(path)}</h3>"
    yield f"<p>{_text(operation.get('description', ''))}</p>"
    yield from _table(
        (escape(f"{one['name']} ({one['in']})"), _kind(one["schema"]), _description(one))
        for one in operation.get("parameters", ())
    )
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        body = next(iter(content.values()))["schema"]
        yield f"<p>Body: {_kind(body)}, as {escape(', '.join(content))}.</p>"
    yield from _table(
        (status, _answered(answer), _text(answer["description"]))
        for status, answer in sorted(operation["responses"].items())
    )
    yield "</section>"


def _answered(answer: Mapping[str, Any]) -> str:
    return next((_kind(one.get("schema", {})) for one in answer.get("content", {}).values()), "")


def _table(rows: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    lines = [f"<tr><th>{one}</th><td>{two}</td><td>{three}</td></tr>" for one, two, three in rows]
    if lines:
        yield f"<table>{''.join(lines)}</table>"


def _description(schema: Mapping[str, Any]) -> str:
    return _text(schema.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """The name of a type; one with a section of its own is a link to it."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(map(_kind, choices))
    if "enum" in schema:
        return escape(_choice([str(value) for value in schema["enum"]]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))


def _choice(values: list[str]) -> str:
    """The values of an enumeration; those that differ in case alone are shown once, as they come first."""
    first = {value.lower(): value for value in reversed(values)}
    shown = [value for value in values if first[value.lower()] == value]
    return (" or " if len(shown) == 2 else ", ").join(shown)
