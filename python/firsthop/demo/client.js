/**
 * One voice call to a firsthop edge: microphone, signaling, data channel, clock and statistics.
 *
 * Knows nothing of the page. A `Call` is used once: `start()` it, watch `onChange` and `onEvent`,
 * `hangUp()`. Its state has two layers, and `state` shows the outer one that applies:
 *
 *     phase   idle -> connecting -> live <-> reconnecting -> ended | failed
 *     turn    while live: listening, user-speaking, thinking, agent-speaking, interrupted
 *
 * The phase follows the peer connection; the turn is a fold over the server's events (`nextTurn`).
 *
 * A server that is about to end asks for the call to go on at another one, with the event
 * `firsthop.handover`. The call is then placed once more beside the old connection, which is left
 * when the new one is up and the agent has finished what it was saying.
 */

const CALLS_URL = "/v1/realtime/calls";
const DATA_CHANNEL_LABEL = "oai-events";

const CONNECT_TIMEOUT_MS = 15_000;
const RECONNECT_TIMEOUT_MS = 5_000;
const INTERRUPTION_SHOWN_MS = 1_800;
const MOVE_AGAIN_MS = 1_000;
const FIRST_AUDIO_POLL_MS = 10;
const MAX_EVENTS = 500;

/**
 * @typedef {"idle" | "connecting" | "live" | "reconnecting" | "ended" | "failed"} Phase
 * @typedef {"listening" | "user-speaking" | "thinking" | "agent-speaking"} TurnState
 * @typedef {Exclude<Phase, "live"> | TurnState | "interrupted"} CallState
 */

/**
 * An item of the conversation: a message, or a tool that was used.
 *
 * @typedef {object} Item
 * @property {string} [id]
 * @property {string} [type]
 * @property {string} [role]
 * @property {{ transcript?: string }[]} [content]
 * @property {string} [name]
 * @property {string} [arguments]
 * @property {string | null} [output]
 * @property {{ message?: string } | null} [error]
 */

/**
 * A message from the data channel. Only the fields that this page reads are named.
 *
 * @typedef {object} ServerEvent
 * @property {string} type
 * @property {string} [item_id]
 * @property {string} [delta]
 * @property {string} [transcript]
 * @property {number} [audio_start_ms]
 * @property {number} [audio_end_ms]
 * @property {{ id?: string, output?: { type?: string }[] }} [response]
 * @property {Item} [item]
 * @property {{ message?: string }} [error]
 * @property {{ value?: string }} [client_secret]
 * @property {number} [seconds]
 */

/**
 * A connection to the server: the one that the call has, or the one that it moves to.
 *
 * @typedef {object} Link
 * @property {RTCPeerConnection} pc
 * @property {RTCDataChannel} channel
 * @property {string | null} callUrl What the server calls the call.
 * @property {MediaStream | null} remoteStream The agent's voice, once it is there.
 */

/**
 * @typedef {object} ReceivedEvent
 * @property {number} receivedMs On the page's clock, `performance.now()`.
 * @property {ServerEvent} event
 */

/**
 * The stages of call set-up, in order.
 *
 * @typedef {"signaling" | "ice" | "dtls" | "dataChannel" | "firstAudio"} Stage
 */

/**
 * When a stage began and ended, in milliseconds since the offer was posted.
 *
 * @typedef {{ startMs: number, endMs: number }} Span
 */

/**
 * How long each stage took. `totalMs` runs from posting the offer to the open data channel.
 *
 * @typedef {Partial<Record<`${Stage | "total"}Ms`, number>>} Timings
 */

/**
 * Why a call is over, and what the caller can do about it.
 *
 * @typedef {{ reason: string, wayOut: string }} Outcome
 */

/**
 * One reading of the network. A value that the browser does not give (yet) is null.
 *
 * @typedef {object} NetworkSample
 * @property {number | null} rttMs Of the latest STUN check on the selected candidate pair.
 * @property {number | null} jitterMs Of the agent's audio, RFC 3550 section 6.4.1.
 * @property {number | null} lossPercent Of the agent's packets since the previous sample.
 * @property {string | null} remote Remote candidate, as `ip:port/protocol`.
 * @property {number} received Packets so far.
 * @property {number} lost Packets so far.
 */

