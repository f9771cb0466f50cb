"""The voice agent that the settings describe."""

from __future__ import annotations

from collections.abc import Callable

from firsthop.agent.endpoints.chat import EndpointModel
from firsthop.agent.endpoints.speech import EndpointSynthesiser
from firsthop.agent.endpoints.transcription import EndpointTranscriber
from firsthop.agent.offline.hearing import PocketsphinxTranscriber
from firsthop.agent.offline.model import RuleModel
from firsthop.agent.offline.voice import EspeakSynthesiser
from firsthop.agent.stages import Model, Synthesiser, Transcriber
from firsthop.agent.times import TurnTimes
from firsthop.agent.tools.toolbox import Toolbox
from firsthop.agent.voice import VoiceAgent
from firsthop.config import AgentSettings
from firsthop.telemetry.metrics import Metrics


def load(
    settings: AgentSettings,
    metrics: Metrics,
    watch: Callable[[TurnTimes], None] | None = None,
) -> VoiceAgent:
    """Return the agent: each stage by its endpoint, or offline where none is set.

    Raises:
        ConfigError: A module of tools is none.
    """
    transcriber: Transcriber = PocketsphinxTranscriber()
    model: Model = RuleModel()
    synthesiser: Synthesiser = EspeakSynthesiser()
    if settings.transcription.url is not None:
        transcriber = EndpointTranscriber(settings.transcription)
    if settings.chat.url is not None:
        model = EndpointModel(settings.chat)
    if settings.speech.url is not None:
        synthesiser = EndpointSynthesiser(settings.speech)
    toolbox = Toolbox.of(settings, builtin=settings.chat.url is None)
    return VoiceAgent(settings, transcriber, model, synthesiser, toolbox, metrics, watch)
