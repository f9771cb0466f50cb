"""What the offline model says, and when: rules on the words of the conversation, without I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from firsthop.agent.offline.numbers import duration, expression, words_of
from firsthop.agent.stages import Text, Thought, ToolRequest

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

GREETING: Final = (
    "Hello. I am the offline agent of first hop. Ask me for the time, a sum, or a timer. "
    "You can interrupt me at any time."
)
ABILITIES: Final = (
    "I can tell the time here and in many cities, do sums, and set timers. "
    "I am a handful of rules, so please use simple words."
)
HOW_LONG: Final = "For how long shall I set the timer?"
#: How alike a word has to be to one that is looked for: what was heard is often only close to it.
_ALIKE: Final = 0.75
#: The longest text that is quoted back, in characters.
_MAX_QUOTE: Final = 200
#: Words in the name of a tool that say nothing of what it is about.
_VERBS: Final = frozenset({"get", "set", "find", "look", "up", "tell", "show", "fetch", "the", "a"})
_BUILT_IN: Final = frozenset({"current_time", "set_timer", "cancel_timer", "calculate"})


def answer(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Thought]:
    """Return what to say next, or the tool to use.

    Args:
        messages: As in ``/chat/completions``, oldest first.
        tools: As in the Realtime API.
    """
    last = next((one for one in reversed(messages) if one.get("role") != "assistant"), None)
    if last is None:
        return [Text(GREETING)]
    if last.get("role") == "tool":
        return [Text(_result(messages, last))]
    if last.get("role") == "system":
        # Instructions are for models; what comes behind the conversation is a hint.
        idle = "still there" in str(last.get("content"))
        return [Text("Are you still there?" if idle else GREETING)]
    return _Turn(messages, str(last.get("content") or ""), tools).answer()


class _Turn:
    """One thing that the user said."""

    def __init__(self, messages: Sequence[Message], text: str, tools: Sequence[Tool]) -> None:
        self._messages = messages
        self._text = text
        self._words = words_of(text)
        self._tools = {str(tool.get("name")): tool for tool in tools}

    def answer(self) -> list[Thought]:
        rules: tuple[Callable[[], list[Thought] | None], ...] = (
            self._timer,
            self._sum,
            self._client_tool,
            self._time,
            self._name,
            self._again,
            self._small_talk,
        )
        for rule in rules:
            if (thoughts := rule()) is not None:
                return thoughts
        quoted = self._text.strip()[:_MAX_QUOTE]
        heard = f"I heard: {quoted.rstrip('.?!')}. " if quoted else ""
        return [
            Text(
                f"{heard}I am only a few rules and no language model, so I have no answer to that. "
                "Ask me for the time, a sum, or a timer."
            )
        ]

    # Tools.

    def _timer(self) -> list[Thought] | None:
        seconds = duration(self._words)
        timer = bool({"timer", "timers", "alarm"} & set(self._words))
        # "A timer" is easily heard as "a time or".
        timer |= seconds is not None and self._says("set", "start")
        called = self._says("remind", "wake") or "call me in" in self._phrase
        asked = _last_of(self._messages, "assistant") == HOW_LONG
        if not (timer or called or (asked and seconds is not None)):
            return None
        label = self._label()
        if timer and self._says("cancel", "stop", "delete", "clear"):
            return self._use("cancel_timer", {} if label is None else {"label": label})
        if seconds is None:
            return [Text(HOW_LONG)]
        return self._use("set_timer", {"seconds": seconds} | ({"label": label} if label else {}))

    def _label(self) -> str | None:
        named = re.search(r"\b(?:called|named) (\w+)", self._phrase)
        before = re.search(r"\b([a-z]+) timers?\b", self._phrase)
        plain = {"a", "the", "my", "all", "new", "second", "minute", "hour", "seconds", "minutes"}
        if named is not None:
            return named[1]
        return before[1] if before is not None and before[1] not in plain else None

    def _sum(self) -> list[Thought] | None:
        wanted = expression(self._words)
        return None if wanted is None else self._use("calculate", {"expression": wanted})

    def _time(self) -> list[Thought] | None:
        asks = self._says("what", "what's", "tell", "which", "is", "know", "have")
        about = {"time", "date", "day", "today", "year", "month", *_DAYS}
        if not asks or not (set(self._words) & about or self._says("time", "date")):
            return None
        city = re.search(r"\bin ([a-z]+(?: [a-z]+)?)(?: now| please| today)?$", self._phrase)
        return self._use("current_time", {} if city is None else {"timezone": city[1].title()})

    def _client_tool(self) -> list[Thought] | None:
        """Use a tool of the client whose name is in what was said; it may want one word of it."""
        for name, tool in self._tools.items():
            about = set(re.findall(r"[a-z]+", name.lower())) - _VERBS
            if name in _BUILT_IN or not about or not about <= set(self._words):
                continue
            parameters = tool.get("parameters")
            parameters = parameters if isinstance(parameters, Mapping) else {}
            required = list(parameters.get("required") or ())
            if not required:
                return self._use(name, {})
            place = re.search(r"\b(?:in|for|of|to|about) (.+)$", self._phrase)
            if len(required) == 1 and place is not None:
                return self._use(name, {str(required[0]): place[1].title()})
        return None

    def _use(self, name: str, arguments: Mapping[str, Any]) -> list[Thought]:
        if name not in self._tools:
            return [Text(f"I have no tool for that here: it would be {name.replace('_', ' ')}.")]
        number = sum(message.get("role") == "tool" for message in self._messages) + 1
        return [ToolRequest(f"call_{number}", name, json.dumps(arguments))]

    # Talk.

    def _name(self) -> list[Thought] | None:
        if "my name" in self._phrase and self._says("what", "what's", "know", "remember"):
            known = _name_in(self._messages)
            return [Text(f"Your name is {known}." if known else "You have not told me yet.")]
        told = _named(self._phrase)
        return None if told is None else [Text(f"Nice to meet you, {told}.")]

    def _again(self) -> list[Thought] | None:
        if not (self._says("again", "repeat", "pardon") or "did you say" in self._phrase):
            return None
        return [Text(_last_of(self._messages, "assistant") or "I have not said anything yet.")]

    def _small_talk(self) -> list[Thought] | None:
        for pattern, reply in _SMALL_TALK:
            if re.search(pattern, self._phrase):
                return [Text(reply)]
        return None

    @property
    def _phrase(self) -> str:
        return " ".join(self._words)

    def _says(self, *wanted: str) -> bool:
        """Whether one of these words was said, or something that sounds close to it."""
        return any(_alike(word, one) for word in self._words for one in wanted)


_DAYS: Final = frozenset(
    {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
)
#: What is said to what is neither a question nor an order: pattern and reply, the first that fits.
_SMALL_TALK: Final = (
    (r"\bhow are you\b", "I am well, thank you. What can I do for you?"),
    (r"\b(what|who) (can|are|could|should) (you|i)\b|\bhelp\b|\bname\b", ABILITIES),
    (
        r"\b(robot|human|computer|person|machine|real|ai|language model|made you)\b",
        "I am a program: a few rules in Python. I recognise speech with pocketsphinx and speak "
        "with espeak, and all of it runs on this machine.",
    ),
    (r"\bhear me\b|\bare you there\b|\btest(ing)?\b", "Yes, I can hear you."),
    (r"\bweather\b|\brain\b", "I cannot look out of the window: I have no tool for the weather."),
    (
        r"\bjoke\b|\bstory\b|\bsing\b",
        "A packet walks into a bar. Nobody acknowledges it, so it walks in again.",
    ),
    (r"\bthank(s| you)\b", "You are welcome."),
    (r"\b(good ?bye|bye|good night|see you)\b", "Goodbye."),
    (r"\b(stop|quiet|wait|never mind|enough|cancel)\b", "All right."),
    (r"\b(hello|hi|hey|good (morning|afternoon|evening|day))\b", "Hello. What can I do for you?"),
    (r"^(yes|no|okay|yeah|sure|great|good|wonderful|very good|nice|cool)\b", "All right."),
)


def _alike(word: str, wanted: str) -> bool:
    if word == wanted:
        return True
    if min(len(word), len(wanted)) < 4 or word[0] != wanted[0]:
        # The beginnings of short words decide: a rhyme on "time" is a word of its own.
        return len(word) == len(wanted) >= 4 and word[1:] == wanted[1:]
    return SequenceMatcher(None, word, wanted).ratio() >= _ALIKE


def _result(messages: Sequence[Message], last: Message) -> str:
    """Word what a tool said."""
    output = str(last.get("content") or "").strip()
    name = _tool_of(messages, str(last.get("tool_call_id")))
    if output.startswith("The tool failed: "):
        return f"That did not work: {output.removeprefix('The tool failed: ').rstrip('.')}."
    sentence = output[:1].upper() + output[1:].rstrip(".") + "."
    match name:
        case "current_time":
            return f"It is {output.rstrip('.')}."
        case "calculate":
            return f"That makes {output.rstrip('.')}."
    return sentence if output else "Done."


def _tool_of(messages: Sequence[Message], call_id: str) -> str:
    for message in reversed(messages):
        for call in message.get("tool_calls") or ():
            if call.get("id") == call_id:
                return str(call.get("function", {}).get("name", ""))
    return ""


def _last_of(messages: Sequence[Message], role: str) -> str:
    texts = [str(one["content"]) for one in messages if one.get("role") == role and one["content"]]
    return texts[-1] if texts else ""


def _name_in(messages: Sequence[Message]) -> str | None:
    texts = [" ".join(words_of(str(m["content"]))) for m in messages if m.get("role") == "user"]
    return next((name for text in reversed(texts) if (name := _named(text)) is not None), None)


def _named(phrase: str) -> str | None:
    found = re.search(r"\bmy name is ([a-z]+)|\bcall me ([a-z]+)$", phrase)
    return None if found is None else (found[1] or found[2]).title()
