"""Names of months as logs abbreviate them, and the few names of time zones that mean one thing only."""

from __future__ import annotations

# One line per language: English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish, Polish, Czech,
# Russian, Ukrainian, Turkish, Finnish. A name that means two months somewhere is left out by the order of the lines.
_TABLE = """
jan feb mar apr may jun jul aug sep oct nov dec
jan feb mär apr mai jun jul aug sep okt nov dez
janv févr mars avril mai juin juil août sept oct nov déc
ene feb mar abr may jun jul ago sep oct nov dic
gen feb mar apr mag giu lug ago set ott nov dic
jan fev mar abr mai jun jul ago set out nov dez
jan feb mrt apr mei jun jul aug sep okt nov dec
jan feb mar apr maj jun jul aug sep okt nov dec
sty lut mar kwi maj cze lip sie wrz paź lis gru
led úno bře dub kvě čen čec srp zář říj lis pro
янв фев мар апр мая июн июл авг сен окт ноя дек
січ лют бер кві тра чер лип сер вер жов лис гру
oca şub mar nis may haz tem ağu eyl eki kas ara
tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu
"""  # noqa: RUF001 - names in their own alphabets


def _months() -> dict[str, int]:
    names: dict[str, int] = {}
    for line in _TABLE.strip().splitlines():
        for number, name in enumerate(line.split(), 1):
            names.setdefault(name, number)
    for number in range(1, 13):
        names[f"{number}月"] = names[f"{number}월"] = number
    return names


MONTHS = _months()
ZONES = {
    "UTC": 0,
    "GMT": 0,
    "CET": 60,
    "CEST": 120,
    "EET": 120,
    "EEST": 180,
    "WEST": 60,
    "MSK": 180,
    "JST": 540,
    "KST": 540,
    "EST": -300,
    "EDT": -240,
    "MDT": -360,
    "PST": -480,
    "PDT": -420,
    "AEST": 600,
    "AEDT": 660,
    "NZST": 720,
    "NZDT": 780,
}
