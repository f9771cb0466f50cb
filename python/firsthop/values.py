"""What the value of a setting may be: checks, and the types that carry them.

A check returns the value, or raises a `ValueError` that says what is expected. What may be secret
is not quoted.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field

KEY_BYTES = 32
EDGE_KEY_BYTES = 48
#: What client secrets begin with, and API keys must not.
CLIENT_SECRET = "ek_"
#: The header of a call by WebSocket whose conversation began elsewhere, and will be told at once.
CONTINUED = "Firsthop-Continued"
#: Shortest API key, in characters: 96 bits, if it is random hex.
MIN_API_KEY = 24
_MAX_API_KEY = 256
_MAX_WORKERS = 256
#: Files that a rediss:// URL may name as options.
_TLS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
#: Backends that are no functions of the user's.
BACKENDS = ("realtime", "pipecat", "echo", "mirror")


def _transport_address(text: str) -> str:
    """Check ``ip:port`` or ``[ip]:port``."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    try:
        ip = ipaddress.ip_address(_address(bare))
        if not digits or int(port) > 65535 or (ip.version == 6) == (bare == host):
            raise ValueError
    except ValueError:
        raise ValueError("expected ip:port, as 0.0.0.0:3478 or [::]:3478") from None
    return text


def _reachable(text: str) -> str:
    """Check a transport address that clients are told to send to."""
    if not _names_one(text):
        raise ValueError("expected an address and a port that clients can send to")
    return text


def _relay_address(text: str) -> str:
    """Check where a relay takes records; one address has one spelling."""
    if not _names_one(text):
        raise ValueError("expected an address and a port that edge relays can send to")
    host, _, port = text.rpartition(":")
    ip = ipaddress.ip_address(host.strip("[]"))
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"