/** The stage whose end is the beginning of this one. Signaling begins with the POST itself. */
const PRECEDING_STAGE = Object.freeze({
  ice: "signaling",
  dtls: "ice",
  dataChannel: "dtls",
  firstAudio: "dtls",
});

/**
 * Who has the floor, as far as the server's events tell.
 *
 * @typedef {object} Turn
 * @property {boolean} userSpeaking
 * @property {boolean} agentSpeaking
 * @property {boolean} responsePending A response was promised and is not yet heard.
 * @property {string | null} responseId The newest response, null once the user speaks over it.
 */

/** @type {Readonly<Turn>} */
export const FIRST_TURN = Object.freeze({
  userSpeaking: false,
  agentSpeaking: false,
  responsePending: false,
  responseId: null,
});

/** @typedef {(turn: Turn, event: ServerEvent) => Partial<Turn>} TurnChange */

/** What each type of event does to the turn. */
const TURN_CHANGES = new Map(
  /** @type {[string, TurnChange][]} */ ([
    ["input_audio_buffer.speech_started", userStartsSpeaking],
    ["input_audio_buffer.speech_stopped", () => ({ userSpeaking: false, responsePending: true })],
    ["response.created", responseBegins],
    ["output_audio_buffer.started", () => ({ agentSpeaking: true, responsePending: false })],
    ["output_audio_buffer.stopped", () => ({ agentSpeaking: false })],
    ["output_audio_buffer.cleared", () => ({ agentSpeaking: false })],
    ["conversation.item.truncated", () => ({ agentSpeaking: false })],
    ["response.done", responseEnds],
  ]),
);

/**
 * The turn after `event`. Events that do not concern the turn leave it as it is.
 *
 * @param {Turn} turn
 * @param {ServerEvent} event
 * @returns {Turn}
 */
export function nextTurn(turn, event) {
  return { ...turn, ...TURN_CHANGES.get(event.type)?.(turn, event) };
}

/**
 * The state that a turn is shown as; the user's voice outranks the agent's.
 *
 * @param {Turn} turn
 * @returns {TurnState}
 */
export function turnState(turn) {
  if (turn.userSpeaking) return "user-speaking";
  if (turn.agentSpeaking) return "agent-speaking";
  if (turn.responsePending) return "thinking";
  return "listening";
}

/** @returns {Partial<Turn>} */
function userStartsSpeaking() {
  return { userSpeaking: true, responsePending: false, responseId: null };
}

/**
 * @param {Turn} _turn
 * @param {ServerEvent} event
 * @returns {Partial<Turn>}
 */
function responseBegins(_turn, event) {
  return { responsePending: true, responseId: event.response?.id ?? null };
}

/**
 * What the agent says is done when it is made, and heard later. A late `response.done` of an
 * interrupted response must not end the wait for the next one.
 *
 * @param {Turn} turn
 * @param {ServerEvent} event
 * @returns {Partial<Turn>}
 */
function responseEnds(turn, event) {
  const isSpoken = event.response?.output?.some(({ type }) => type === "message") ?? false;
  const isOver = turn.agentSpeaking || !isSpoken;
  const isNewest = turn.responseId === (event.response?.id ?? null);
  return isNewest && isOver ? { responsePending: false } : {};
}

/** The call cannot go on; says why, and what to do. */
export class CallFailure extends Error {
  /**
   * @param {string} reason
   * @param {string} wayOut
   */
  constructor(reason, wayOut) {
    super(reason);
    this.name = "CallFailure";
    this.wayOut = wayOut;
    /** The HTTP status of a refusal, 0 if it is none. */
    this.status = 0;
  }
}

