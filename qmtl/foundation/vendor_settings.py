"""Which vendor serves, as settings and presets name it: one section for each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import Field, PrivateAttr

from qmtl.foundation.local_paths import is_address
from qmtl.foundation.sections import Section, Text


class CcxtSource(Section):
    """An exchange that the ccxt library knows. `urls`: ccxt's api names to URLs, or one URL for all."""

    kind: Literal["ccxt"]
    exchange: Text
    urls: Text | dict[str, str] = Field(default_factory=dict)


class FilesSource(Section):
    """Files of bars. `path` may hold {venue}, {symbol} and {timeframe}; the rest says how to read them."""

    kind: Literal["files"]
    path: Text
    columns: Text | dict[str, str | None] | tuple[str, ...] | None = None
    date: Text | None = None
    time: Text | None = None
    ts_format: Text | None = None
    tz: Text | None = None
    unit: Literal["s", "ms", "us", "ns", "excel"] | None = None
    label: Literal["open", "close", "session"] = "open"
    scale: Text | dict[str, float] | None = None
    decimal: Text | None = None
    thousands: Text | None = None
    null: Text | tuple[str, ...] | None = None
    where: Text | dict[str, Text] | tuple[str, ...] | None = None
    encoding: Text | None = None
    skip_head: Annotated[int, Field(ge=0)] = 0
    skip_foot: Annotated[int, Field(ge=0)] = 0
    separator: Text | None = None
    table: Text | None = None
    holes: Literal["unknown", "no_trade"] = "unknown"

    @property
    def reading(self) -> dict[str, Any]:
        """What was set beside the path, as the files vendor takes it."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name in self.model_fields_set and name not in ("match", "kind", "path")
        }


class PythonSource(Section):
    """One's own vendor. `object`: `package.module:name`, or an entry point of `qmtl.vendors`.

    options: what the class or function of that name is called with. The folder of the settings file is
    searched for modules, after all others.
    """

    kind: Literal["python"]
    object: Text
    options: dict[str, Any] = Field(default_factory=dict)
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """The folder of the file that names it; None for one from a variable."""
        return self._folder

    def with_folder(self, folder: Path) -> Self:
        """The same, of a file in `folder`."""
        entry = self.model_copy()
        entry._folder = folder
        return entry


class PolygonSource(Section):
    """Polygon's REST API. `per_minute`: the requests of the plan. The key is the variable POLYGON_API_KEY."""

    kind: Literal["polygon"]
    url: Text = "https://api.polygon.io"
    per_minute: Annotated[float, Field(gt=0)] = 5.0


class SnapshotSource(Section):
    """A snapshot, read where it lies: a folder, or s3://bucket/path. `number`: which one; else the newest."""

    kind: Literal["snapshot"]
    path: Text
    number: Annotated[int, Field(ge=1)] | None = None


class QuestDBSource(Section):
    """A desk's own table in QuestDB, which is only read. `url` names its columns, see `QuestDBVendor`."""

    kind: Literal["questdb"]
    url: Annotated[Text, Field(repr=False)]  # it may hold a password
    holes: Literal["unknown", "no_trade"] = "unknown"


SourceSettings: TypeAlias = Annotated[
    CcxtSource | FilesSource | PythonSource | PolygonSource | SnapshotSource | QuestDBSource,
    Field(discriminator="kind"),
]


class _Matched(Section):
    """An entry of `seamless.vendors`: the series that it serves are those whose node id matches."""

    match: Text


class CcxtSettings(CcxtSource, _Matched):
    __doc__ = CcxtSource.__doc__


class FilesSettings(FilesSource, _Matched):
    __doc__ = FilesSource.__doc__


class PythonSettings(PythonSource, _Matched):
    __doc__ = PythonSource.__doc__


class PolygonSettings(PolygonSource, _Matched):
    __doc__ = PolygonSource.__doc__


class SnapshotSettings(SnapshotSource, _Matched):
    __doc__ = SnapshotSource.__doc__


class QuestDBSettings(QuestDBSource, _Matched):
    __doc__ = QuestDBSource.__doc__


VendorSettings: TypeAlias = Annotated[
    CcxtSettings | FilesSettings | PythonSettings | PolygonSettings | SnapshotSettings | QuestDBSettings,
    Field(discriminator="kind"),
]

Source = TypeVar("Source", bound=Section)


def with_paths_of(source: Source, folder: Path) -> Source:
    """The same source, named in a file of `folder`: there its relative paths begin."""
    if isinstance(source, PythonSource):
        return source.with_folder(folder)
    if isinstance(source, FilesSource) and not is_address(source.path):
        return source.model_copy(update={"path": str(folder / Path(source.path).expanduser())})
    if isinstance(source, SnapshotSource) and not is_address(source.path):
        return source.model_copy(update={"path": str(folder / Path(source.path).expanduser())})
    return source
