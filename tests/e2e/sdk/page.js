/**
 * An application on the unmodified Agents SDK, with handles for a test: `window.app`.
 *
 * The SDK is the bundle that its package ships. What the application sees is kept in `app.log`.
 */

import {
  OpenAIRealtimeWebRTC,
  OpenAIRealtimeWebSocket,
  RealtimeAgent,
  RealtimeSession,
  tool,
} from "./node_modules/@openai/agents-realtime/dist/bundle/openai-realtime-agents.mjs";
// The schemas that the bundle has inside, from the same package.
import { parseRealtimeEvent } from "./node_modules/@openai/agents-realtime/dist/openaiRealtimeEvents.mjs";

/** What happened, for the test to read. */
const log = { events: [], unknown: [], errors: [], tools: [], audio: [], connections: [] };
/** Tool calls that wait for `finish`. */
const unfinished = [];
const speaker = document.getElementById("speaker");

const getWeather = tool({
  name: "get_weather",
  description: "Tells the weather in a city.",
  parameters: parameters({ city: { type: "string" } }),
  execute: ({ city }) => {
    log.tools.push({ name: "get_weather", arguments: { city } });
    return `It is sunny in ${city} today, and the wind comes from the west.`;
  },
});

const findOrder = tool({
  name: "find_order",
  description: "Finds an order by its number. Takes a while.",
  parameters: parameters({ number: { type: "integer" } }),
  execute: ({ number }) => {
    log.tools.push({ name: "find_order", arguments: { number } });
    return new Promise((resolve) => unfinished.push(resolve));
  },
});

function parameters(properties) {
  const required = Object.keys(properties);
  return { type: "object", properties, required, additionalProperties: false };
}

function newAgent(instructions) {
  return new RealtimeAgent({ name: "Clerk", instructions, tools: [getWeather, findOrder] });
}

let session;
let voice;
let interruptions = 0;

/**
 * Place a call.
 *
 * @param {string} options.url Of the calls.
 * @param {string} options.apiKey
 * @param {object} [options.config] Of the session, as the SDK names it.
 * @param {boolean} [options.voice] Whether `say` speaks; else the browser's microphone does.
 * @param {boolean} [options.socket] Whether to call by WebSocket, without microphone and speaker.
 */
async function connect({ url, apiKey, config = {}, voice: wanted = true, socket = false }) {
  if (wanted && !socket) voice = newVoice();
  const transport = socket
    ? new OpenAIRealtimeWebSocket({ url })
    : new OpenAIRealtimeWebRTC({ baseUrl: url, audioElement: speaker, mediaStream: voice?.stream });
  session = new RealtimeSession(newAgent("Be helpful."), { transport, config });
  watch(session);
  await session.connect({ apiKey });
  return transport.callId;
}

function watch(session) {
  session.on("transport_event", (event) => {
    log.events.push({ ...event, receivedMs: performance.now() });
    if (parseRealtimeEvent({ data: JSON.stringify(event) }).isGeneric) log.unknown.push(event);
  });
  session.on("error", ({ error }) => log.errors.push(describe(error)));
  session.transport.on("connection_change", (state) => log.connections.push(state));
  session.on("audio", ({ data }) => log.audio.push(new Uint8Array(data).toBase64()));
  session.on("audio_interrupted", () => (interruptions += 1));
}

function describe(error) {
  return error instanceof Error ? `${error.name}: ${error.message}` : JSON.stringify(error);
}

/** A microphone that hears only `say`. */
function newVoice() {
  const context = new AudioContext();
  const microphone = context.createMediaStreamDestination();
  // Without a source there would be no sound, not even silence.
  const silence = new ConstantSourceNode(context, { offset: 0 });
  silence.connect(microphone);
  silence.start();
  return { context, microphone, stream: microphone.stream };
}

/** Say a WAV file, given as base64; returns when the last of it was said. */
async function say(wav) {
  const bytes = Uint8Array.from(atob(wav), (character) => character.charCodeAt(0));
  const source = voice.context.createBufferSource();
  source.buffer = await voice.context.decodeAudioData(bytes.buffer);
  source.connect(voice.microphone);
  const said = new Promise((resolve) => source.addEventListener("ended", resolve));
  source.start();
  await said;
}

window.app = {
  log,
  connect,
  say,
  finish: (output) => unfinished.shift()(output),
  history: () => session.history,
  interruptions: () => interruptions,
  interrupt: () => session.interrupt(),
  write: (text) => session.sendMessage(text),
  forget: (id) => session.updateHistory((items) => items.filter(({ itemId }) => itemId !== id)),
  send: (event) => session.transport.sendEvent(event),
  instruct: (instructions) => session.updateAgent(newAgent(instructions)),
  mute: (muted) => session.mute(muted),
  close: () => session.close(),
  connection: () => session.transport.connectionState.peerConnection,
  track: () => speaker.srcObject?.getAudioTracks()[0],
};
