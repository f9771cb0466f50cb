"""Opus packets in an Ogg file (RFC 3533, RFC 7845), as they are. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CAPTURE: Final = b"OggS"
#: A page's header up to its segment table (RFC 3533 section 6).
_HEADER: Final = 27
_CONTINUED: Final = 0x01
_FIRST: Final = 0x02
_LACED: Final = 255
#: Larger is no sound, but may be a header with a picture in it.
_MAX_PACKET: Final = 1 << 20
#: Of RFC 7845: an identification header, then a comment header.
_HEADERS: Final = 2
_IDENTIFICATION: Final = b"OpusHead"


class OggError(Exception):
    """It is no Ogg Opus.

    Args:
        problem: What it is instead, as the end of "speech.ogg is ...".
    """


@dataclass(frozen=True, slots=True)
class _Page:
    continued: bool
    first: bool
    stream: int
    segments: bytes
    body: bytes


def opus_packets(data: bytes) -> Iterator[bytes]:
    """Yield the packets of sound of the first Opus stream in a file, without its two headers.

    A packet that the file's end cuts off is left out. Other streams in the file, as video, are
    passed over. Checksums are not checked: a packet that is not Opus shows when it is read.

    Raises:
        OggError: It is no Ogg, has no Opus in it, or more than two channels.
    """
    stream: int | None = None
    held = b""
    number = 0
    for page in _pages(data):
        if stream is None:
            if page.first and page.body.startswith(_IDENTIFICATION):
                _check(page.body)
                stream = page.stream
            else:
                continue
        if page.stream != stream:
            continue
        if not page.continued:
            held = b""
        at = 0
        for size in page.segments:
            held += page.body[at : at + size]
            at += size
            if len(held) > _MAX_PACKET:
                raise OggError("an Ogg file with a packet of more than 1 MiB: it is damaged")
            if size < _LACED:
                if number >= _HEADERS and held:
                    yield held
                number += 1
                held = b""
    if stream is None:
        raise OggError("an Ogg file without Opus: expected Opus, as `opusenc` makes it")


def _check(head: bytes) -> None:
    """Check an identification header (RFC 7845 section 5.1)."""
    if len(head) < 19 or head[8] >> 4:
        raise OggError("an Ogg file with an Opus header of another version than 1")
    if head[9] not in {1, 2} or head[18] != 0:
        raise OggError(f"of {head[9]} channels: expected one or two")


def _pages(data: bytes) -> Iterator[_Page]:
    """Yield the whole pages; after damage, from the next that begins like one."""
    if not data.startswith(_CAPTURE):
        raise OggError("no Ogg file")
    at = 0
    while (at := data.find(_CAPTURE, at)) >= 0:
        header = data[at : at + _HEADER]
        if len(header) < _HEADER:
            return
        segments = data[at + _HEADER : at + _HEADER + header[26]]
        begin = at + _HEADER + len(segments)
        body = data[begin : begin + sum(segments)]
        if header[4] != 0 or len(segments) < header[26] or len(body) < sum(segments):
            at += len(_CAPTURE)
            continue
        yield _Page(
            continued=bool(header[5] & _CONTINUED),
            first=bool(header[5] & _FIRST),
            stream=int.from_bytes(header[14:18], "little"),
            segments=segments,
            body=body,
        )
        at = begin + len(body)