/** One call, from the click to the hang-up. */
export class Call {
  /** @type {MediaStream | null} */
  micStream = null;
  /** How often it has gone on at another server. */
  moves = 0;
  /** The server has opened its session with the agent. */
  sessionOpen = false;
  /** The newest events from the server, at most 500. @type {ReceivedEvent[]} */
  events = [];
  /** @type {Partial<Record<Stage, Span>>} */
  stages = {};
  /** @type {Timings} */
  timings = {};
  /** Set once the call is over. @type {Outcome | null} */
  outcome = null;
  /** How much of its answer the agent had said; set while `interrupted`. @type {number | null} */
  interruptedAfterMs = null;

  /** @type {Phase} */
  #phase = "idle";
  /** @type {Turn} */
  #turn = FIRST_TURN;
  /** @type {Link | null} */
  #link = null;
  /** The connection to go on with, as long as there are two. @type {Link | null} */
  #next = null;
  #moving = false;
  /** @type {NetworkSample | null} */
  #lastSample = null;
  #postedMs = 0;
  #agentStartedMs = 0;
  #abort = new AbortController();
  #connectTimer = 0;
  #reconnectTimer = 0;
  #interruptionTimer = 0;
  #firstAudioTimer = 0;
  #onChange;
  #onEvent;
  #credential;
  #unauthorized = false;

  /**
   * @param {object} watchers
   * @param {(call: Call) => void} watchers.onChange After any change that a page may want to show.
   * @param {(call: Call, received: ReceivedEvent) => void} watchers.onEvent After each server event
   *   has been applied.
   * @param {string} [watchers.credential] An API key or a client secret, where the server wants one.
   */
  constructor({ onChange, onEvent, credential = "" }) {
    this.#onChange = onChange;
    this.#onEvent = onEvent;
    this.#credential = credential;
  }

  /** @returns {RTCPeerConnection | null} */
  get pc() {
    return this.#link?.pc ?? null;
  }

  /** The agent's voice. @returns {MediaStream | null} */
  get remoteStream() {
    return this.#link?.remoteStream ?? null;
  }

  /** True when the server wants to know who calls, and was not told or not convinced. */
  get isUnauthorized() {
    return this.#unauthorized;
  }

