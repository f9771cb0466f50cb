/**
 * The view: shows one `Call` at a time and starts and ends it. Decides nothing about the call.
 *
 * For tests, `<html data-state>` is the current state, and `window.firsthop` holds the current
 * call, its timings in milliseconds and its received events.
 */

import { Call } from "./client.js";

const NETWORK_INTERVAL_MS = 1_000;
const ARIA_INTERVAL_MS = 500;
const FRAME_MS = 15;
const STILL_FRAME_MS = 250;
/** Longer than any speech that a browser holds back against jitter. */
const BUFFERED_SPEECH_MS = 200;
const BAR_SPACING_PX = 7;
const SPARKLINE_POINTS = 60;
const QUIETEST_DB = -60;

/** @typedef {import("./client.js").CallState} CallState */
/** @typedef {import("./client.js").Item} Item */
/** @typedef {import("./client.js").NetworkSample} NetworkSample */
/** @typedef {import("./client.js").ReceivedEvent} ReceivedEvent */
/** @typedef {import("./client.js").Stage} Stage */
/** @typedef {{ head: HTMLElement, words: HTMLElement }} Entry A line of the conversation. */

/**
 * What each state is called, and a sentence about it.
 *
 * @type {Record<CallState, { title: string, detail: (call: Call) => string }>}
 */
const STATES = {
  idle: { title: "Ready", detail: () => "Start a call and talk to the agent." },
  connecting: { title: "Connecting", detail: connectingStep },
  listening: { title: "Listening", detail: () => "Say something." },
  "user-speaking": { title: "You’re speaking", detail: () => "The agent hears you." },
  thinking: { title: "Thinking", detail: () => "The agent prepares its answer." },
  "agent-speaking": { title: "Agent speaking", detail: () => "Talk over it to interrupt." },
  interrupted: {
    title: "Interrupted",
    detail: (call) => `The agent stopped after ${seconds(call.interruptedAfterMs ?? 0, 2)}.`,
  },
  reconnecting: { title: "Reconnecting…", detail: () => "The connection dropped. One moment." },
  ended: { title: "Call ended", detail: outcomeText },
  failed: { title: "Call failed", detail: outcomeText },
};

/** @type {ReadonlyArray<{ stage: Stage, title: string, meaning: string }>} */
const STAGES = [
  { stage: "signaling", title: "Signaling", meaning: "offer posted → answer" },
  { stage: "ice", title: "ICE", meaning: "answer → connected" },
  { stage: "dtls", title: "DTLS", meaning: "ICE → connected" },
  { stage: "dataChannel", title: "Data channel", meaning: "DTLS → open" },
  { stage: "firstAudio", title: "First audio", meaning: "DTLS → first RTP packet" },
];

/** @param {Call} call */
function connectingStep({ micStream, stages }) {
  if (micStream === null) return "Waiting for the microphone.";
  if (stages.signaling === undefined) return "Offering the call to the server.";
  if (stages.ice === undefined) return "Opening a media path to the relay.";
  if (stages.dtls === undefined) return "Agreeing on keys with the transceiver.";
  return "Opening the data channel.";
}

/** @param {Call} call */
function outcomeText({ outcome }) {
  return outcome === null ? "" : `${outcome.reason} ${outcome.wayOut}`;
}

/** The conversation, one entry per turn; entries are found again to be completed. */
class Conversation {
  #list = element("log");
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** The interruption on show, of which the server may yet say more. @type {Entry | null} */
  #interruption = null;
  #moves = 0;
  #speechStartedMs = 0;
  /** When the user's turn ended that is not answered yet. @type {number | null} */
  #turnEndedMs = null;
  /** The agent's latest words. @type {Entry | null} */
  #latest = null;

  clear() {
    this.#list.replaceChildren();
    this.#entries.clear();
    this.#interruption = null;
    this.#moves = 0;
    this.#turnEndedMs = null;
    this.#latest = null;
  }

