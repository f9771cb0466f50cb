"""The names that agents are written against."""

import importlib.metadata

import firsthop

PUBLIC = {
    "AudioFrame",
    "BackendError",
    "Call",
    "CallEvent",
    "CallerIdle",
    "ConfigError",
    "DigitPressed",
    "FirsthopError",
    "Message",
    "OfferError",
    "OpusPacket",
    "OpusPackets",
    "OverloadedError",
    "Playback",
    "Played",
    "Reply",
    "SessionClosed",
    "SignalingError",
    "SpeechEnded",
    "SpeechStarted",
    "TokenError",
    "ToolContext",
    "ToolError",
    "UnknownCallError",
    "opus",
    "run",
    "tool",
}


def test_package_exports_these_names_and_no_others() -> None:
    assert set(firsthop.__all__) == PUBLIC
    assert [name for name in firsthop.__all__ if not hasattr(firsthop, name)] == []


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [name for name in PUBLIC if not getattr(firsthop, name).__doc__]
    assert undocumented == []


def test_every_error_is_a_firsthop_error() -> None:
    errors = [getattr(firsthop, name) for name in PUBLIC if name.endswith(("Error", "Closed"))]
    assert all(issubclass(error, firsthop.FirsthopError) for error in errors)


def test_version_is_the_one_that_was_installed() -> None:
    assert firsthop.__version__ == importlib.metadata.version("firsthop")
