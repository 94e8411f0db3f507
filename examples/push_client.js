// A client of the push service that watches jobs, for browsers and Node 22; an ES module without dependencies.
//
//     import { PushClient } from "./push_client.js";
//     const client = new PushClient("ws://127.0.0.1:8329/ws");
//     const stop = client.watch(123, (update) => console.log(update?.status, update?.progress_percent));
//
// As a program: node push_client.js ws://127.0.0.1:8329/ws 123 124

const FIRST_WAIT = 500; // ms between tries to connect, doubled each time
const LONGEST_WAIT = 30_000;
const PING_EVERY = 25_000; // ms; a connection on which nothing came for longer than two of these is dead

export class PushClient {
  #url;
  #protocols;
  #callbacks = new Map(); // by job_id, as a string: 123 and "123" are the same job
  #runs = new Map(); // the newest update by run_id, as JSON and as an object; a job submitted twice has two runs
  #told = null; // the runs that the present snapshot told of so far; null when it is over
  #socket = null;
  #asked = 0;
  #answered = 0;
  #failures = 0;
  #retry = null;
  #closed = false;

  // A push service that asks for a token gets it as a subprotocol: browsers cannot set headers.
  constructor(url, { token } = {}) {
    this.#url = `${url}?job_id=`; // that is nobody's, so nothing comes before `subscribe` says what is wanted
    this.#protocols = token === undefined ? [] : ["comfyui-exporter", `token.${base64url(token)}`];
    this.#connect();
  }

  // Calls back with each update of a job, as the push protocol has it, beginning with what is known, and with null when
  // nothing is known of the job any more. Returns a function that ends it. Up to 1000 jobs.
  watch(jobId, callback) {
    const key = String(jobId);
    this.#drop(key);
    this.#callbacks.set(key, callback);
    this.#subscribe();
    return () => {
      if (this.#callbacks.get(key) !== callback) return;
      this.#callbacks.delete(key);
      this.#drop(key);
      this.#subscribe();
    };
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.close();
  }

  #drop(key) {
    for (const [runId, { update }] of this.#runs) {
      if (String(update.job_id) === key) this.#runs.delete(runId);
    }
  }

  #connect() {
    const socket = new WebSocket(this.#url, this.#protocols);
    let heard = Date.now();
    let pinging;
    let over = false;
    // A dead connection may take minutes to close by itself, so we do not wait for `onclose` then.
    const end = () => {
      if (over) return;
      over = true;
      clearInterval(pinging);
      this.#socket = null;
      socket.close();
      if (this.#closed) return;
      const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(this.#failures++, 10));
      // Clients who lost the same server shall not come back all at once.
      this.#retry = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
    };
    socket.onopen = () => {
      heard = Date.now();
      this.#socket = socket;
      this.#told = new Set();
      this.#asked = this.#answered = 0;
      if (this.#closed) return end();
      this.#subscribe();
      pinging = setInterval(() => {
        if (Date.now() - heard > 2 * PING_EVERY) end();
        else socket.send('{"type":"ping"}');
      }, PING_EVERY);
    };
    socket.onmessage = (message) => {
      heard = Date.now();
      if (!over) this.#hear(JSON.parse(message.data));
    };
    socket.onerror = () => {}; // `onclose` follows
    socket.onclose = end;
  }

  // An answer follows, then a snapshot of these jobs, then what changes.
  #subscribe() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const request = { type: "subscribe", job_ids: [...this.#callbacks.keys()], id: ++this.#asked };
    this.#socket.send(JSON.stringify(request));
  }

  #hear({ type, data, id, error }) {
    if (type === "subscribed") {
      this.#answered = id;
      this.#told = new Set();
    } else if (type === "progress_update") {
      this.#updated(data);
    } else if (type === "snapshot_end") {
      if (this.#answered !== this.#asked || this.#told === null) return;
      // What is known here and was not told is gone: it was removed while we were not connected.
      for (const runId of [...this.#runs.keys()]) {
        if (!this.#told.has(runId)) this.#removed(runId);
      }
      this.#told = null;
      this.#failures = 0;
    } else if (type === "job_removed") {
      this.#removed(data.run_id);
    } else if (type === "error") {
      console.error("the push service refuses:", error);
    } // a later version may say more
  }

  #updated(update) {
    this.#told?.add(update.run_id);
    const text = JSON.stringify(update);
    // A snapshot repeats what is known.
    if (!this.#callbacks.has(String(update.job_id)) || this.#runs.get(update.run_id)?.text === text) return;
    this.#runs.set(update.run_id, { text, update });
    this.#call(update.job_id, update);
  }

  #removed(runId) {
    const known = this.#runs.get(runId);
    if (known === undefined) return;
    this.#runs.delete(runId);
    const jobId = String(known.update.job_id);
    const others = [...this.#runs.values()].some(({ update }) => String(update.job_id) === jobId);
    if (!others) this.#call(jobId, null);
  }

  #call(jobId, update) {
    try {
      this.#callbacks.get(String(jobId))?.(update);
    } catch (error) {
      console.error("a callback failed:", error);
    }
  }
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Run by Node, and not imported: print what happens to the given jobs.
if (typeof process !== "undefined" && process.argv?.[1] && import.meta.url === `file://${process.argv[1]}`) {
  const [url, ...jobIds] = process.argv.slice(2);
  const client = new PushClient(url);
  for (const jobId of jobIds) {
    client.watch(jobId, (update) => {
      const said = update === null ? "known no more" : `${update.status} ${update.progress_percent.toFixed(1)} %`;
      console.log(`${jobId} ${said}`);
    });
  }
}