  /** @returns {CallState} */
  get state() {
    if (this.#phase !== "live") return this.#phase;
    return this.interruptedAfterMs === null ? turnState(this.#turn) : "interrupted";
  }

  /** @returns {boolean} */
  get isOver() {
    return this.#phase === "ended" || this.#phase === "failed";
  }

  /**
   * Opens the microphone and connects. Does not throw: a failure becomes the state `failed`, its
   * reason `outcome`. Settles when the answer is applied; the rest arrives through `onChange`.
   */
  async start() {
    this.#enter("connecting");
    try {
      this.micStream = await openMicrophone();
      this.#abort.signal.throwIfAborted();
      this.#onChange(this);
      await this.#connect(this.micStream);
    } catch (error) {
      const failure = asFailure(error);
      this.#unauthorized = failure.status === 401;
      this.#fail(failure);
      this.#release();
    }
  }

  /** Ends the call, here and at the server. Safe at any time, also while the page unloads. */
  hangUp() {
    this.#end("ended", { reason: "You hung up.", wayOut: "Start again whenever you like." });
  }

  /**
   * Reads the network statistics; call it at a steady pace, as the loss covers one interval.
   *
   * @returns {Promise<NetworkSample | null>} Null when there is no peer connection.
   */
  async sampleNetwork() {
    if (this.pc === null || this.isOver) return null;
    this.#lastSample = readNetwork(await this.pc.getStats(), this.#lastSample);
    return this.#lastSample;
  }

  /** @param {MediaStream} micStream */
  async #connect(micStream) {
    const link = makeLink(micStream);
    this.#link = link;
    for (const track of micStream.getAudioTracks()) {
      track.addEventListener("ended", () => this.#fail(MICROPHONE_LOST));
    }
    this.#watchLink(link);
    this.#watchSetup(link);

    await link.pc.setLocalDescription();
    this.#abort.signal.throwIfAborted();
    this.#postedMs = performance.now();
    this.#connectTimer = setTimeout(() => this.#fail(this.#connectTimeout()), CONNECT_TIMEOUT_MS);
    const answer = await placeCall(link, this.#authorization(), this.#abort.signal);
    this.#mark("signaling");
    this.#abort.signal.throwIfAborted();
    await link.pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.#watchDtls(link, () => this.#mark("dtls"));
  }

  /**
   * What concerns the connection that the call has; of another one it is no matter.
   *
   * @param {Link} link
   */
  #watchLink(link) {
    const { pc, channel } = link;
    pc.addEventListener("track", ({ streams, track }) => {
      link.remoteStream = streams[0] ?? new MediaStream([track]);
      this.#onChange(this);
    });
    pc.addEventListener("connectionstatechange", () => {
      if (link !== this.#link) return;
      if (pc.connectionState === "connected") this.#onConnectionBack();
      if (pc.connectionState === "disconnected") this.#onConnectionShaky();
      if (pc.connectionState === "failed") this.#fail(connectionFailed(this.#phase));
    });
    channel.addEventListener("message", ({ data }) => {
      const event = parseEvent(data);
      if (event !== null) this.#onServerEvent(link, event);
    });
    channel.addEventListener("close", () => this.#onServerHangUp(link));
  }

  /**
   * Notes how the call is set up, and when it is.
   *
   * @param {Link} link
   */
  #watchSetup({ pc, channel }) {
    pc.addEventListener("track", ({ receiver }) => {
      this.#firstAudioTimer = setInterval(
        () => this.#checkFirstAudio(receiver),
        FIRST_AUDIO_POLL_MS,
      );
    });
    pc.addEventListener("iceconnectionstatechange", () => {
      if (["connected", "completed"].includes(pc.iceConnectionState)) this.#mark("ice");
    });
    channel.addEventListener("open", () => {
      clearTimeout(this.#connectTimer);
      this.#mark("dataChannel");
      this.#enter("live");
    });
  }

  /**
   * @param {Link} link
   * @param {() => void} onConnected
   */
  #watchDtls(link, onConnected) {
    const transport = link.pc.getSenders()[0]?.transport;
    const check = () => {
      if (transport?.state === "connected") onConnected();
      if (transport?.state === "closed") this.#onServerHangUp(link);
    };
    transport?.addEventListener("statechange", check);
    check();
  }

  /**
   * Goes on at another server, as this one asks; the microphone is heard by both meanwhile. Where
   * there is no room it is tried again as long as the call lasts.
   *
   * @param {ServerEvent} event
   */
  async #moveOn({ client_secret: secret, seconds: lastsS = 0 }) {
    if (this.#moving || this.micStream === null || !secret?.value) return;
    this.#moving = true;
    const untilMs = performance.now() + lastsS * 1000;
    while (!this.isOver && performance.now() < untilMs) {
      const link = makeLink(this.micStream);
      try {
        await this.#join(link, { Authorization: `Bearer ${secret.value}` });
        break;
      } catch {
        link.pc.close();
        await new Promise((resolve) => setTimeout(resolve, MOVE_AGAIN_MS));
      }
    }
    this.#moving = false;
  }

  /**
   * Opens a connection to go on with.
   *
   * @param {Link} link
   * @param {Record<string, string>} authorization
   */
  async #join(link, authorization) {
    this.#watchLink(link);
    const isOpen = new Promise((resolve, reject) => {
      link.channel.addEventListener("open", resolve);
      link.channel.addEventListener("close", reject);
      setTimeout(reject, CONNECT_TIMEOUT_MS);
    });
    isOpen.catch(() => {}); // It may fail before it is waited for.
    await link.pc.setLocalDescription();
    const answer = await placeCall(link, authorization, this.#abort.signal);
    await link.pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.#watchDtls(link, () => {});
    await isOpen;
    this.#abort.signal.throwIfAborted();
    this.#next = link;
    // What the agent says is heard to its end.
    if (!this.#turn.agentSpeaking) this.#switchOver();
  }

  #switchOver() {
    const before = this.#link;
    this.#link = this.#next;
    this.#next = null;
    this.#lastSample = null;
    this.#turn = FIRST_TURN;
    this.moves += 1;
    clearTimeout(this.#reconnectTimer);
    clearInterval(this.#firstAudioTimer);
    before?.pc.close();
    this.#enter("live");
  }

  /** @param {RTCRtpReceiver} receiver */
  #checkFirstAudio(receiver) {
    if (receiver.getSynchronizationSources().length === 0) return;
    clearInterval(this.#firstAudioTimer);
    this.#mark("firstAudio");
  }

  #onConnectionShaky() {
    if (this.#phase !== "live") return;
    this.#reconnectTimer = setTimeout(() => this.#fail(CONNECTION_LOST), RECONNECT_TIMEOUT_MS);
    this.#enter("reconnecting");
  }

  #onConnectionBack() {
    if (this.#phase !== "reconnecting") return;
    clearTimeout(this.#reconnectTimer);
    this.#enter("live");
  }

  /** @param {Link} link */
  #onServerHangUp(link) {
    link.callUrl = null; // The server has forgotten the call: nothing is left to hang up there.
    if (link !== this.#link || this.isOver) return;
    if (this.#next !== null) {
      this.#switchOver();
      return;
    }
    if (this.#moving) {
      this.#reconnectTimer = setTimeout(() => this.#fail(CONNECTION_LOST), RECONNECT_TIMEOUT_MS);
      this.#enter("reconnecting");
      return;
    }
    this.#end("ended", { reason: "The server hung up.", wayOut: "Start again whenever you like." });
  }

  /**
   * @param {Link} link
   * @param {ServerEvent} event
   */
  #onServerEvent(link, event) {
    if (link !== this.#link && event.type !== "session.created") {
      // Of the call before, it is past; of the next one, the conversation goes on there.
      if (link !== this.#next) return;
      this.#switchOver();
    }
    const received = { receivedMs: performance.now(), event };
    this.events.push(received);
    if (this.events.length > MAX_EVENTS) this.events.shift();

    if (event.type === "session.created") this.sessionOpen = true;
    if (event.type === "conversation.item.truncated") {
      // The server knows which words were heard.
      this.#send({ type: "conversation.item.retrieve", item_id: event.item_id });
    }
    this.#noteInterruption(received);
    this.#turn = nextTurn(this.#turn, event);
    this.#onEvent(this, received);
    if (event.type === "firsthop.handover") this.#moveOn(event);
    if (this.#next !== null && !this.#turn.agentSpeaking) this.#switchOver();
    this.#onChange(this);
  }

  /**
   * The server cuts the agent off with `cleared`, and says with `truncated` how much was heard, in
   * either order. Until `truncated` comes, the page's own clock has to do.
   *
   * @param {ReceivedEvent} received
   */
  #noteInterruption({ receivedMs, event }) {
    const wasSpeaking = this.#turn.agentSpeaking;
    switch (event.type) {
      case "output_audio_buffer.started":
        this.#agentStartedMs = receivedMs;
        this.#endInterruption();
        break;
      case "output_audio_buffer.cleared":
        if (wasSpeaking) this.#showInterruption(receivedMs - this.#agentStartedMs);
        break;
      case "conversation.item.truncated":
        if (wasSpeaking || this.interruptedAfterMs !== null) {
          this.#showInterruption(event.audio_end_ms ?? receivedMs - this.#agentStartedMs);
        }
        break;
    }
  }

  /** @param {number} afterMs */
  #showInterruption(afterMs) {
    this.#endInterruption();
    this.interruptedAfterMs = afterMs;
    this.#interruptionTimer = setTimeout(() => {
      this.#endInterruption();
      this.#onChange(this);
    }, INTERRUPTION_SHOWN_MS);
  }

  #endInterruption() {
    clearTimeout(this.#interruptionTimer);
    this.interruptedAfterMs = null;
  }

  /** @param {object} event */
  #send(event) {
    const channel = this.#link?.channel;
    if (channel?.readyState === "open") channel.send(JSON.stringify(event));
  }

  /** @returns {CallFailure} */
  #connectTimeout() {
    return this.stages.signaling === undefined ? NO_ANSWER : connectionFailed(this.#phase);
  }

  /** @param {Phase} phase */
  #enter(phase) {
    if (this.isOver) return;
    this.#phase = phase;
    this.#onChange(this);
  }

