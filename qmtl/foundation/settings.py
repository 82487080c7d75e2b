"""qmtl.yml and QMTL_ variables as one frozen value; a mistake is reported with place and nearest key."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from qmtl.foundation.config_text import ConfigText, Place
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.foundation.local_paths import folder_path
from qmtl.foundation.model_errors import fields_of, model_error
from qmtl.foundation.sections import Seconds, Section, Text, text_of
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.vendor_settings import CcxtSettings as CcxtSettings
from qmtl.foundation.vendor_settings import FilesSettings as FilesSettings
from qmtl.foundation.vendor_settings import PythonSettings as PythonSettings
from qmtl.foundation.vendor_settings import VendorSettings, with_paths_of

# Addresses of servers are loaded by the first value that may be one: most stores are folders.
if TYPE_CHECKING:
    from qmtl.foundation.server_addresses import ServerAddress

DEFAULT_FILE = "qmtl.yml"
PREFIX = "QMTL_"

# Read by the tests alone, never by the package.
_TEST_PREFIX = "QMTL_TEST_"

# Keys whose variable is not named after its section.
_VARIABLES = {
    ("connectors", f"schema_registry_{key}"): f"QMTL_SCHEMA_REGISTRY_{key}".upper()
    for key in ("url", "user", "password", "token")
}
# Taken literally: YAML would read the password 007 as 7.
_LITERAL = {
    "QMTL_SEAMLESS_COORDINATOR_TOKEN",
    *(f"QMTL_SCHEMA_REGISTRY_{key}" for key in ("USER", "PASSWORD", "TOKEN")),
}

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?")
_BYTES_OF = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class SettingsWarning(UserWarning):
    """A QMTL_ variable is not known, and has no effect."""


def _bytes(value: object) -> object:
    if isinstance(value, str):
        match = _BYTES.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a size; write a number of bytes, or a text such as 256MiB")
        return int(float(match[1]) * _BYTES_OF[match[2] or "B"])
    return value


def _sla(value: object) -> object:
    return SLAPolicy.from_mapping(value) if isinstance(value, Mapping) else value


def _folder(value: object) -> object:
    text = text_of(value)
    return folder_path(text, "a store") if isinstance(text, str) else text


def _url(value: str | None) -> str | None:
    if value is not None and re.match(r"https?://[^/]", value) is None:
        # It is not shown, since a password may stand in it.
        raise ValueError("it is not the URL of a service; write it as http://host:port")
    return value


ByteSize = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
Folder = Annotated[Path, BeforeValidator(_folder), AfterValidator(Path.expanduser)]


def _server_or(value: object, folder: ValidatorFunctionWrapHandler) -> object:
    from qmtl.foundation.server_addresses import ServerAddress, server_named

    if isinstance(value, str) and (address := server_named(value)) is not None:
        return address
    return value if isinstance(value, ServerAddress) else folder(value)


if TYPE_CHECKING:
    StorePlace: TypeAlias = Path | ServerAddress
else:
    StorePlace = Annotated[Folder, WrapValidator(_server_or)]


class SeriesSettings(Section):
    """Facts declared of the series whose node id matches the shell pattern `match`."""

    match: Text
    calendar: Text | None = None
    anchor: Anchor | None = None
    allow_nonpositive: bool | None = None
    has_volume: bool | None = None

    @property
    def facts(self) -> SeriesFacts:
        return SeriesFacts(self.calendar, self.anchor, self.allow_nonpositive, self.has_volume)


def _default_store() -> Path:
    from platformdirs import user_data_path

    return user_data_path("qmtl", appauthor=False)


class SeamlessSettings(Section):
    """The section `seamless`.

    store: the folder of the store, or its address on a server, such as postgresql://user@host/database or
        questdb://host:9000?catalog=FOLDER. `~` is the home folder. A relative path in a file starts at the
        folder of that file, as the paths of `files` vendors do.
    cache_bytes: bound of the range cache in bytes. settle, absent_expiry: seconds after which a bar without a
        row counts as answered, and after which an absence is queried again. retention: seconds for which old
        versions are kept; None is for ever. max_staleness: seconds in which an answer from the cache may
        lack what other machines commit.
    coordinator_url: of a `qmtl serve coordinator`, which keeps machines that share the store from asking for
        the same bars. coordinator_token: what it knows this one by; never shown.
    """

    store: StorePlace = Field(default_factory=_default_store)
    cache_bytes: ByteSize = 256 * 1024**2
    partial_ok: bool = False
    sla: Annotated[SLAPolicy | None, BeforeValidator(_sla)] = None
    series: tuple[SeriesSettings, ...] = ()
    vendors: tuple[VendorSettings, ...] = ()
    settle: Seconds = 60.0
    absent_expiry: Seconds = 24 * 3600.0
    retention: Seconds | None = None
    max_staleness: Seconds = 0.0
    coordinator_url: Annotated[str | None, AfterValidator(_url)] = None
    coordinator_token: SecretStr | None = None

    @model_validator(mode="after")
    def _each_pattern_once(self) -> SeamlessSettings:
        # The first match wins, so a second entry of the same pattern would have no effect.
        for section, entries in (("vendors", self.vendors), ("series", self.series)):
            seen: set[str] = set()
            for entry in entries:
                if entry.match in seen:
                    raise ValueError(
                        f"{section} have two entries for {entry.match!r}; the second is never used"
                    )
                seen.add(entry.match)
        return self


class ConnectorsSettings(Section):
    """The section `connectors`: services beside this process, by URL. None is a service that is not used.

    user and password (HTTP Basic), or a token (bearer), are what a service knows one by; never shown.
    """

    schema_registry_url: Annotated[str | None, AfterValidator(_url)] = None
    schema_registry_user: str | None = None
    schema_registry_password: SecretStr | None = None
    schema_registry_token: SecretStr | None = None

    @property
    def schema_registry_auth(self) -> tuple[str, str] | str | None:
        """(name, password), or a bearer token, as the clients of a registry take them."""
        if self.schema_registry_token is not None:
            return self.schema_registry_token.get_secret_value()
        if self.schema_registry_user is None or self.schema_registry_password is None:
            return None
        return self.schema_registry_user, self.schema_registry_password.get_secret_value()

    @model_validator(mode="after")
    def _one_whole_credential(self) -> ConnectorsSettings:
        user, password = self.schema_registry_user, self.schema_registry_password
        if (user is None) != (password is None):
            raise ValueError("schema_registry_user and schema_registry_password need each other")
        if user is not None and self.schema_registry_token is not None:
            raise ValueError("schema_registry_token and schema_registry_user are two credentials; keep one")
        if self.schema_registry_auth is not None and self.schema_registry_url is None:
            raise ValueError("credentials of a schema registry are used only with schema_registry_url")
        return self


class SchemaSettings(Section):
    """The section `schema`. validation_mode: what a row that breaks its schema does, where no record says."""

    validation_mode: Literal["canary", "strict"] = "canary"


class Settings(Section):
    """All settings."""

    seamless: SeamlessSettings = Field(default_factory=SeamlessSettings.model_construct)
    connectors: ConnectorsSettings = Field(default_factory=ConnectorsSettings.model_construct)
    # Models of pydantic have a method `schema` already.
    schemas: SchemaSettings = Field(default_factory=SchemaSettings.model_construct, alias="schema")
    _text: ConfigText = PrivateAttr(default_factory=ConfigText.nothing)

    @classmethod
    def load(cls, path: str | PathLike[str] | None = None, env: Mapping[str, str] | None = None) -> Settings:
        """From a file and from the environment; `QMTL_SEAMLESS_STORE` overrides `seamless.store`.

        Without `path`, `qmtl.yml` of the current folder is read if it is there. A variable's value is read
        as YAML, so lists and mappings are possible. Raises `SettingsError`; a QMTL_ variable that is not
        known gives a `SettingsWarning`.
        """
        text = ConfigText.read(Path(path)) if path is not None else _of_current_folder()
        values = _with_variables(text, os.environ if env is None else env)
        try:
            settings = cls.model_validate(values.data) if values.data else cls.model_construct()
        except ValidationError as error:
            raise model_error(error, values, cls) from None
        settings._text = values
        return settings if text.path is None else _resolve_paths(settings, values, text.path.parent)

    def place(self, *steps: str | int) -> Place:
        """Where a value was written; for what turns out to be unusable only when it is used."""
        return self._text.place(steps)


def _of_current_folder() -> ConfigText:
    path = Path(DEFAULT_FILE)
    return ConfigText.read(path) if path.exists() else ConfigText.nothing()


def _with_variables(text: ConfigText, env: Mapping[str, str]) -> ConfigText:
    """The file's values, overridden by those of variables."""
    known = {
        _VARIABLES.get((section, key), f"{PREFIX}{section}_{key}".upper()): (section, key)
        for section, field in fields_of(Settings).items()
        for key in fields_of(field.annotation)
    }
    for name in sorted(env):
        if not name.startswith(PREFIX) or name.startswith(_TEST_PREFIX):
            continue
        if name in known:
            text = text.overridden(known[name], env[name], by=name, literal=name in _LITERAL)
            continue
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        warnings.warn(f"the variable {name} is not known and has no effect; {hint}", SettingsWarning, 3)
    return text


def _resolve_paths(settings: Settings, text: ConfigText, folder: Path) -> Settings:
    """Relative paths of the file start at its folder; those of variables where the process runs."""
    from qmtl.foundation.questdb_address import QuestDBAddress

    seamless = settings.seamless
    store = seamless.store
    if not text.is_from_variable(("seamless", "store")):
        if isinstance(store, QuestDBAddress):
            store = store.within(folder)
        elif isinstance(store, Path):
            store = folder / store
    vendors = seamless.vendors
    if not text.is_from_variable(("seamless", "vendors")):
        vendors = tuple(with_paths_of(one, folder) for one in vendors)
    seamless = seamless.model_copy(update={"store": store, "vendors": vendors})
    return settings.model_copy(update={"seamless": seamless})
