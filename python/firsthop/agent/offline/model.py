"""A model that is a handful of rules: it needs no keys, and understands what it has rules for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from firsthop.agent.offline import rules
from firsthop.agent.stages import Model, Prompt, Thought


class RuleModel(Model):
    """Answers in English by rules, and uses tools where they fit.

    It takes no instructions: what they are made of, it does not understand.
    """

    greeting = rules.GREETING

    @asynccontextmanager
    async def think(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Answer, at once."""
        tools = () if prompt.tool_choice == "none" else prompt.tools
        yield _each(rules.answer(prompt.messages, tools))


async def _each(thoughts: list[Thought]) -> AsyncIterator[Thought]:
    for thought in thoughts:
        yield thought