  /** @param {CallFailure} failure */
  #fail(failure) {
    this.#end("failed", { reason: failure.message, wayOut: failure.wayOut });
  }

  /**
   * The one way out; only the first reason counts.
   *
   * @param {"ended" | "failed"} phase
   * @param {Outcome} outcome
   */
  #end(phase, outcome) {
    if (this.isOver) return;
    this.outcome = outcome;
    this.#abort.abort();
    this.#release();
    this.#enter(phase);
  }

  async #hangUpAtServer() {
    if (this.#link === null || this.#link.callUrl === null) return;
    const url = `${this.#link.callUrl}/hangup`;
    this.#link.callUrl = null;
    const signal = AbortSignal.timeout(1000);
    // Best effort: if the request is lost, the server ends the call when consent expires.
    const headers = this.#authorization();
    await fetch(url, { method: "POST", keepalive: true, headers, signal }).catch(() => {});
  }

  /** @returns {Record<string, string>} */
  #authorization() {
    return this.#credential ? { Authorization: `Bearer ${this.#credential}` } : {};
  }

  /** Lets go of everything; may be called again for what came in the meantime. */
  #release() {
    // Closing at once would outrun the request, and the server would not know the call any more.
    this.#hangUpAtServer().finally(() => this.pc?.close());
    this.#next?.pc.close();
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#interruptionTimer);
    clearInterval(this.#firstAudioTimer);
    for (const track of this.micStream?.getTracks() ?? []) track.stop();
  }

  /**
   * Notes the end of a stage, the first time that it is reached.
   *
   * @param {Stage} stage
   */
  #mark(stage) {
    if (this.stages[stage] !== undefined) return;
    const endMs = performance.now() - this.#postedMs;
    const startMs =
      stage === "signaling" ? 0 : (this.stages[PRECEDING_STAGE[stage]]?.endMs ?? endMs);
    this.stages[stage] = { startMs, endMs };
    this.timings[`${stage}Ms`] = endMs - startMs;
    if (stage === "dataChannel") this.timings.totalMs = endMs;
    this.#onChange(this);
  }
}

