"""What columns are called by programs, exchanges and vendors, in several languages."""

from __future__ import annotations

import re

# By what a column holds, the surest names first; names of one line are equally good.
NAMES: dict[str, tuple[str, ...]] = {
    "ts": (
        "ts timestamp datetime date_time time date open_time opentime time_open ts_event unix unix_timestamp"
        " epoch window_start gmt_time local_time utc_time time_utc datetime_utc date_gmt utc begin start"
        " start_time period_start time_period_start candle_time candle_begin_time bar_start t d dt trade_date"
        " tradedate"
        " price_date exchange_date dates snapped_at index index_level_0 datum zeit uhrzeit fecha data",
        "close_time closetime time_close time_period_end end_time last_updated",
    ),
    "open": (
        "open o open_price openprice opening_price price_open px_open 1._open start_price eröffnung eroffnung"
        " erster ouverture ouv apertura",
        "bid_open open_bid mid_open adj_open adjopen",
    ),
    "high": (
        "high h high_price highprice price_high px_high 2._high max hoch tageshoch haut massimo",
        "bid_high high_bid mid_high adj_high adjhigh",
    ),
    "low": (
        "low l low_price lowprice price_low px_low 3._low min tief tagestief bas minimo",
        "bid_low low_bid mid_low adj_low adjlow",
    ),
    "close": (
        "close c close_price closeprice price_close px_close 4._close schluss schlusskurs clôture cloture"
        " chiusura",
        "close/last last latest price last_price px_last trade_close trdprc_1 settle settlement settle_price"
        " letzter",
        "bid_close close_bid mid_close adj_close adjclose adjusted_close 5._adjusted_close",
    ),
    "volume": (
        "volume vol vol. v tickvol tick_volume volumes total_volume totalvolume px_volume base_volume"
        " volume_traded share_volume volume_(shares) 5._volume 6._volume acvol_1 acvol_uns umsatz stück stuck"
        " volumen",
        "volume_* vol_*",
    ),
}


def plain(name: str) -> str:
    """A name without case, blanks, dashes and the brackets of <OPEN>."""
    return re.sub(r"[\s-]+", "_", name.strip().strip("<>[]").strip().lower()).strip("_")


def rank_of(name: str, role: str) -> int | None:
    """How sure it is that a column of this name holds `role`, 0 the surest; None if it may not."""
    found = plain(name)
    for rank, words in enumerate(NAMES[role]):
        for word in words.split():
            if found == word or (word.endswith("*") and found.startswith(word[:-1])):
                return rank
    return None
