/**
 * An application on the unmodified Pipecat client, with handles for a test: `window.app`.
 *
 * What the application's callbacks are told is kept in `app.log`.
 */

import { PipecatClient } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport, WavMediaManager } from "@pipecat-ai/small-webrtc-transport";

/** Callbacks of a conversation, and what is kept of what they are given. */
const CALLBACKS = {
  onConnected: () => null,
  onDisconnected: () => null,
  onTransportStateChanged: (state) => state,
  onBotReady: (data) => data,
  onBotDisconnected: () => null,
  onError: ({ data }) => data,
  onMessageError: ({ data }) => data,
  onServerMessage: (data) => data,
  onUserStartedSpeaking: () => null,
  onUserStoppedSpeaking: () => null,
  onUserTranscript: (data) => data,
  onUserLlmText: ({ text }) => text,
  onBotStartedSpeaking: () => null,
  onBotStoppedSpeaking: () => null,
  onBotLlmStarted: () => null,
  onBotLlmStopped: () => null,
  onBotLlmText: ({ text }) => text,
  onBotTtsText: ({ text }) => text,
  onBotTranscript: ({ text }) => text,
  onBotOutput: (data) => data,
  onLLMFunctionCallStarted: (data) => data,
  onLLMFunctionCallInProgress: (data) => data,
  onLLMFunctionCallStopped: (data) => data,
};

/**
 * A microphone that hears only `say`, and an application that could share its screen: the offer is
 * that of the package's default media manager, which loads its code from its maker's servers.
 */
class Voice extends WavMediaManager {
  #context = new AudioContext();
  #microphone = this.#context.createMediaStreamDestination();

  async initialize() {
    // Without a source there would be no sound, not even silence.
    const silence = new ConstantSourceNode(this.#context, { offset: 0 });
    silence.connect(this.#microphone);
    silence.start();
  }

  async connect() {}

  async disconnect() {}

  get supportsScreenShare() {
    return true;
  }

  tracks() {
    return { local: { audio: this.#microphone.stream.getAudioTracks()[0] } };
  }

  /** Say a WAV file, given as base64; returns when the last of it was said. */
  async say(wav) {
    const bytes = Uint8Array.from(atob(wav), (character) => character.charCodeAt(0));
    const source = this.#context.createBufferSource();
    source.buffer = await this.#context.decodeAudioData(bytes.buffer);
    source.connect(this.#microphone);
    const said = new Promise((resolve) => source.addEventListener("ended", resolve));
    source.start();
    await said;
  }
}

/** What happened, in its order, for the test to read: the callback, what it was given, and when. */
const log = [];
let client;
let transport;
let voice;
let heard;

/**
 * Place a call.
 *
 * @param {string} options.url Of the HTTP that offers calls.
 * @param {boolean} [options.start] Whether to begin at /start; else the offer goes to /api/offer.
 * @param {string} [options.key] A credential.
 * @param {boolean} [options.microphone] Whether the browser's microphone speaks; else `say` does.
 * @param {object} [options.told] What the application tells its bot.
 * @param {object} [options.tools] Tools by name, and what each returns.
 */
async function connect({ url, start = false, key, microphone = false, told, tools = {} }) {
  voice = new Voice();
  const headers = new Headers(key ? { Authorization: `Bearer ${key}` } : {});
  const offers = { endpoint: `${url}/api/offer`, headers, requestData: told };
  transport = new SmallWebRTCTransport({
    mediaManager: microphone ? new WavMediaManager() : voice,
    ...(start ? {} : { webrtcRequestParams: offers }),
  });
  client = new PipecatClient({ transport, callbacks: watched() });
  for (const [name, result] of Object.entries(tools)) {
    client.registerFunctionCallHandler(name, async () => result);
  }
  if (!start) return client.connect();
  const requestData = { enableDefaultIceServers: true, body: told };
  return client.startBotAndConnect({ endpoint: `${url}/start`, headers, requestData });
}

function watched() {
  const note = (name, keep) => (given) =>
    log.push({ name, given: keep(given ?? {}), atMs: performance.now() });
  const callbacks = Object.entries(CALLBACKS).map(([name, keep]) => [name, note(name, keep)]);
  const onTrackStarted = (track, participant) => {
    if (track.kind === "audio" && !participant?.local) heard = play(track);
  };
  return { ...Object.fromEntries(callbacks), onTrackStarted };
}

/** Play a track, as an application has to. */
function play(track) {
  const speaker = document.createElement("audio");
  speaker.srcObject = new MediaStream([track]);
  speaker.play();
  return track;
}

window.app = {
  log,
  connect,
  say: (wav) => voice.say(wav),
  act: async (name, ...given) => (await client[name](...given)) ?? null,
  // What the transport does when it has gathered for long, and when its connection broke.
  repeatOffer: () => transport.negotiate(),
  reconnect: () => transport.attemptReconnection(true),
  callId: () => transport.pc_id,
  directions: () => transport.pc.getTransceivers().map((one) => one.currentDirection),
  canSend: () => transport.dc.readyState === "open",
  state: () => client.state,
  track: () => heard,
};