/**
 * A connection that nothing was offered of yet.
 *
 * @param {MediaStream} micStream
 * @returns {Link}
 */
function makeLink(micStream) {
  const pc = new RTCPeerConnection();
  for (const track of micStream.getAudioTracks()) pc.addTrack(track, micStream);
  const channel = pc.createDataChannel(DATA_CHANNEL_LABEL);
  return { pc, channel, callUrl: null, remoteStream: null };
}

/**
 * Sends the offer at once, without candidates: the server learns the address from the first
 * binding request.
 *
 * @param {Link} link Has its local description.
 * @param {Record<string, string>} authorization
 * @param {AbortSignal} signal
 * @returns {Promise<string>} The answer's SDP.
 */
async function placeCall(link, authorization, signal) {
  const response = await fetch(CALLS_URL, {
    method: "POST",
    headers: { "Content-Type": "application/sdp", ...authorization },
    body: link.pc.localDescription?.sdp ?? "",
    signal,
  }).catch((error) => {
    throw error instanceof TypeError ? UNREACHABLE : error;
  });
  if (!response.ok) throw await refusal(response);
  link.callUrl = response.headers.get("Location");
  return await response.text();
}

const NO_ANSWER = new CallFailure(
  "The server did not answer.",
  "See whether it is running, then start again.",
);

const UNREACHABLE = new CallFailure(
  "The server cannot be reached.",
  "See whether it is running, then start again.",
);

const CONNECTION_LOST = new CallFailure(
  "The connection was lost.",
  "Check your network, then start again.",
);

const MICROPHONE_LOST = new CallFailure(
  "The microphone went away.",
  "Plug it in again, or choose another one, then start again.",
);

/**
 * @param {Phase} phase
 * @returns {CallFailure}
 */
function connectionFailed(phase) {
  if (phase !== "connecting") return CONNECTION_LOST;
  return new CallFailure(
    "The server answered, but no media path opened.",
    "A firewall may block the relay’s port. Try another network, then start again.",
  );
}

