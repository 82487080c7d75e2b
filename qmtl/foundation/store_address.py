"""The address of a store on a server, and how it is shown: without its password, wherever that stands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlencode, urlsplit

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import names_server

DEFAULT_SCHEMA = "qmtl"
_SECRETS = ("password", "sslpassword", "passfile")
# What PostgreSQL keeps of a name; it would cut a longer one without a word.
NAME_BYTES = 63
_SHOWN = "postgresql://user@host:5432/database?schema=desk"


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is. conninfo: what libpq is given, with its secrets; shown: for people."""

    shown: str
    schema: str
    conninfo: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        return self.shown

    def redacted(self, text: str) -> str:
        """A text of the server or of libpq without the secrets of the address."""
        for secret in self.secrets:
            text = text.replace(secret, "...")
        return text

    def with_schema(self, schema: str) -> StoreAddress:
        """The address of another schema of the same database. Raises `InvalidRequestError` for a bad name."""
        _refuse_name(schema)
        shown = f"{self.shown.rpartition('schema=')[0]}schema={quote(schema)}"
        return replace(self, schema=schema, shown=shown)

    @classmethod
    def parse(cls, text: str) -> StoreAddress:
        """Raises `InvalidRequestError`, which does not show the password, for what is no such address."""
        _, sign, rest = text.partition("://")
        if not (sign and names_server(text)):
            raise _refused("it does not begin with postgresql://")
        try:
            parts = urlsplit(f"postgresql://{rest}")
        except ValueError:
            # The words of this error would show the address.
            raise _refused(
                "its host cannot be read; signs such as [ in a password have to be quoted"
            ) from None
        if parts.fragment or "@" in parts.path:
            # Where a password ends could only be guessed, and what is shown might hold a part of it.
            raise _refused(
                "signs such as / ? # and @ in a password or a name have to be quoted: %2F %3F %23 %40"
            )
        given = [part.partition("=") for part in parts.query.split("&") if part]
        if not all(sign for _, sign, _ in given):
            raise _refused("what follows its ? is not name=value")
        # libpq takes a plus for what it is, unlike forms of the web.
        options = [(unquote(name), unquote(value)) for name, _, value in given]
        schemas = [value for name, value in options if name == "schema"]
        if len(schemas) > 1:
            raise _refused("it names more than one schema")
        schema = schemas[0] if schemas else DEFAULT_SCHEMA
        _refuse_name(schema)
        others = [(name, value) for name, value in options if name != "schema"]
        # What stands before the last @, whatever it holds: a password may hold an @ itself.
        user, _, host = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        written = {password, *(value for key, _, value in given if unquote(key) in _SECRETS)}
        secrets = written | {unquote(secret) for secret in written}
        query = [(key, value) for key, value in others if key not in _SECRETS]
        shown = f"postgresql://{f'{name}@' if name else ''}{host}{parts.path}"
        return cls(
            conninfo=f"postgresql://{_quoted(user, sign='@')}{host}{parts.path}{_query(others)}",
            schema=schema,
            shown=f"{shown}{_query([*query, ('schema', schema)])}",
            secrets=tuple(sorted((one for one in secrets if one), key=len, reverse=True)),
        )


def _quoted(user: str, sign: str) -> str:
    """A name and a password as libpq reads them, which ends them at the first @."""
    return f"{user.replace('@', '%40')}{sign}" if user else ""


def _refuse_name(schema: str) -> None:
    # In a search path "$user" is another name for that of the user, however it is quoted.
    is_taken = schema == "$user" or schema.startswith("pg_")
    if not schema or len(schema.encode()) > NAME_BYTES or is_taken or "\0" in schema:
        raise _refused(f"{schema!r} cannot be the name of a schema")


def _query(options: list[tuple[str, str]]) -> str:
    return f"?{urlencode(options, quote_via=quote, safe='/,')}" if options else ""


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the address of the store cannot be used", why=why, next_step=f"write it as {_SHOWN}"
    )
