"""How logs write dates and times in front of their lines: the order of the groups is that of ``stamps``."""

from __future__ import annotations

import re

_FRACTION = r"(?:[.,](\d{1,9}))?"
ISO = re.compile(
    r"(?:\w{2,12}\.? )?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)" + _FRACTION
    + r"(?: ?(Z\b|[+-]\d\d:?\d\d)| ([A-Z]{3,5})(?= ))?(?::? |$)"
)  # fmt: skip
BRACKET_ISO = re.compile(
    r"\[(\d{4})-(\d\d)-(\d\d),?[T ](\d\d):(\d\d):(\d\d)" + _FRACTION
    + r"(?: ?(Z|[+-]\d\d:?\d\d)| ([A-Z]{3,5})(?=[\] ]))?[^\]\n]{0,80}\] ?"
)  # fmt: skip
SYSLOG = re.compile(
    r"(?:[^\W\d]{2,4} )?(\w{1,6}\.?) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)" + _FRACTION
    + r"(?: (\d{4}))?:? "
)  # fmt: skip
CTIME = re.compile(
    r"\[(?:[^\d\]\s]{1,8}\.? +)?([^\d\]\s]{1,8}\.?|\d{1,2}[月월]) +(\d{1,2})\.? (\d\d):(\d\d):(\d\d)"
    + _FRACTION + r" (\d{4})\] ?"
)  # fmt: skip
CTIME_DAY_FIRST = re.compile(
    r"\[(?:[^\d\]\s]{1,8}\.? +)?(\d{1,2})\.? ([^\d\]\s]{1,8}\.?) (\d\d):(\d\d):(\d\d)" + _FRACTION
    + r" (\d{4})\] ?"
)  # fmt: skip
RELTIME = re.compile(r"\[([^\d\]\s]{1,8})(\d{1,2}) (\d\d):(\d\d)\] ")