  /**
   * @param {Call} call
   * @param {ReceivedEvent} received
   */
  add(call, { receivedMs, event }) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#speechStartedMs = event.audio_start_ms ?? receivedMs;
        break;
      case "input_audio_buffer.speech_stopped": {
        const durationMs = (event.audio_end_ms ?? receivedMs) - this.#speechStartedMs;
        setText(this.#entry("user", event.item_id).head, `You spoke for ${seconds(durationMs)}`);
        this.#turnEndedMs = receivedMs;
        break;
      }
      case "conversation.item.input_audio_transcription.completed":
        setText(this.#entry("user", event.item_id).words, event.transcript || "(nothing understood)");
        break;
      case "conversation.item.input_audio_transcription.failed":
        this.note(`Your words could not be made out: ${event.error?.message ?? "no reason given"}`);
        break;
      case "response.output_item.done":
        if (event.item?.type === "mcp_call" || event.item?.type === "function_call") {
          this.#noteTool(event.item);
        }
        break;
      case "output_audio_buffer.started":
        this.#noteAnswerTime(receivedMs);
        break;
      case "response.output_audio_transcript.delta":
        this.#latest = this.#entry("agent", event.item_id);
        this.#stream(this.#latest, event.delta ?? "");
        break;
      case "response.output_audio_transcript.done":
        setText(this.#entry("agent", event.item_id).words, event.transcript ?? "");
        break;
      case "response.done":
        this.#settle();
        break;
      case "conversation.item.retrieved":
        if (event.item?.role === "assistant") {
          const heard = event.item.content?.[0]?.transcript ?? "";
          setText(this.#entry("agent", event.item.id).words, `${heard} …`.trim());
        }
        break;
      case "error":
        this.note(`The server reports: ${event.error?.message ?? "an error without a message"}`);
        break;
    }
    this.#noteInterruption(call.interruptedAfterMs);
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  /**
   * Tells, once each time, that the call goes on at another server.
   *
   * @param {Call} call
   */
  noteMove({ moves }) {
    if (moves > this.#moves) this.note("The call goes on at another server");
    this.#moves = moves;
  }

  /** @param {string} text */
  note(text) {
    setText(this.#append("note").head, text);
  }

  /**
   * A tool that the agent used, and what came of it.
   *
   * @param {Item} item
   */
  #noteTool({ name = "", arguments: given = "", output, error }) {
    const { head, words } = this.#append("tool");
    setText(head, `Used ${name}`);
    const outcome = output ?? error?.message ?? "";
    setText(words, [given === "{}" ? "" : given, outcome].filter(Boolean).join(" → "));
  }

  /** @param {number} receivedMs When the answer began to be heard. */
  #noteAnswerTime(receivedMs) {
    if (this.#turnEndedMs !== null && this.#latest !== null) {
      setText(this.#latest.head, `Agent, after ${seconds(receivedMs - this.#turnEndedMs)}`);
    }
    this.#turnEndedMs = null;
  }

  /** @param {number | null} afterMs Null when the agent is not being interrupted. */
  #noteInterruption(afterMs) {
    if (afterMs === null) {
      this.#interruption = null;
      return;
    }
    this.#interruption ??= this.#append("note");
    setText(this.#interruption.head, `You interrupted the agent after ${seconds(afterMs)}`);
  }

  /**
   * Adds to the agent's words. Until the response is done, `aria-busy` keeps screen readers from
   * reading every fragment.
   *
   * @param {Entry} entry
   * @param {string} delta
   */
  #stream({ words }, delta) {
    words.ariaBusy = "true";
    words.append(delta);
  }

  #settle() {
    for (const { words } of this.#entries.values()) words.ariaBusy = "false";
  }

  /**
   * The entry of a conversation item, old or new.
   *
   * @param {"user" | "agent"} speaker
   * @param {string} [itemId]
   * @returns {Entry}
   */
  #entry(speaker, itemId = "") {
    const key = `${speaker} ${itemId}`;
    const entry = this.#entries.get(key) ?? this.#append(speaker);
    this.#entries.set(key, entry);
    return entry;
  }

  /**
   * @param {"user" | "agent" | "note" | "tool"} speaker
   * @returns {Entry}
   */
  #append(speaker) {
    const item = document.createElement("p");
    const head = document.createElement("b");
    const words = document.createElement("span");
    item.dataset.speaker = speaker;
    head.textContent = { user: "You", agent: "Agent", note: "", tool: "" }[speaker];
    item.append(head, " ", words);
    this.#list.append(item);
    return { head, words };
  }
}

/** The loudness of one stream, now and in the frames before. */
class Loudness {
  /** From 0 to 1, the newest first. @type {number[]} */
  history = [];
  #analyser;
  #samples;

