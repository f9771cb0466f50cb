/**
 * Places calls and notes when each stage of one was reached.
 *
 * Everything between the client and the server has to go through the proxies, so the offer and the
 * answer name them in the place of the two.
 */

const CANDIDATE = /^a=(candidate|end-of-candidates).*\r\n/gm;
/** IPv4, and UDP: no mDNS names, for the page may use the microphone. */
const HOST = /^a=candidate:\S+ 1 udp \d+ ([\d.]+) (\d+) typ host/gm;
const STAGES = ["answer", "ice", "connected", "channel", "audio"];
const PATIENCE_MS = 20_000;

let microphone;
let current;

/** Asks for the microphone, once. */
export async function prepare() {
  microphone = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
}

/**
 * Makes an offer, and gathers all candidates.
 *
 * @returns {Promise<string[]>} The addresses and ports at which the page takes UDP.
 */
export async function offer() {
  current = new Call();
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

class Call {
  pc = new RTCPeerConnection({ encodedInsertableStreams: true });
  /** Stages, in milliseconds from the POST. */
  reached = {};
  #sender = this.pc.addTrack(microphone);
  #posted = 0;
  #done;
  #complete = new Promise((resolve) => (this.#done = resolve));

  async offer() {
    const said = this.#sender.createEncodedStreams();
    said.readable.pipeTo(said.writable).catch(() => {});
    this.#watch();
    const gathered = new Promise((resolve) => {
      this.pc.onicegatheringstatechange = () => {
        if (this.pc.iceGatheringState === "complete") resolve();
      };
    });
    await this.pc.setLocalDescription();
    await gathered;
    return [...this.pc.localDescription.sdp.matchAll(HOST)].map(([, ip, port]) => `${ip}:${port}`);
  }

  /**
   * @param {{ path: string, client: string, server: string }} where What to POST to, where the
   *   server reaches this page, and where this page reaches the server.
   * @returns What was reached, in milliseconds from the POST, and what was agreed on.
   */
  async place({ path, client, server }) {
    const offer = withCandidate(this.pc.localDescription.sdp, client);
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
    await this.pc.setRemoteDescription({ type: "answer", sdp: withCandidate(answer, server) });
    await Promise.race([
      this.#complete,
      new Promise((resolve) => setTimeout(resolve, PATIENCE_MS)),
    ]);
    return { reached: this.reached, transport: await agreed(this.pc) };
  }

  #watch() {
    const { pc } = this;
    pc.createDataChannel("oai-events").onopen = () => this.#reach("channel");
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
    pc.ontrack = ({ receiver }) => listen(receiver, () => this.#reach("audio"));
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

/** Tells of the first packet of sound as it comes from the network: no jitter buffer is in it. */
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