/** @type {Record<string, CallFailure>} */
const MICROPHONE_FAILURES = {
  NotAllowedError: new CallFailure(
    "The microphone is blocked.",
    "Allow it in the browser’s site settings, then start again.",
  ),
  NotFoundError: new CallFailure(
    "There is no microphone.",
    "Plug one in or switch it on, then start again.",
  ),
  NotReadableError: new CallFailure(
    "Another program is using the microphone.",
    "Close that program, then start again.",
  ),
};

/** @returns {Promise<MediaStream>} */
async function openMicrophone() {
  if (navigator.mediaDevices === undefined) {
    throw new CallFailure(
      "The browser offers no microphone on this address.",
      "Open the page over https:// or on localhost.",
    );
  }
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    throw MICROPHONE_FAILURES[name] ?? error;
  }
}

/**
 * Turns a 4xx or 5xx into a failure that repeats the server's own words.
 *
 * @param {Response} response
 * @returns {Promise<CallFailure>}
 */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const message = (body?.error?.message ?? response.statusText).replace(/[.\s]+$/, "");
  const waitS = retryAfterS(response.headers.get("Retry-After"));
  let wayOut = waitS === null ? "Start again to retry." : `Wait ${waitS} s, then start again.`;
  if (response.status === 401) wayOut = "Give one, then start again.";
  const failure = new CallFailure(
    `The server refused the call (${response.status})${message ? `: ${message}` : ""}.`,
    wayOut,
  );
  failure.status = response.status;
  return failure;
}

/**
 * Seconds to wait, from either form of Retry-After (RFC 9110 section 10.2.3).
 *
 * @param {string | null} header
 * @returns {number | null}
 */
function retryAfterS(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}

/**
 * @param {unknown} error
 * @returns {CallFailure}
 */
function asFailure(error) {
  if (error instanceof CallFailure) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new CallFailure(`The call could not start (${message}).`, "Start again to retry.");
}

/**
 * @param {unknown} data
 * @returns {ServerEvent | null} Null for anything but a JSON object with a type.
 */
function parseEvent(data) {
  try {
    const event = JSON.parse(String(data));
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}

/**
 * @param {RTCStatsReport} report
 * @param {NetworkSample | null} previous
 * @returns {NetworkSample}
 */
function readNetwork(report, previous) {
  const stats = [...report.values()];
  const pair = selectedPair(stats);
  const remote = report.get(pair?.remoteCandidateId ?? "");
  const inbound = stats.find((entry) => entry.type === "inbound-rtp" && entry.kind === "audio");
  const received = inbound?.packetsReceived ?? 0;
  const lost = inbound?.packetsLost ?? 0;
  return {
    rttMs: toMs(pair?.currentRoundTripTime),
    jitterMs: toMs(inbound?.jitter),
    lossPercent: lossPercent(received - (previous?.received ?? 0), lost - (previous?.lost ?? 0)),
    remote: remote?.address ? formatCandidate(remote) : null,
    received,
    lost,
  };
}

/**
 * @param {any[]} stats
 * @returns {RTCIceCandidatePairStats & { currentRoundTripTime?: number } | undefined}
 */
function selectedPair(stats) {
  const selectedId = stats.find((entry) => entry.type === "transport")?.selectedCandidatePairId;
  return stats.find(
    (entry) => entry.type === "candidate-pair" && (entry.id === selectedId || entry.selected),
  );
}

/** @param {{ address: string, port: number, protocol: string }} candidate */
function formatCandidate({ address, port, protocol }) {
  const host = address.includes(":") ? `[${address}]` : address;
  return `${host}:${port}/${protocol}`;
}

/**
 * @param {number | undefined} seconds
 * @returns {number | null}
 */
function toMs(seconds) {
  return seconds === undefined ? null : seconds * 1000;
}

/**
 * @param {number} received Packets in the interval.
 * @param {number} lost Packets in the interval; below zero when late ones arrived after all.
 * @returns {number | null} Null when the agent sent nothing.
 */
function lossPercent(received, lost) {
  const expected = received + lost;
  return expected <= 0 ? null : Math.max(0, (100 * lost) / expected);
}