  /**
   * @param {AudioContext} context
   * @param {MediaStream} stream
   */
  constructor(context, stream) {
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    context.createMediaStreamSource(stream).connect(this.#analyser);
  }

  /** @returns {number} */
  get level() {
    return this.history[0] ?? 0;
  }

  /** @param {number} frames How much history to keep. */
  measure(frames) {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0);
    const db = 10 * Math.log10(power / this.#samples.length);
    this.history.unshift(Math.min(1, Math.max(0, 1 - db / QUIETEST_DB)));
    this.history.length = Math.min(this.history.length, frames);
  }
}

/** The moving picture: two lanes of sound along the path, and two level meters. */
class Scope {
  #lanes = element("lanes");
  #ingress = element("ingress");
  #egress = element("egress");
  #microphoneMeter = element("microphone-meter");
  #agentMeter = element("agent-meter");
  #stillness = matchMedia("(prefers-reduced-motion: reduce)");
  #context = new AudioContext();
  /** @type {Loudness | null} */
  #microphone = null;
  /** @type {Loudness | null} */
  #agent = null;
  /** What `#agent` measures. @type {MediaStream | null} */
  #agentStream = null;
  #frame = 0;
  #drawnMs = 0;
  #announcedMs = 0;

  constructor() {
    this.#frame = requestAnimationFrame((nowMs) => this.#tick(nowMs));
  }

  /**
   * Listens to the call's streams as they come.
   *
   * @param {Call} call
   */
  attach({ micStream, remoteStream }) {
    if (micStream !== null) this.#microphone ??= new Loudness(this.#context, micStream);
    if (remoteStream !== null && remoteStream !== this.#agentStream) {
      this.#agentStream = remoteStream;
      this.#agent = new Loudness(this.#context, remoteStream);
    }
  }

  /** Silences the agent's lane at once, as the server silenced the agent. */
  cut() {
    this.#agent?.history.fill(0);
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#microphone = null;
    this.#agent = null;
    this.#draw(0);
    this.#announce();
    this.#context.close();
  }

  /** @param {number} nowMs */
  #tick(nowMs) {
    this.#frame = requestAnimationFrame((laterMs) => this.#tick(laterMs));
    if (nowMs - this.#drawnMs < (this.#stillness.matches ? STILL_FRAME_MS : FRAME_MS)) return;
    this.#drawnMs = nowMs;

    const bars = Math.round(this.#lanes.clientWidth / BAR_SPACING_PX);
    this.#microphone?.measure(bars);
    this.#agent?.measure(bars);
    this.#draw(bars);
    if (nowMs - this.#announcedMs >= ARIA_INTERVAL_MS) {
      this.#announcedMs = nowMs;
      this.#announce();
    }
  }

  /** @param {number} bars */
  #draw(bars) {
    this.#ingress.setAttribute("d", lane(this.#heights(this.#microphone, bars), -1));
    this.#egress.setAttribute("d", lane(this.#heights(this.#agent, bars).reverse(), 1));
    this.#microphoneMeter.style.setProperty("--level", String(this.#microphone?.level ?? 0));
    this.#agentMeter.style.setProperty("--level", String(this.#agent?.level ?? 0));
  }

  /**
   * With reduced motion nothing travels: the whole lane shows the level of now.
   *
   * @param {Loudness | null} loudness
   * @param {number} bars
   * @returns {number[]} From the sound's source to its end.
   */
  #heights(loudness, bars) {
    return Array.from({ length: bars }, (_, age) =>
      this.#stillness.matches ? (loudness?.level ?? 0) : (loudness?.history[age] ?? 0),
    );
  }

  #announce() {
    this.#microphoneMeter.ariaValueNow = percent(this.#microphone?.level ?? 0);
    this.#agentMeter.ariaValueNow = percent(this.#agent?.level ?? 0);
  }
}

/**
 * The SVG path of one lane: a bar for each height, from left to right.
 *
 * @param {number[]} heights From 0 to 1.
 * @param {1 | -1} side Below or above the line.
 * @returns {string}
 */
function lane(heights, side) {
  const step = 1000 / heights.length;
  return heights
    .map((height, index) => {
      const length = side * 38 * height ** 2;
      return Math.abs(length) < 1 ? "" : `M${(index + 0.5) * step} ${side * 9}v${length}`;
    })
    .join("");
}

/** The numbers of the network, each with the last minute as a line. */
class NetworkView {
  /** @type {Map<"rttMs" | "jitterMs" | "lossPercent", number[]>} */
  #series = new Map([
    ["rttMs", []],
    ["jitterMs", []],
    ["lossPercent", []],
  ]);

  /** @param {NetworkSample} sample */
  add(sample) {
    for (const [metric, values] of this.#series) {
      const value = sample[metric];
      values.push(value ?? 0);
      if (values.length > SPARKLINE_POINTS) values.shift();
      const row = `#network [data-metric="${metric}"]`;
      select(`${row} .value`).textContent = quantity(value, metric === "lossPercent" ? "%" : "ms");
      select(`${row} polyline`).setAttribute("points", sparkline(values));
    }
    element("remote").textContent = sample.remote ?? "not shown by this browser";
  }

  clear() {
    for (const values of this.#series.values()) values.length = 0;
    for (const value of document.querySelectorAll("#network .value")) value.textContent = "–";
    for (const line of document.querySelectorAll("#network polyline")) {
      line.setAttribute("points", "");
    }
    element("remote").textContent = "–";
  }
}

