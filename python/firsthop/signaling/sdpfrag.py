"""SDP fragments about ICE, ``application/trickle-ice-sdpfrag`` (RFC 8840 §9): read and written.

A fragment has a session part and a part per media line that candidates belong to::

    a=ice-ufrag:EsAw
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
    m=audio 9 UDP/TLS/RTP/SAVPF 111
    a=mid:0
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host
    a=end-of-candidates
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from firsthop.errors import SignalingError

MEDIA_TYPE: Final = "application/trickle-ice-sdpfrag"
#: As for offers.
_MAX_MEDIA: Final = 4
_MAX_CANDIDATES: Final = 64

_LINE: Final = re.compile(r"(?P<kind>[am])=(?P<value>.+)", re.ASCII)
_MEDIA: Final = re.compile(r"[a-z]+ \d{1,5} [A-Z/]+( \S+)+", re.ASCII)
# The grammars of RFC 8839 §5; '-' and '_' are no ice-chars, yet some clients send them.
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/_-]{4,256}", re.ASCII)
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/_-]{22,256}", re.ASCII)
_CANDIDATE: Final = re.compile(
    r"[A-Za-z0-9+/]{1,32} \d{1,3} \S{1,16} \d{1,10} \S{1,255} \d{1,5} typ \S+( \S+)*", re.ASCII
)
#: What of an answer is about ICE.
_OF_SESSION: Final = ("a=group:BUNDLE", "a=ice-lite", "a=ice-options:")
_OF_MEDIA: Final = ("m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:")


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a fragment says."""

    ufrag: str | None
    """The ICE user name fragment that it is about, if it names one."""
    password: str | None
    """The password that comes with it."""
    candidates: tuple[str, ...]
    """The values of its ``a=candidate``, as they came."""
    complete: bool
    """Whether no more candidates follow."""

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User name fragment and password, if it has them."""
        if self.ufrag is None or self.password is None:
            return None
        return self.ufrag, self.password


def parse(raw: bytes) -> Fragment:
    """Read a fragment. Attributes that are none of ICE's are skipped, as the RFC wants it.

    Raises:
        SignalingError: 400: it is malformed; the error names the line.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8 text") from None
    reader = _Reader()
    for number, line in enumerate(re.split(r"\r?\n", text), 1):
        if line:
            reader.read(number, line)
    return reader.fragment()


def of(answer: str) -> str:
    """Return what an SDP answer says about ICE, as a fragment: of the m-line that bundles all."""
    session, *media = re.split(r"\r\n(?=m=)", answer)
    bundling = next((part for part in media if "\r\na=candidate:" in part), media[0])
    kept = [line for line in session.split("\r\n") if line.startswith(_OF_SESSION)]
    kept += [line for line in bundling.split("\r\n") if line.startswith(_OF_MEDIA)]
    return "\r\n".join([*kept, "a=end-of-candidates", ""])


class _Reader:
    def __init__(self) -> None:
        self._media = 0
        self._mid = False
        self._ufrag: str | None = None
        self._password: str | None = None
        self._candidates: list[str] = []
        self._complete = False

    def read(self, number: int, line: str) -> None:
        """Take one line.

        Raises:
            SignalingError: It may not stand there.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            raise _malformed("expected a=... or m=...", number)
        if match["kind"] == "m":
            return self._start_media(number, match["value"])
        name, _, value = match["value"].partition(":")
        match name:
            case "mid":
                self._expect(number, self._media > 0 and bool(value), "a=mid after its m-line")
                self._mid = True
            case "ice-ufrag":
                self._expect(number, _UFRAG.fullmatch(value), "a=ice-ufrag of 4 to 256 ice-chars")
                # One ICE session: with BUNDLE, all media share it.
                same = self._ufrag in {None, value}
                self._expect(number, same, "the same a=ice-ufrag everywhere")
                self._ufrag = value
            case "ice-pwd":
                fits = _PASSWORD.fullmatch(value)
                self._expect(number, fits, "a=ice-pwd of 22 to 256 ice-chars")
                same = self._password in {None, value}
                self._expect(number, same, "the same a=ice-pwd everywhere")
                self._password = value
            case "candidate":
                self._expect(number, self._mid, "an m-line and a=mid before a=candidate")
                fits = _CANDIDATE.fullmatch(value)
                self._expect(number, fits, "a=candidate:... as RFC 8839 §5.1 has it")
                self._candidates.append(value)
                few = len(self._candidates) <= _MAX_CANDIDATES
                self._expect(number, few, f"at most {_MAX_CANDIDATES} candidates")
            case "end-of-candidates":
                self._complete = True

    def fragment(self) -> Fragment:
        """Return what was read.

        Raises:
            SignalingError: It is not enough.
        """
        if (self._ufrag is None) != (self._password is None):
            raise _malformed("a=ice-ufrag and a=ice-pwd come together")
        if self._ufrag is None and not self._candidates and not self._complete:
            raise _malformed("it says nothing of ICE")
        return Fragment(self._ufrag, self._password, tuple(self._candidates), self._complete)

    def _start_media(self, number: int, value: str) -> None:
        self._expect(number, _MEDIA.fullmatch(value), "m=<media> <port> <protocol> <format>")
        self._media += 1
        self._mid = False
        self._expect(number, self._media <= _MAX_MEDIA, f"at most {_MAX_MEDIA} m-lines")

    def _expect(self, number: int, good: object, what: str) -> None:
        if not good:
            raise _malformed(f"expected {what}", number)


def _malformed(problem: str, line: int | None = None) -> SignalingError:
    where = "" if line is None else f"line {line}: "
    message = f"SDP fragment: {where}{problem}"
    return SignalingError(message, code="invalid_fragment", param="body")
