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
POD_PREFIX = re.compile(r"\[(?:pod/([\w.-]{1,253})/([\w.-]{1,63})|[\w.-]{1,80}/[\w./-]{1,200})\] ")
CRI = re.compile(r"(?:stdout|stderr) [FP](?::\w{1,16})? ")
FACILITY = re.compile(r"(?:kern|user|daemon|syslog|auth|local\d) {0,3}:\w{2,6} {0,3}: ")
KLOG = re.compile(r"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) +\d{1,10} [\w.-]{1,80}:\d{1,6}\] ")
# What stern writes: the pod, whose name ends with letters by chance or a number, its container, and the line.
STERN = re.compile(
    r"([a-z0-9][a-z0-9.-]{0,240}-(?:[a-z0-9]{5}|\d{1,4})) ([a-z0-9][a-z0-9-]{0,62}) (?=\[?\d{4}-\d\d-\d\d[T ]\d\d:)"
)
COMPOSE = re.compile(r"([\w.-]{1,120}) +\| ")
GUEST = re.compile(r"(?:\w{1,4}\(\d{1,3}\) )?[\w:+-]{1,40} - Guest: ")
REPEATED = re.compile(r"message repeated \d{1,9} times: \[ ?")
LEVEL = re.compile(r"<\d{1,3}>(?:1 (?=\d{4}-))?")
KMSG = re.compile(r"(\d{1,4}),(\d{1,20}),(\d{1,20}),([^;\s]{0,120});")
DROPPED = re.compile(r"\*\* (\d{1,12}) printk messages dropped \*\* ?(?=\S)")
# A syslog's, as most write it; a stream's name in the host's place is a container's log.
USUAL_HEAD = re.compile(
    r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (?!std(?:out|err) )([^\s:.\[\]|]{1,255}) kernel: "
)
# The kernel's stamp, behind which it begins to speak.
SPEAKS = re.compile(r"\[ *(\d{1,12}\.\d{3,9})\] (?=[^\W\d_])")