/**
 * @param {number[]} values The newest last; it is drawn at the right edge.
 * @returns {string} Points within 59 by 20 units.
 */
function sparkline(values) {
  const highest = Math.max(1, ...values);
  const left = SPARKLINE_POINTS - values.length;
  return values.map((value, index) => `${left + index},${19 - (18 * value) / highest}`).join(" ");
}

/** Builds the set-up table once; `showSetup` fills it. */
function buildSetup() {
  for (const { stage, title, meaning } of STAGES) {
    const row = document.createElement("tr");
    row.dataset.stage = stage;
    row.innerHTML = `<th scope="row">${title}</th>
      <td><span class="bar"></span><span class="meaning">${meaning}</span></td>
      <td>–</td>`;
    element("stages").append(row);
  }
}

/**
 * Draws the waterfall to the scale of the slowest set-up stage. First audio may be long in coming;
 * its bar then runs out of the picture.
 *
 * @param {Call} call
 */
function showSetup({ stages, timings }) {
  const { firstAudio, ...setup } = stages;
  const scaleMs = Math.max(1, ...Object.values(setup).map(({ endMs }) => endMs)) * 1.25;
  for (const { stage } of STAGES) {
    const span = stages[stage];
    const row = select(`#stages [data-stage="${stage}"]`);
    row.classList.toggle("done", span !== undefined);
    row.classList.toggle("beyond", span !== undefined && span.endMs > scaleMs);
    const bar = select(`#stages [data-stage="${stage}"] .bar`);
    bar.style.setProperty("--start", String((span?.startMs ?? 0) / scaleMs));
    bar.style.setProperty("--end", String(Math.min(1, (span?.endMs ?? 0) / scaleMs)));
    const took = select(`#stages [data-stage="${stage}"] td:last-child`);
    took.textContent = quantity(timings[`${stage}Ms`] ?? null, "ms");
  }
  element("total").textContent = quantity(timings.totalMs ?? null, "ms");
}

/**
 * How far the voice has come: each station with the moment at which it was reached.
 *
 * @param {Call} call
 * @returns {Record<string, string | null>} Null for a station that is not reached.
 */
function stationsReached({ micStream, stages, sessionOpen, state, isOver }) {
  const microphone = micStream !== null && state !== "ended";
  const path = microphone && !isOver && state !== "reconnecting";
  return {
    browser: microphone ? `mic ${isOver ? "off" : "on"}` : null,
    relay: path && stages.ice ? `+${quantity(stages.ice.endMs, "ms")}` : null,
    transceiver: path && stages.dtls ? `+${quantity(stages.dtls.endMs, "ms")}` : null,
    agent: path && sessionOpen ? "ready" : null,
  };
}

/**
 * What to say of a station that is not reached.
 *
 * @param {string} station
 * @param {Call} call
 */
function absence(station, { state, stages }) {
  if (station === "browser") return "mic off";
  if (state === "ended") return "closed";
  if (state !== "failed" && state !== "reconnecting") return "not yet";
  return stages.dataChannel ? "lost" : "not reached";
}

/** @param {Call} call */
function showPath(call) {
  for (const [station, moment] of Object.entries(stationsReached(call))) {
    select(`#path [data-station="${station}"]`).classList.toggle("reached", moment !== null);
    setText(select(`#path [data-station="${station}"] span`), moment ?? absence(station, call));
  }
}

/** @param {Call} call */
function showState(call) {
  const { title, detail } = STATES[call.state];
  const { dataset } = document.documentElement;
  if (dataset.state !== call.state) dataset.state = call.state;
  document.title = `${title} · firsthop`;
  setText(element("state"), title);
  setText(element("detail"), detail(call));
  element("glyph").setAttribute("href", `#glyph-${call.state}`);
  setText(element("toggle"), call.isOver ? "Start talking" : "Hang up");
  setText(element("hint"), call.isOver ? "" : "or press Esc");
}

