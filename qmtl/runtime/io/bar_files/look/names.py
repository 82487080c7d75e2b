"""What columns are called by programs, exchanges and vendors, in several languages."""

from __future__ import annotations

import re
from collections.abc import Sequence

# By what a column holds, the surest names first; names of one line are equally good.
NAMES: dict[str, tuple[str, ...]] = {
    "ts": (
        "ts timestamp datetime date_time time date open_time opentime time_open ts_event unix unix_timestamp"
        " epoch window_start gmt_time local_time utc_time time_utc datetime_utc date_gmt utc begin start"
        " start_time period_start time_period_start candle_time candle_begin_time bar_start t d dt trade_date"
        " tradedate dtyyyymmdd yyyymmdd"
        " price_date exchange_date dates snapped_at candle_date_time_utc index index_level_0"
        " datum zeit uhrzeit fecha data"
        " 日期 时间 時間 日付 日時 일자 날짜 дата",
        "close_time closetime time_close time_period_end end_time last_updated",
    ),
    "open": (
        "open o open_price openprice opening_price price_open px_open 1._open start_price eröffnung eroffnung"
        " erster ouverture ouv apertura abertura otwarcie"
        " 开盘 开盘价 開盤 開盤價 始値 시가",
        "bid_open open_bid mid_open adj_open adjopen",
    ),
    "high": (
        "high h high_price highprice price_high px_high 2._high max hoch höchst tageshoch haut massimo"
        " máximo maximo máxima najwyższy najwyzszy 最高 最高价 最高價 高値 고가",
        "bid_high high_bid mid_high adj_high adjhigh",
    ),
    "low": (
        "low l low_price lowprice price_low px_low 3._low min tief tiefst tagestief bas minimo"
        " mínimo mínima najniższy najnizszy 最低 最低价 最低價 安値 저가",
        "bid_low low_bid mid_low adj_low adjlow",
    ),
    "close": (
        "close c close_price closeprice price_close px_close 4._close schluss schlusskurs clôture cloture"
        " clôt clot cierre fechamento zamknięcie zamkniecie"
        " chiusura 收盘 收盘价 收盤 收盤價 終値 종가",
        "close/last last latest price last_price px_last trade_close trade_price"
        " trdprc_1 settle settlement settle_price"
        " letzter",
        "bid_close close_bid mid_close adj_close adjclose adjusted_close 5._adjusted_close",
    ),
    "volume": (
        "volume vol v tickvol tick_volume volumes total_volume totalvolume px_volume base_volume"
        " share_volume volume_(shares) 5._volume 6._volume acvol_1 acvol_uns umsatz stück stuck"
        " volumen wolumen shares_traded number_of_shares no._of_shares acc_trade_volume"
        " traded_volume trading_volume total_traded_quantity traded_quantity volume_traded"
        " tottrdqty ttl_trd_qnty 成交量 出来高 거래량",
        "volume_* vol_* volume(* vol(*",
        "qty quantity shares size contracts lots amount base_amount",
    ),
}


def plain(name: str) -> str:
    """A name without case, blanks, dashes and the brackets of <OPEN>."""
    return re.sub(r"[\s-]+", "_", name.strip().strip("<>[]").strip().lower()).strip("_.")


def rank_of(name: str, role: str) -> int | None:
    """How sure it is that a column of this name holds `role`, 0 the surest; None if it may not."""
    found = plain(name)
    for rank, words in enumerate(NAMES[role]):
        for word in words.split():
            if found == word or (word.endswith("*") and found.startswith(word[:-1])):
                return rank
    return None


def place_of(name: str, names: Sequence[str]) -> int | None:
    """Where the column is that an option names: as it is written, in another case, or as `column 3`."""
    if name in names:
        return names.index(name)
    alike = [place for place, one in enumerate(names) if one and plain(one) == plain(name)]
    if len(alike) == 1:
        return alike[0]
    match = re.fullmatch(r"column (\d{1,4})", name)
    return int(match[1]) - 1 if match and 0 < int(match[1]) <= len(names) else None
