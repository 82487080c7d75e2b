"""Which exchange a MIC stands for, and in which country: ISO 10383, and the country codes of ISO 3166."""

from __future__ import annotations

from typing import NamedTuple


class Exchange(NamedTuple):
    """An exchange; `code` is that of its country, of two letters."""

    name: str
    country: str
    code: str

    @property
    def place(self) -> str:
        """The country as people read it: `India (IN)`."""
        return f"{self.country} ({self.code})"


_TABLE = """
AIXK  KZ  Kazakhstan      Astana International Exchange
ASEX  GR  Greece          Athens Stock Exchange
BVMF  BR  Brazil          B3, Brasil Bolsa Balcao
CMES  US  United States   Chicago Mercantile Exchange, CBOT, NYMEX and COMEX futures
IEPA  US  United States   ICE Futures U.S.
XAMS  NL  Netherlands     Euronext Amsterdam
XASX  AU  Australia       Australian Securities Exchange
XBDA  BM  Bermuda         Bermuda Stock Exchange
XBEL  RS  Serbia          Belgrade Stock Exchange
XBKK  TH  Thailand        Stock Exchange of Thailand
XBOG  CO  Colombia        Bolsa de Valores de Colombia
XBOM  IN  India           BSE, formerly Bombay Stock Exchange
XBRA  SK  Slovakia        Bratislava Stock Exchange
XBRU  BE  Belgium         Euronext Brussels
XBSE  RO  Romania         Bucharest Stock Exchange
XBUD  HU  Hungary         Budapest Stock Exchange
XBUE  AR  Argentina       Buenos Aires Stock Exchange
XCBF  US  United States   Cboe Futures Exchange
XCSE  DK  Denmark         Nasdaq Copenhagen
XCYS  CY  Cyprus          Cyprus Stock Exchange
XDUB  IE  Ireland         Euronext Dublin
XDUS  DE  Germany         Duesseldorf Stock Exchange
XEEE  DE  Germany         European Energy Exchange
XETR  DE  Germany         Xetra
XEUR  DE  Germany         Eurex
XFRA  DE  Germany         Frankfurt Stock Exchange
XHAM  DE  Germany         Hamburg Stock Exchange
XHEL  FI  Finland         Nasdaq Helsinki
XHKG  HK  Hong Kong       Hong Kong Exchanges and Clearing
XICE  IS  Iceland         Nasdaq Iceland
XIDX  ID  Indonesia       Indonesia Stock Exchange
XIST  TR  Turkey          Borsa Istanbul
XJSE  ZA  South Africa    Johannesburg Stock Exchange
XKAR  PK  Pakistan        Pakistan Stock Exchange
XKLS  MY  Malaysia        Bursa Malaysia
XKRX  KR  South Korea     Korea Exchange
XLIM  PE  Peru            Lima Stock Exchange
XLIS  PT  Portugal        Euronext Lisbon
XLIT  LT  Lithuania       Nasdaq Vilnius
XLJU  SI  Slovenia        Ljubljana Stock Exchange
XLON  GB  United Kingdom  London Stock Exchange
XLUX  LU  Luxembourg      Luxembourg Stock Exchange
XMAD  ES  Spain           Bolsa de Madrid
XMEX  MX  Mexico          Mexican Stock Exchange
XMIL  IT  Italy           Borsa Italiana, Euronext Milan
XMOS  RU  Russia          Moscow Exchange
XNYS  US  United States   New York Stock Exchange
XNZE  NZ  New Zealand     New Zealand Exchange
XOSL  NO  Norway          Oslo Stock Exchange
XPAR  FR  France          Euronext Paris
XPHS  PH  Philippines     Philippine Stock Exchange
XPRA  CZ  Czechia         Prague Stock Exchange
XRIS  LV  Latvia          Nasdaq Riga
XSAU  SA  Saudi Arabia    Saudi Exchange (Tadawul)
XSES  SG  Singapore       Singapore Exchange
XSGO  CL  Chile           Santiago Stock Exchange
XSHG  CN  China           Shanghai Stock Exchange
XSTO  SE  Sweden          Nasdaq Stockholm
XSTU  DE  Germany         Stuttgart Stock Exchange
XSWX  CH  Switzerland     SIX Swiss Exchange
XTAE  IL  Israel          Tel Aviv Stock Exchange
XTAI  TW  Taiwan          Taiwan Stock Exchange
XTAL  EE  Estonia         Nasdaq Tallinn
XTKS  JP  Japan           Tokyo Stock Exchange
XTSE  CA  Canada          Toronto Stock Exchange
XWAR  PL  Poland          Warsaw Stock Exchange
XWBO  AT  Austria         Vienna Stock Exchange
XZAG  HR  Croatia         Zagreb Stock Exchange

XNSE  IN  India           National Stock Exchange of India
XSHE  CN  China           Shenzhen Stock Exchange
XKOS  KR  South Korea     KOSDAQ
XOSE  JP  Japan           Osaka Exchange
XCNQ  CA  Canada          Canadian Securities Exchange
XCBO  US  United States   Cboe Options Exchange
XADS  AE  United Arab Emirates  Abu Dhabi Securities Exchange
XDFM  AE  United Arab Emirates  Dubai Financial Market
XKUW  KW  Kuwait          Boursa Kuwait
XNSA  NG  Nigeria         Nigerian Exchange
XNAI  KE  Kenya           Nairobi Securities Exchange
XSTC  VN  Vietnam         Ho Chi Minh Stock Exchange
"""

# Those below the empty line have no calendar in the library that is used here, and are asked for often.
EXCHANGES = {
    mic: Exchange(name.strip(), country.strip(), code)
    for line in _TABLE.splitlines()
    if line
    for mic, code, rest in [line.split(maxsplit=2)]
    for country, _, name in [rest.partition("  ")]
}