/** @returns {HTMLInputElement} */
function credential() {
  return /** @type {HTMLInputElement} */ (element("credential"));
}

/** The server has API keys: this page has none of its own, so its user has to give one. */
function askForCredential() {
  element("access").hidden = false;
  credential().focus();
}

/** The call on show, with what the page keeps for it. */
class CallView {
  #scope = new Scope();
  #conversation;
  #network;
  #networkTimer;
  #unmuteTimer = 0;
  /** @type {CallState} */
  #shown = "idle";

  /**
   * @param {Conversation} conversation
   * @param {NetworkView} network
   */
  constructor(conversation, network) {
    this.#conversation = conversation;
    this.#network = network;
    this.call = new Call({
      credential: credential().value.trim(),
      onChange: (call) => this.#show(call),
      onEvent: (call, received) => {
        this.#cutShort(received.event.type);
        conversation.add(call, received);
      },
    });
    this.#networkTimer = setInterval(() => this.#sampleNetwork(), NETWORK_INTERVAL_MS);
  }

  /** @param {Call} call */
  #show(call) {
    showState(call);
    showPath(call);
    showSetup(call);
    this.#play(call.remoteStream);
    if (!call.isOver) this.#scope.attach(call);
    this.#conversation.noteMove(call);
    if (call.state === this.#shown) return;
    this.#shown = call.state;
    if (call.state === "interrupted") this.#scope.cut();
    if (call.isOver) this.#close(call);
    if (call.isOver && call.isUnauthorized) askForCredential();
  }

  /**
   * When the agent is interrupted the browser still holds some of its speech, 40 to 80 ms, and
   * would play it. Muting drops it; unmuting never depends on another event.
   *
   * @param {string} eventType
   */
  #cutShort(eventType) {
    const cleared = eventType === "output_audio_buffer.cleared";
    if (!cleared && eventType !== "output_audio_buffer.started") return;
    const audio = /** @type {HTMLAudioElement} */ (element("audio"));
    clearTimeout(this.#unmuteTimer);
    audio.muted = cleared;
    if (cleared) this.#unmuteTimer = setTimeout(() => (audio.muted = false), BUFFERED_SPEECH_MS);
  }

  /** @param {MediaStream | null} remoteStream */
  #play(remoteStream) {
    const audio = /** @type {HTMLAudioElement} */ (element("audio"));
    if (audio.srcObject !== remoteStream) audio.srcObject = remoteStream;
  }

  async #sampleNetwork() {
    const sample = await this.call.sampleNetwork();
    if (sample !== null && !this.call.isOver) this.#network.add(sample);
  }

  /** @param {Call} call */
  #close(call) {
    clearInterval(this.#networkTimer);
    this.#scope.close();
    this.#play(null);
    if (call.stages.dataChannel) this.#conversation.note(call.outcome?.reason ?? "");
  }
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function element(id) {
  return select(`#${id}`);
}

/**
 * @param {string} selector Must match: the page and this script belong together.
 * @returns {HTMLElement}
 */
function select(selector) {
  const found = /** @type {HTMLElement | null} */ (document.querySelector(selector));
  if (found === null) throw new Error(`index.html has no ${selector}`);
  return found;
}

/**
 * Leaves an unchanged text alone, so that a live region does not announce it again.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * @param {number} durationMs
 * @param {number} [digits]
 */
function seconds(durationMs, digits = 1) {
  return `${(durationMs / 1000).toFixed(digits)} s`;
}

/**
 * @param {number | null} value
 * @param {"ms" | "%"} unit
 */
function quantity(value, unit) {
  return value === null ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}

/** @param {number} share From 0 to 1. */
function percent(share) {
  return String(Math.round(100 * share));
}

const conversation = new Conversation();
const network = new NetworkView();
/** @type {Call | null} */
let current = null;

function startCall() {
  conversation.clear();
  network.clear();
  const { call } = new CallView(conversation, network);
  current = call;
  expose(call);
  call.start();
}

function hangUp() {
  current?.hangUp();
}

/** @param {Call | null} call */
function expose(call) {
  const hooks = { call, timings: call?.timings ?? {}, events: call?.events ?? [] };
  Object.assign(window, { firsthop: hooks });
}

buildSetup();
expose(null);
credential().addEventListener("keydown", ({ key }) => {
  if (key === "Enter" && (current === null || current.isOver)) startCall();
});
element("toggle").addEventListener("click", () => {
  if (current === null || current.isOver) startCall();
  else hangUp();
});
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") hangUp();
});
window.addEventListener("pagehide", hangUp);
