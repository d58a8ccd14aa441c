"""Who speaks, as logs write it in front of a line; and what people's tools put in front of that."""

from __future__ import annotations

import re

PRIORITY = re.compile(
    r"(?:kern|user|mail|daemon|auth|authpriv|syslog|cron|local[0-7])\."
    r"(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug) "
)
PROGRAM = re.compile(r"([\w./()@-]{1,80})(?:\[\d{1,10}\])?: ?")
# Messages that look like a host and its program where a log names neither.
HOST_TAG = re.compile(
    r"(?!(?:Preventing OOM|oomd kill|kill failed): )([^\s:\[\]|]{1,255}) (?:" + PRIORITY.pattern + r")?"
    r"([\w./()@-]{1,80})(?:\[\d{1,10}\])?: "
)
RFC5424 = re.compile(r"(\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (?:-|\[[^\]]{0,400}\]) ?")
TAG = re.compile(r"([\w./()@-]{1,80})\[\d{1,10}\]: ")
HOST_MONOTONIC = re.compile(r"([^\s:\[\]|]{1,255}) (?=\[ *\d{1,12}\.\d{3,9}\])")
HOST_KERNEL = re.compile(r"([^\s:\[\]|]{1,255}) kernel: ?")
MONOTONIC_TAG = re.compile(r"(?:([^\s:\[\]|]{1,255}) )?([\w./()@-]{1,80})\[\d{1,10}\]: ")
# What grep writes in front of what it found in several files, or numbered.
GREP = re.compile(
    r"[\w./@+~-]{1,200}:(?:\d{1,9}:)?(?=\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]|\[ {0,5}\d{1,12}\.\d{6}\])"
)
QUOTED = re.compile("[>|\u2502] ?")
