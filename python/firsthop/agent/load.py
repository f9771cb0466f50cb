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
    hears, thinks, speaks = settings.transcription, settings.chat, settings.speech
    transcriber: Transcriber = (
        EndpointTranscriber(hears) if hears.url is not None else PocketsphinxTranscriber()
    )
    model: Model = EndpointModel(thinks) if thinks.url is not None else RuleModel()
    synthesiser: Synthesiser = (
        EndpointSynthesiser(speaks) if speaks.url is not None else EspeakSynthesiser()
    )
    toolbox = Toolbox.of(settings, builtin=thinks.url is None, metrics=metrics)
    return VoiceAgent(settings, transcriber, model, synthesiser, toolbox, metrics, watch)