def _names_one(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return not ipaddress.ip_address(host.strip("[]")).is_unspecified and int(port) != 0


def _address(text: str) -> str:
    """Check an IP address; one with a zone means something on one machine only."""
    if "%" in text:
        raise ValueError("expected an IP address without a zone")
    return str(ipaddress.ip_address(text))


def _key(text: str) -> str:
    """Check a key: 32 bytes in hex."""
    if _hex_bytes(text) != KEY_BYTES:
        raise ValueError("expected 64 hex digits; `firsthop key` makes one")
    return text


def _edge_key(text: str) -> str:
    """Check the edge key of a cluster: 48 bytes in hex."""
    if _hex_bytes(text) != EDGE_KEY_BYTES:
        raise ValueError(
            "expected 96 hex digits; `firsthop key edge` prints them, given the cluster's settings"
        )
    return text


def _hex_bytes(text: str) -> int | None:
    try:
        return len(bytes.fromhex(text))
    except ValueError:
        return None


def _network(text: str) -> str:
    """Check ``ip/prefix``."""
    return str(ipaddress.ip_network(text))


def _ipv6_prefix(text: str) -> str:
    """Check an IPv6 network of the one size that tokens leave room for."""
    network = ipaddress.ip_network(text)
    if network.version != 6 or network.prefixlen != 64:
        raise ValueError("expected an IPv6 /64, as 2001:db8:0:1::/64")
    return str(network)


def _origin(text: str) -> str:
    """Check a web origin as browsers send it (RFC 6454 §6.1)."""
    if text == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", text):
        return text
    raise ValueError("expected scheme://host or scheme://host:port and no more, or *")


def _api_key(text: str) -> str:
    """Check an API key. No problem that is told quotes it."""
    if not re.fullmatch(rf"[A-Za-z0-9._~+/=-]{{{MIN_API_KEY},{_MAX_API_KEY}}}", text):
        raise ValueError(
            f"expected {MIN_API_KEY} to {_MAX_API_KEY} characters of A-Z a-z 0-9 . _ ~ + / = -; "
            "`firsthop key` makes what serves as one"
        )
    if text.startswith(CLIENT_SECRET):
        raise ValueError(f"expected a key that does not begin with {CLIENT_SECRET}, as secrets do")
    return text


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, host = (parts.username or ""), parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:***@{host}"))


def _shared_url(text: str) -> str:
    """Check where processes share what they know. What is wrong is not quoted: it may be secret."""
    if text == "memory":
        return text
    try:
        url = urlsplit(text)
        fine = url.scheme in {"redis", "rediss"} and url.hostname and url.port != 0
    except ValueError:
        fine = False
    if not fine or url.fragment or not re.fullmatch(r"(/[0-9]{0,4})?", url.path):
        raise ValueError(
            "expected memory, or redis://[user:password@]host[:port][/database], rediss:// "
            "for TLS; what is special in a password is percent-encoded, as %40 for @"
        )
    options = {name for name, _ in parse_qsl(url.query, keep_blank_values=True)}
    if options and (url.scheme != "rediss" or options - _TLS_OPTIONS):
        allowed = ", ".join(sorted(_TLS_OPTIONS))
        raise ValueError(f"expected no options but, for rediss://, {allowed}")
    return text


def _number(value: object) -> object:
    """Take digits for a number: all that the environment holds is text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _backend(text: str) -> str:
    """Check the name of a backend."""
    module, colon, function = text.partition(":")
    names = [*module.split("."), function]
    if text in BACKENDS or (colon and all(name.isidentifier() for name in names)):
        return text
    raise ValueError(f"expected {', '.join(BACKENDS)}, or module:function")


def _socket_url(text: str) -> str:
    """Check where a server of WebSockets is."""
    return _url(text, {"ws", "wss"}, "ws:// or wss://, as wss://api.openai.com/v1/realtime")


def _endpoint_url(text: str) -> str:
    """Check where an API is; paths are added to it."""
    return _url(text, {"http", "https"}, "http:// or https://, as https://api.openai.com/v1")


def _url(text: str, schemes: set[str], expected: str) -> str:
    try:
        url = urlsplit(text)
        fine = url.scheme in schemes and url.hostname and url.port != 0
    except ValueError:
        fine = False
    if not fine or re.search(r"[\s\x00-\x1f#]", text):
        raise ValueError(f"expected {expected}")
    if "@" in url.netloc:
        raise ValueError("expected no user or password in it; a key has a setting of its own")
    return text


def _module(text: str) -> str:
    """Check the name of a module."""
    if all(name.isidentifier() for name in text.split(".")):
        return text
    raise ValueError("expected the name of a Python module, as my_tools")


def _server_key(text: str) -> str:
    """Check a key that another server wants to see. No problem that is told quotes it."""
    if not re.fullmatch(r"[!#-\[\]-~]{1,4096}", text):
        raise ValueError("expected a key: ASCII without blanks, quotes and backslashes")
    return text


def _workers(value: object) -> object:
    number = _number(value)
    if number == "auto" or (type(number) is int and 1 <= number <= _MAX_WORKERS):
        return number
    raise ValueError(f"expected auto, or a number from 1 to {_MAX_WORKERS}")


TransportAddress = Annotated[str, AfterValidator(_transport_address)]
PublicAddress = Annotated[TransportAddress, AfterValidator(_reachable)]
RelayAddress = Annotated[TransportAddress, AfterValidator(_relay_address)]
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Ipv6Prefix = Annotated[str, AfterValidator(_ipv6_prefix)]
Origin = Annotated[str, AfterValidator(_origin)]
Workers = Annotated[int | Literal["auto"], BeforeValidator(_workers)]
SampleRate = Annotated[Literal[8000, 12000, 16000, 24000, 48000], BeforeValidator(_number)]
FrameMs = Annotated[Literal[20, 40, 60, 80, 100], BeforeValidator(_number)]
Key = Annotated[str, AfterValidator(_key)]
EdgeKey = Annotated[str, AfterValidator(_edge_key)]
KeyId = Annotated[int, Field(ge=0, le=3)]
ClusterId = Annotated[int, Field(ge=0, le=65535)]
#: Of an ingress point: the upper byte of the ingress ids of its sockets.
Site = Annotated[int, Field(ge=0, le=255)]
Port = Annotated[int, Field(ge=1, le=65535)]
Backend = Annotated[str, AfterValidator(_backend)]
ApiKey = Annotated[str, AfterValidator(_api_key)]
SharedUrl = Annotated[str, AfterValidator(_shared_url)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
SocketUrl = Annotated[str, AfterValidator(_socket_url)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint_url)]
Module = Annotated[str, AfterValidator(_module)]
ServerKey = Annotated[str, AfterValidator(_server_key)]
