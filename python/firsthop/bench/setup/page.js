/**
 * Places calls and notes when each stage of one was reached.
 *
 * Where everything between the client and the server has to go through proxies, the offer and the
 * answer name them in the place of the two.
 */

const CANDIDATE = /^a=(candidate|end-of-candidates).*\r\n/gm;
/** IPv4, and UDP: no mDNS names, for the page may use the microphone. */
const HOST = /^a=candidate:\S+ 1 udp \d+ ([\d.]+) (\d+) typ host/gm;
const STAGES = ["answer", "ice", "connected", "channel", "audio"];
const PATIENCE_MS = 20_000;

let microphone;
let current;
const kept = [];

/** Asks for the microphone, once. */
export async function prepare() {
  microphone = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
}

/**
 * Makes an offer.
 *
 * @param {{ configuration: RTCConfiguration, waits: boolean }} how How the page connects, and
 *   whether it waits until all candidates are gathered.
 * @returns {Promise<string[]>} The addresses and ports at which the page takes UDP.
 */
export async function offer(how) {
  current = new Call(how);
  return await current.offer();
}

/** Places the call that was offered, and hangs up. See `Call.place`. */
export async function place(where) {
  try {
    return await current.place(where);
  } finally {
    current.pc.close();
  }
}

/**
 * Makes an offer, places the call, and goes on with it. See `offer` and `Call.place`.
 *
 * @returns Its number besides, for what follows.
 */
export async function keep(how, path) {
  const call = new Call(how);
  try {
    await call.offer();
    return { ...(await call.place({ path })), number: kept.push(call) - 1 };
  } catch (error) {
    call.pc.close();
    throw error;
  }
}

/** When packets of sound came from the network, in Unix milliseconds. */
export function arrivals(number) {
  return kept[number].sound;
}

/** The state of a connection. */
export function state(number) {
  return kept[number].pc.connectionState;
}

/** Sends an event, and returns what comes back. */
export async function ask(number, event) {
  const { channel } = kept[number];
  const answered = new Promise((resolve) => {
    channel.addEventListener("message", ({ data }) => {
      const said = JSON.parse(data);
      if (said.type === event.type) resolve(said);
    });
  });
  channel.send(JSON.stringify(event));
  return await answered;
}

/** Statistics, as the browser has them. */
export async function stats(number) {
  return [...(await kept[number].pc.getStats()).values()];
}

/** Hangs up all calls that go on. */
export function hangUp() {
  for (const { pc } of kept) pc.close();
}

class Call {
  /** Stages, in milliseconds from the POST. */
  reached = {};
  /** What it took until there was an offer, in milliseconds. */
  gathered = 0;
  /** Packets of sound, in Unix milliseconds. */
  sound = [];
  #sender;
  #waits;
  #posted = 0;
  #done;
  #complete = new Promise((resolve) => (this.#done = resolve));

  constructor({ configuration = {}, waits = true } = {}) {
    this.pc = new RTCPeerConnection({ encodedInsertableStreams: true, ...configuration });
    this.#sender = this.pc.addTrack(microphone);
    this.#waits = waits;
  }

  async offer() {
    const began = performance.now();
    const said = this.#sender.createEncodedStreams();
    said.readable.pipeTo(said.writable).catch(() => {});
    this.#watch();
    const gathered = new Promise((resolve) => {
      this.pc.onicegatheringstatechange = () => {
        if (this.pc.iceGatheringState === "complete") resolve();
      };
    });
    await this.pc.setLocalDescription();
    if (this.#waits) await gathered;
    this.gathered = performance.now() - began;
    return [...this.pc.localDescription.sdp.matchAll(HOST)].map(([, ip, port]) => `${ip}:${port}`);
  }

  /**
   * @param {{ path: string, client?: string, server?: string }} where What to POST to, where the
   *   server reaches this page, and where this page reaches the server; as they say themselves, if
   *   there is no proxy.
   * @returns What was reached, in milliseconds from the POST, what the answer says of where the
   *   call is, and what was agreed on.
   */
  async place({ path, client, server }) {
    const { sdp } = this.pc.localDescription;
    const offer = client ? withCandidate(sdp, client) : sdp;
    // The connection to the server is warm, as that of a page that came from it.
    await (await fetch("/", { cache: "no-store" })).text();
    this.#posted = performance.now();
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: offer,
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`the call was refused: ${answer.slice(0, 300)}`);
    this.#reach("answer");
    const steered = response.headers.get("Firsthop-Steered");
    const changed = server ? withCandidate(answer, server) : answer;
    await this.pc.setRemoteDescription({ type: "answer", sdp: changed });
    await Promise.race([
      this.#complete,
      new Promise((resolve) => setTimeout(resolve, PATIENCE_MS)),
    ]);
    const { reached, gathered } = this;
    return { reached, gathered, steered, transport: await agreed(this.pc) };
  }

  #watch() {
    const { pc } = this;
    this.channel = pc.createDataChannel("oai-events");
    this.channel.onopen = () => this.#reach("channel");
    pc.oniceconnectionstatechange = () => {
      if (["connected", "completed"].includes(pc.iceConnectionState)) this.#reach("ice");
    };
    const connected = () => {
      const both = [pc.connectionState, this.#sender.transport?.state];
      if (both.every((state) => state === "connected")) this.#reach("connected");
    };
    pc.onconnectionstatechange = connected;
    pc.onsignalingstatechange = () => {
      if (this.#sender.transport) this.#sender.transport.onstatechange = connected;
    };
    pc.ontrack = ({ receiver }) =>
      listen(receiver, () => {
        this.sound.push(now());
        this.#reach("audio");
      });
  }

  #reach(stage) {
    this.reached[stage] ??= performance.now() - this.#posted;
    if (STAGES.every((name) => name in this.reached)) this.#done();
  }
}

/** Puts one candidate in the place of all, at the first m-line, whose transport all share. */
function withCandidate(sdp, place) {
  const [ip, port] = place.split(":");
  const parts = sdp.replace(CANDIDATE, "").split(/(?=^m=)/m);
  parts[1] += `a=candidate:1 1 udp 2130706431 ${ip} ${port} typ host\r\n`;
  return parts.join("");
}

function now() {
  return performance.timeOrigin + performance.now();
}

/** Tells of each packet of sound as it comes from the network: no jitter buffer is in it. */
function listen(receiver, heard) {
  const { readable, writable } = receiver.createEncodedStreams();
  const tell = new TransformStream({
    transform(frame, controller) {
      heard();
      controller.enqueue(frame);
    },
  });
  readable.pipeThrough(tell).pipeTo(writable).catch(() => {});
}

async function agreed(pc) {
  const found = [...(await pc.getStats()).values()].find(({ type }) => type === "transport");
  const { tlsVersion, dtlsRole, iceRole, dtlsCipher, srtpCipher } = found ?? {};
  return { tlsVersion, dtlsRole, iceRole, dtlsCipher, srtpCipher };
}
