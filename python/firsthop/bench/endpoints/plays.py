"""What each endpoint answers to a request, as parts and the time before each. No I/O."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import python_multipart

from firsthop.bench.endpoints import buzz
from firsthop.bench.endpoints.script import Heard, Reply, Script, Stage


class RefusedError(Exception):
    """A request is refused, as the real endpoints would.

    Args:
        status: Of the answer.
        message: What is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Play:
    """An answer: its parts, each after so many ms from the one before."""

    content_type: str
    parts: Iterator[tuple[float, bytes]]
    asked: Any
    """The request: a body of JSON, or what was heard."""


def play(stage: Stage, script: Script, number: int, content_type: str, body: bytes) -> Play:
    """Return what a stage answers to a request's body.

    Raises:
        RefusedError: The request is not as the API has it.
    """
    return _PLAYS[stage](script, script.chance(stage, number), content_type, body)


def tokens(text: str) -> list[str]:
    """A text as the chat endpoint streams it: words, each with the blank before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def _transcription(script: Script, chance: random.Random, content_type: str, body: bytes) -> Play:
    fields = _form(content_type, body)
    if "model" not in fields or "file" not in fields:
        raise RefusedError(400, "expected a form with file and model")
    try:
        with wave.open(io.BytesIO(fields["file"])) as sound:
            if sound.getparams()[:2] != (1, 2):
                raise RefusedError(400, "expected PCM16, mono")
            pcm, rate = sound.readframes(sound.getnframes()), sound.getframerate()
    except (wave.Error, EOFError):
        raise RefusedError(400, "expected a WAV file") from None
    words = {name: value.decode() for name, value in fields.items() if name != "file"}
    heard = Heard(pcm, rate, words.get("language"), words.get("prompt"), words["model"])
    text = script.transcript if isinstance(script.transcript, str) else script.transcript(heard)
    delay = script.delays.transcript.draw(chance)
    if words.get("response_format", "json") == "text":
        return Play("text/plain", iter([(delay, text.encode())]), heard)
    return Play("application/json", iter([(delay, _json({"text": text}))]), heard)


def _chat(script: Script, chance: random.Random, content_type: str, body: bytes) -> Play:
    asked = _object(body)
    if not isinstance(asked.get("messages"), list) or not isinstance(asked.get("model"), str):
        raise RefusedError(400, "expected model and messages")
    for tool in asked.get("tools", ()):
        if not isinstance(tool.get("function"), dict):
            raise RefusedError(400, "expected tools as {type: function, function: {...}}")
    reply = script.reply(asked) if callable(script.reply) else script.reply
    reply = Reply(reply) if isinstance(reply, str) else reply
    first = script.delays.first_token.draw(chance)
    if not asked.get("stream"):
        message = {"role": "assistant", "content": reply.text or None} | _calls(reply)
        choice = {"index": 0, "message": message, "finish_reason": _reason(reply)}
        completion = _completion("chat.completion", asked, [choice])
        return Play(
            "application/json",
            iter([(first, _json(completion | {"usage": _usage(asked, reply)}))]),
            asked,
        )
    return Play("text/event-stream", _stream(script, chance, first, asked, reply), asked)


def _stream(
    script: Script, chance: random.Random, first: float, asked: Mapping[str, Any], reply: Reply
) -> Iterator[tuple[float, bytes]]:
    deltas: list[dict[str, Any]] = [{"content": token} for token in tokens(reply.text)]
    for index, (name, arguments) in enumerate(reply.tools):
        half = len(arguments) // 2
        head = {"name": name, "arguments": ""}
        deltas.append(_call(index, id=f"call_{index}", type="function", function=head))
        deltas += [
            _call(index, function={"arguments": piece})
            for piece in (arguments[:half], arguments[half:])
        ]
    deltas = deltas or [{"content": ""}]
    deltas[0] = {"role": "assistant"} | deltas[0]
    for number, delta in enumerate(deltas):
        delay = script.delays.next_token.draw(chance) if number else first
        yield delay, _event(asked, [{"index": 0, "delta": delta, "finish_reason": None}])
    last = _event(asked, [{"index": 0, "delta": {}, "finish_reason": _reason(reply)}])
    if asked.get("stream_options", {}).get("include_usage"):
        last += _event(asked, [], usage=_usage(asked, reply))
    yield 0.0, last + b"data: [DONE]\n\n"


def _speech(script: Script, chance: random.Random, content_type: str, body: bytes) -> Play:
    asked = _object(body)
    if not all(isinstance(asked.get(name), str) for name in ("model", "input", "voice")):
        raise RefusedError(400, "expected model, input and voice")
    kind = asked.get("response_format", "mp3")
    if kind not in {"pcm", "wav"}:
        raise RefusedError(400, "here is pcm and wav only")
    sound = _sound(script, script.delays.first_audio.draw(chance), asked["input"])
    if kind == "pcm":
        return Play("audio/pcm", sound, asked)
    return Play("audio/wav", _headed(sound), asked)


def _sound(script: Script, delay: float, text: str) -> Iterator[tuple[float, bytes]]:
    for length_ms, pcm in buzz.pieces(text):
        yield delay, pcm
        delay = length_ms / script.speed if script.speed else 0.0


def _headed(sound: Iterator[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Put a WAV header before sound whose length is not known yet."""
    form = struct.pack("<HHIIHH", 1, 1, buzz.RATE, buzz.RATE * 2, 2, 16)
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data\xff\xff\xff\xff"
    for delay, pcm in sound:
        yield delay, header + pcm
        header = b""


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a form (RFC 7578), files among them."""
    fields: dict[str, bytes] = {}

    def keep(field: Any) -> None:
        fields[(field.field_name or b"").decode()] = field.value or b""

    def keep_file(file: Any) -> None:
        file.file_object.seek(0)
        fields[(file.field_name or b"").decode()] = file.file_object.read()
        file.close()

    headers = {"Content-Type": content_type.encode(), "Content-Length": b"%d" % len(body)}
    try:
        python_multipart.parse_form(headers, io.BytesIO(body), keep, keep_file)
    except ValueError as error:
        raise RefusedError(400, f"expected a form: {error}") from None
    return fields


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusedError(400, "expected a JSON object")
    return value


def _event(asked: Mapping[str, Any], choices: list[Any], **more: Any) -> bytes:
    chunk = _completion("chat.completion.chunk", asked, choices) | more
    return b"data: " + _json(chunk) + b"\n\n"


def _completion(kind: str, asked: Mapping[str, Any], choices: list[Any]) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": kind, "created": 0, "model": asked["model"]}
    return head | {"choices": choices}


def _calls(reply: Reply) -> dict[str, Any]:
    if not reply.tools:
        return {}
    calls = [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for index, (name, arguments) in enumerate(reply.tools)
    ]
    return {"tool_calls": calls}


def _call(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index} | fields]}


def _reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tools else "stop")


def _usage(asked: Mapping[str, Any], reply: Reply) -> dict[str, int]:
    """Tokens, which are words here."""
    taken = len(tokens(" ".join(str(message.get("content")) for message in asked["messages"])))
    given = len(tokens(reply.text)) + len(reply.tools)
    return {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_PLAYS: Final[dict[Stage, Callable[[Script, random.Random, str, bytes], Play]]] = {
    "transcription": _transcription,
    "chat": _chat,
    "speech": _speech,
}
