// The live page. What is known lives in `State`, fed by `Connection` from the push socket; `Page` draws it, at most once
// in a frame, into rows that are kept as long as their job is. Names come from whoever submits to ComfyUI: they reach
// the document as text only, and never as markup or as an address.

const SOCKET_WAIT = 500; // ms until the second try to connect, doubled each time
const LONGEST_WAIT = 30_000;
const PING_EVERY = 25_000; // ms; a connection on which nothing came for two of these is dead
const MEMORY_EVERY = 15_000; // ms; the exporter reads it from ComfyUI no more often
const DRAW_EVERY = 100; // ms: faster than that nobody reads
const ANNOUNCE_EVERY = 3_000; // ms: a screen reader has to come to the end of a sentence
const RESOLVED_STAYS = 5 * 60; // seconds for which an alert that is over is shown
const MOST_RESULTS = 500; // results that are kept
const PAGE_OF_RESULTS = 100; // read from the history at the start
// Up to so many servers are listed by name; of more, those that are idle are folded away.
const FEW_SERVERS = matchMedia("(max-width: 48rem)").matches ? 6 : 24;
const LONGEST_NAME = 80; // characters
const MIN = 60, HOUR = 3600, DAY = 86_400;

const ENDED_STATUSES = ["completed", "failed", "timeout", "cancelled"];
const STATUS_WORDS = {
  unknown: "unknown", initializing: "registered", queued: "waiting", processing: "running", completing: "finishing",
  completed: "completed", failed: "failed", timeout: "timed out", cancelled: "cancelled",
};
const FILTER_STATUSES = {
  processing: "running", stalled: "stalled", queued: "waiting",
  completed: "completed", failed: "failed", cancelled: "cancelled", timeout: "timed out",
};
/** Which statuses of the filter each section can show. */
const SECTION_STATUSES = {
  running: ["processing", "stalled", "timeout"],
  queue: ["queued", "timeout"],
  results: ENDED_STATUSES,
};
const SEVERITIES = ["critical", "warning", "info"];
const collator = new Intl.Collator("en", { numeric: true });

// ---------------------------------------------------------------------------------------------------------- Words

/** 95 -> "1 min 35 s" */
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < MIN) return `${whole} s`;
  if (whole < HOUR) return two(Math.floor(whole / MIN), "min", whole % MIN, "s");
  const minutes = Math.round(whole / MIN);
  if (minutes < DAY / MIN) return two(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(whole / HOUR);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

function two(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** Like `duration`, for what is over: tenths of a second matter where it took few. */
const measured = (seconds) => (seconds < 9.95 ? `${Math.max(0, seconds).toFixed(1)} s` : duration(seconds));

/** Like `duration`, for what ticks: it shall not be ahead of the clock. */
const ticking = (seconds) => duration(Math.max(0, Math.floor(seconds)));

/** How long ago: coarse, because it is read in passing. */
function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < MIN) return `${Math.floor(seconds)} s ago`;
  if (seconds < HOUR) return `${Math.floor(seconds / MIN)} min ago`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h ago`;
  return `${Math.floor(seconds / DAY)} d ago`;
}

/** In how long: an estimate must not look exacter than it is. */
function ahead(seconds) {
  if (seconds <= 1) return "any moment";
  if (seconds < 10 * MIN) return `in ${ticking(seconds)}`;
  return `in ${duration(Math.round(seconds / MIN) * MIN)}`;
}

const twoDigits = (number) => String(number).padStart(2, "0");

function clock(moment) {
  return [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(twoDigits).join(":");
}

/** With the day unless that is today. */
function fullClock(moment, now) {
  const day = `${moment.getFullYear()}-${twoDigits(moment.getMonth() + 1)}-${twoDigits(moment.getDate())}`;
  return moment.toDateString() === now.toDateString() ? clock(moment) : `${day} ${clock(moment)}`;
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(bytes < 100 * 2 ** 30 ? 1 : 0);
const plural = (count, one, many = `${one}s`) => `${grouped(count)} ${count === 1 ? one : many}`;
const grouped = (number) => number.toLocaleString("en");

function short(text, longest = LONGEST_NAME) {
  const characters = [...text];
  return characters.length <= longest ? text : `${characters.slice(0, longest - 1).join("")}…`;
}

const percentOf = (job) => `${job.progress_estimated ? "≈\u00a0" : ""}${Math.floor(job.progress_percent)}\u00a0%`;

/** What a job is called: its own id where the submitter gave one, else the first part of ComfyUI's. */
function nameOf(job) {
  if (job.job_id !== null) return short(typeof job.job_id === "number" ? `#${job.job_id}` : job.job_id);
  return short(job.comfyui_prompt_id.split("-")[0] || job.comfyui_prompt_id, 20);
}

// ------------------------------------------------------------------------------------------------------- Document

const byId = (id) => document.getElementById(id);

/** Make an element. Whatever is not an element among the children becomes text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** null takes the attribute away. */
function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** A <time>: text for reading in passing, the moment itself for whoever points at it. */
function setTime(element, iso, text, now) {
  setText(element, iso === null ? "–" : text);
  setAttribute(element, "datetime", iso);
  setAttribute(element, "title", iso === null ? null : fullClock(new Date(iso), now));
}

/** The address if a link may lead there: nobody shall slip us a `javascript:`. */
function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

const elsewhere = (href, text) => make("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);

/** Rows by key: each is made once, moves when its place changes, and goes with its item. */
class Rows {
  #parent;
  #make;
  #rows = new Map();

  /** `make` gives `{node, update}`. */
  constructor(parent, make) {
    this.#parent = parent;
    this.#make = make;
  }

  draw(items, keyOf, context) {
    const focused = document.activeElement;
    const keys = new Set(items.map(keyOf));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.node.remove();
      this.#rows.delete(key);
    }
    let place = this.#parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      let row = this.#rows.get(key);
      if (row === undefined) this.#rows.set(key, (row = this.#make(item)));
      row.update(item, context);
      if (row.node === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(row.node, place);
    }
    // What is moved loses the focus, and with it the place of whoever reads by keyboard.
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  }
}

/** A row of a table with its cells by name; on a phone, where there is no head, each shows its label. */
function tableRow(labels) {
  const cells = {};
  const node = make("tr", { role: "row" });
  for (const [name, label] of Object.entries(labels)) {
    cells[name] = make("td", { role: "cell", class: name, "data-label": label });
    node.append(cells[name]);
  }
  return { node, cells };
}

function progressBar() {
  const bar = make("progress", { max: "100", value: "0" });
  return {
    bar,
    set(percent, label) {
      if (bar.value !== percent) bar.value = percent;
      setAttribute(bar, "aria-label", label);
    },
  };
}

// --------------------------------------------------------------------------------------------------------- Filters

/** What is shown, as the address says it: so it survives a reload, and can be sent to somebody. */
class Filters {
  static NAMES = ["server", "job_type", "status", "q"];
  #changed;

  constructor(changed) {
    this.#changed = changed;
    this.read();
    addEventListener("popstate", () => {
      this.read();
      changed();
    });
  }

  read() {
    const query = new URLSearchParams(location.search);
    for (const name of Filters.NAMES) this[name] = query.get(name) ?? "";
    this.words = this.q.toLowerCase().split(/\s+/).filter(Boolean);
  }

  get any() {
    return Filters.NAMES.some((name) => this[name] !== "");
  }

  /** The address with some of them changed. */
  address(changes) {
    const query = new URLSearchParams();
    for (const name of Filters.NAMES) {
      const value = changes[name] ?? this[name];
      if (value !== "") query.set(name, value);
    }
    const text = query.toString();
    return text === "" ? location.pathname : `?${text}`;
  }

  /** `replace`: without a step of its own for the Back button. */
  set(changes, { replace = false } = {}) {
    history[replace ? "replaceState" : "pushState"](null, "", this.address(changes));
    this.read();
    this.#changed();
  }

  wantsServer(name) {
    return this.server === "" || name === this.server;
  }

  wantsSection(section) {
    return this.status === "" || SECTION_STATUSES[section].includes(this.status);
  }

  wants(job, haystack) {
    if (!this.wantsServer(job.server) || (this.job_type !== "" && job.job_type !== this.job_type)) return false;
    if (this.status !== "" && !hasStatus(job, this.status)) return false;
    return this.words.every((word) => haystack(job).includes(word));
  }
}

function hasStatus(job, status) {
  if (status === "stalled") return job.stalled && job.ended_at === null;
  if (status === "processing") return isRunning(job);
  if (status === "queued") return job.ended_at === null && !isRunning(job);
  return job.status === status;
}

function isRunning(job) {
  if (job.ended_at !== null) return false;
  return ["processing", "completing"].includes(job.status) || (job.status === "timeout" && job.started_at !== null);
}

// ----------------------------------------------------------------------------------------------------------- State

/** All that is known. */
class State {
  about = { failure_patterns: {}, links: {}, version: "" };
  servers = new Map();
  memory = new Map(); // of servers, by name, as the API tells it
  open = new Map(); // jobs by run_id
  results = new Map(); // those that ended
  batches = new Map();
  alerts = new Map();
  complete = false; // whether a snapshot was ever complete
  skew = 0; // ms by which the exporter's clock is ahead of ours
  #told = null; // what the present snapshot told of so far; null when it is over
  #doubtful = new Set(); // results that only an earlier connection told of
  #haystacks = new WeakMap();
  #announce;

  constructor(announce) {
    this.#announce = announce;
    this.haystack = (job) => this.#haystack(job);
  }

  now() {
    return new Date(Date.now() + this.skew);
  }

  title(pattern) {
    return this.about.failure_patterns[pattern] ?? pattern.replaceAll("_", " ");
  }

  connected() {
    this.#told = { servers: new Set(), jobs: new Set(), batches: new Set(), alerts: new Set() };
  }

  /** Take in a message; whether it ended the snapshot. */
  hear({ type, data }) {
    if (type === "progress_update") this.#job(data);
    else if (type === "server_update") this.#put(this.servers, "servers", data.server, data);
    else if (type === "batch_update") this.#put(this.batches, "batches", data.batch_id, data);
    else if (type === "alert") this.#alert(data);
    else if (type === "job_removed") this.open.delete(data.run_id); // a result stays: that it ended goes on to be true
    else if (type === "server_removed") this.servers.delete(data.server);
    else if (type === "snapshot_end") return this.#snapshotEnded();
    return false;
  }

  #put(known, kind, key, value) {
    this.#told?.[kind].add(key);
    known.set(key, value);
  }

  #job(job) {
    this.#told?.jobs.add(job.run_id);
    if (job.ended_at === null) {
      this.open.set(job.run_id, job);
      return;
    }
    const before = this.results.get(job.run_id);
    this.open.delete(job.run_id);
    this.results.set(job.run_id, job);
    this.#doubtful.delete(job.run_id);
    if (this.complete && before === undefined && job.status === "failed") {
      const why = job.failure === null ? "" : `: ${this.title(job.failure.pattern)}`;
      this.#announce("failure", `Job ${nameOf(job)} failed on ${job.server}${why}`);
    }
  }

  #alert(alert) {
    const key = JSON.stringify(Object.entries(alert.labels).sort());
    const before = this.alerts.get(key);
    this.#told?.alerts.add(key);
    if (alert.status === "resolved" && before === undefined) return;
    const resolvedAt = alert.status === "resolved" ? (before.resolvedAt ?? this.now()) : null;
    this.alerts.set(key, { ...alert, key, resolvedAt });
    if (this.complete && alert.status === "firing" && before?.status !== "firing") {
      this.#announce("alert", `Alert: ${alert.annotations.summary ?? alert.labels.alertname}`);
    }
  }

  /** What was not told of is gone: it went while we were not connected. */
  #snapshotEnded() {
    const told = this.#told;
    this.#told = null;
    if (told === null) return false;
    for (const [known, kind] of [[this.servers, "servers"], [this.batches, "batches"], [this.alerts, "alerts"], [this.open, "jobs"]]) {
      for (const key of [...known.keys()]) if (!told[kind].has(key)) known.delete(key);
    }
    this.#doubtful = new Set([...this.results.keys()].filter((runId) => !told.jobs.has(runId)));
    this.complete = true;
    return true;
  }

  /** Take in a page of the history, and drop what an exporter of before told of and this one does not know. */
  remember(jobs) {
    for (const job of jobs) {
      this.#doubtful.delete(job.run_id);
      if (job.ended_at !== null && !this.results.has(job.run_id)) this.results.set(job.run_id, job);
    }
    for (const runId of this.#doubtful) this.results.delete(runId);
    this.#doubtful.clear();
  }

  /** Take in what the API says of servers; those that it does not list are not watched any more. */
  learnMemory(items) {
    this.memory = new Map(items.map((item) => [item.server, item]));
    if (this.#told !== null) return;
    for (const name of [...this.servers.keys()]) if (!this.memory.has(name)) this.servers.delete(name);
  }

  /** Let go of what is too old to be shown. */
  tidy() {
    const now = this.now();
    for (const [key, alert] of this.alerts) {
      if (alert.resolvedAt !== null && now - alert.resolvedAt > RESOLVED_STAYS * 1000) this.alerts.delete(key);
    }
    if (this.results.size <= MOST_RESULTS) return;
    const oldest = [...this.results.values()].sort(byEnd).slice(MOST_RESULTS);
    for (const job of oldest) this.results.delete(job.run_id);
  }

  #haystack(job) {
    let text = this.#haystacks.get(job);
    if (text === undefined) {
      const parts = [
        job.job_id, job.comfyui_prompt_id, job.server, job.job_type, job.batch_id, job.node?.type, job.error_message,
        job.failure?.node_type, job.failure?.exception_type, job.failure && this.title(job.failure.pattern),
        ...(job.outputs ?? []).map((file) => file.filename), ...Object.values(job.labels),
      ];
      text = parts.filter((part) => part !== null && part !== undefined).join("\n").toLowerCase();
      this.#haystacks.set(job, text);
    }
    return text;
  }
}

/** The newest first. */
const byEnd = (one, other) => Date.parse(other.ended_at) - Date.parse(one.ended_at);

/** When each waiting job should start: when the one before it should be done. */
function expectedStarts(jobs) {
  const starts = new Map();
  for (const mine of Map.groupBy === undefined ? groups(jobs) : Map.groupBy(jobs, (job) => job.server).values()) {
    const running = mine.filter(isRunning);
    let free = running.length === 0 ? null : latest(running.map((job) => job.estimated_completion));
    const waiting = mine.filter((job) => job.queue_position !== null);
    for (const job of waiting.sort((one, other) => one.queue_position - other.queue_position)) {
      starts.set(job.run_id, free);
      free = job.estimated_completion;
    }
  }
  return starts;
}

function groups(jobs) {
  const found = new Map();
  for (const job of jobs) {
    if (!found.has(job.server)) found.set(job.server, []);
    found.get(job.server).push(job);
  }
  return found.values();
}

const latest = (times) => (times.includes(null) ? null : times.reduce((one, other) => (Date.parse(one) > Date.parse(other) ? one : other)));

// ------------------------------------------------------------------------------------------------------ Connection

/** Keeps the socket open. `watcher` is told: connected, heard, complete, lost, refused. */
class Connection {
  #watcher;
  #socket = null;
  #failures = 0;
  #retry = null;
  #trying = false;
  lastHeard = null;
  nextTry = null;

  constructor(watcher) {
    this.#watcher = watcher;
    addEventListener("online", () => this.tryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.tryNow());
  }

  /** Do not wait any longer, if that is what we do. */
  tryNow() {
    if (this.#retry === null) return;
    clearTimeout(this.#retry);
    this.connect();
  }

  async connect() {
    this.#retry = this.nextTry = null;
    if (this.#trying || this.#socket !== null) return;
    this.#trying = true;
    try {
      const token = await this.#admitted();
      if (token !== undefined) this.#open(token);
    } catch {
      this.#again();
    } finally {
      this.#trying = false;
    }
  }

  /** Ask whether we may connect: a browser does not tell a page why a socket was refused. Gives the token to show,
   * null for none; undefined if there is no use in trying. */
  async #admitted() {
    const about = `api/v1/about?origin=${encodeURIComponent(location.origin)}`;
    const token = sessionStorage.getItem("token");
    const said = await ask(about);
    if (said.body.socket === "token" && token !== null) {
      const proved = await ask(about, { Authorization: `Bearer ${token}` });
      if (proved.body.socket === "open") return this.#learn(proved, token);
      sessionStorage.removeItem("token");
    }
    if (said.body.socket === "open") return this.#learn(said, null);
    this.#watcher.refused(said.body.socket, token !== null);
    // Somebody may change the configuration; a token is typed here, and connects at once.
    if (said.body.socket !== "token") this.#again(LONGEST_WAIT);
    return undefined;
  }

  #learn({ body, skew }, token) {
    this.#watcher.learned(body, skew);
    return token;
  }

  #open(token) {
    const url = new URL("ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, token === null ? ["comfyui-exporter"] : ["comfyui-exporter", `token.${base64url(token)}`]);
    this.#socket = socket;
    let heard = Date.now();
    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      clearInterval(pinging);
      this.#socket = null;
      socket.close();
      this.#again();
    };
    const pinging = setInterval(() => {
      // A dead connection may take minutes to close by itself.
      if (Date.now() - heard > 2 * PING_EVERY) end();
      else if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
    }, PING_EVERY);
    socket.onopen = () => !over && this.#watcher.connected();
    socket.onmessage = (message) => {
      if (over) return;
      heard = Date.now();
      this.lastHeard = new Date();
      if (this.#watcher.heard(JSON.parse(message.data))) this.#failures = 0;
    };
    socket.onclose = end;
  }

  #again(wait = Math.min(LONGEST_WAIT, SOCKET_WAIT * 2 ** Math.min(this.#failures++, 10))) {
    // Pages that lost the same exporter shall not come back all at once.
    const jittered = wait * (0.5 + Math.random() / 2);
    this.nextTry = new Date(Date.now() + jittered);
    this.#retry = setTimeout(() => this.connect(), jittered);
    this.#watcher.lost();
  }
}

/** GET JSON, with how much the exporter's clock is ahead of ours. */
async function ask(path, headers = {}) {
  const response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const ahead = Date.parse(response.headers.get("Date")) + 500 - Date.now();
  // The header has whole seconds: less than two is no difference.
  return { body: await response.json(), skew: Math.abs(ahead) < 2000 || Number.isNaN(ahead) ? 0 : ahead };
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// ---------------------------------------------------------------------------------------------------- Announcements

/** Says what is new to whoever listens instead of looking: failures and alerts, and of many only how many. */
class Announcer {
  #region;
  #waiting = [];
  #timer = null;

  constructor(region) {
    this.#region = region;
  }

  say(kind, text) {
    this.#waiting.push({ kind, text });
    this.#timer ??= setTimeout(() => this.#flush(), 200);
  }

  #flush() {
    const said = this.#waiting.splice(0);
    const parts = said.length <= 3 ? said.map(({ text }) => text) : this.#counted(said);
    setText(this.#region, parts.join(". "));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#waiting.length > 0) this.#flush();
    }, ANNOUNCE_EVERY);
  }

  #counted(said) {
    const failures = said.filter(({ kind }) => kind === "failure").length;
    const alerts = said.length - failures;
    return [failures && plural(failures, "job failed", "jobs failed"), alerts && plural(alerts, "new alert")].filter(Boolean);
  }
}

// ------------------------------------------------------------------------------------------------------------ Rows

/** The name of a job, linked to all that is known of it, with its type and batch. */
function jobCell(cell) {
  const link = make("a", { class: "name" });
  const flag = make("span", { class: "badge" });
  const type = make("span", { class: "type" });
  const batch = make("span", { class: "faint name" });
  cell.append(make("span", { class: "title" }, link, flag), make("span", { class: "sub" }, type, batch));
  return (job, { down }) => {
    setText(link, nameOf(job));
    setAttribute(link, "href", `api/v1/jobs/${encodeURIComponent(job.comfyui_prompt_id)}`);
    setAttribute(link, "title", `${job.job_id === null ? "" : `Job ${job.job_id}, `}prompt ${job.comfyui_prompt_id}`);
    const [text, tone, why] = flagOf(job, down);
    setText(flag, text);
    setAttribute(flag, "data-tone", tone);
    setAttribute(flag, "title", why);
    show(flag, text !== "");
    setText(type, job.job_type === "unknown" ? "" : short(job.job_type, 30));
    setText(batch, job.batch_id === null ? "" : short(job.batch_id, 30));
    setAttribute(batch, "title", job.batch_id === null ? null : `Batch ${job.batch_id}`);
  };
}

/** What is unusual about an open job: word, tone and why. */
function flagOf(job, down) {
  if (job.ended_at !== null) return ["", null, null];
  if (down.has(job.server)) return ["server down", "bad", "What is shown is how it was when its server last answered."];
  if (job.stalled) return ["stalled", "bad", "No sign of progress for long. Long nodes exist; it may still end."];
  if (job.status === "timeout") return ["over its time", "warn", "Runs longer than job_timeout, or no server has shown it."];
  if (job.status === "completing") return ["finishing", "quiet", "It left the queue, and its result is not read yet."];
  if (job.status === "initializing") return ["registered", "quiet", "It was registered, and no server has shown it yet."];
  return ["", null, null];
}

function serverLink(cell) {
  const link = make("a", { class: "name filter" });
  cell.append(link);
  return (name, { filters }) => {
    setText(link, name === null ? "–" : short(name, 40));
    setAttribute(link, "href", name === null ? null : filters.address({ server: name }));
    setAttribute(link, "title", name === null ? null : `Show ${name} alone`);
    link.dataset.server = name ?? "";
  };
}

function serverRow() {
  const { node, cells } = tableRow({
    server: "Server", state: "State", waiting: "Waiting", drain: "Empty", memory: "GPU memory", version: "Version",
  });
  const name = serverLink(cells.server);
  const badge = make("span", { class: "badge" });
  const doing = make("span", { class: "faint name" });
  const drain = make("time");
  const devices = new Rows(cells.memory, deviceBar);
  cells.state.append(badge, doing);
  cells.drain.append(drain);
  return {
    node,
    update(server, context) {
      name(server.server, context);
      const [word, tone] = stateOf(server, context);
      setText(badge, word);
      setAttribute(badge, "data-tone", tone);
      const job = context.runningOn.get(server.server);
      setText(doing, job === undefined || server.up === false ? "" : `${nameOf(job)} ${percentOf(job)}`);
      setText(cells.waiting, server.pending === null ? "–" : grouped(server.pending));
      const rest = server.drain_seconds;
      const idle = server.running === 0 && server.pending === 0;
      const at = rest === null || idle ? null : new Date(context.now.getTime() + rest * 1000).toISOString();
      setTime(drain, at, rest === null ? "–" : ahead(rest), context.now);
      const memory = context.state.memory.get(server.server);
      const shown = (memory?.devices ?? []).filter((device) => device.vram_total > 0).map((device, index) => ({ ...device, index }));
      setAttribute(cells.memory, "data-none", shown.length === 0 ? "" : null);
      devices.draw(shown, (device) => device.index, context);
      setText(cells.version, memory?.version ?? "");
      setAttribute(node, "data-down", server.up === false ? "" : null);
      setAttribute(node, "data-idle", idle ? "" : null);
    },
  };
}

function stateOf(server, { stalledOn }) {
  if (server.up === false) return ["down", "bad"];
  if (server.up === null) return ["not seen yet", "quiet"];
  if (stalledOn.has(server.server)) return ["stalled", "bad"];
  if (server.running > 0) return [server.running === 1 ? "running" : `${server.running} running`, "run"];
  return server.pending > 0 ? ["waiting", "warn"] : ["idle", "quiet"];
}

function deviceBar() {
  const { bar, set } = progressBar();
  const text = make("span");
  bar.classList.add("memory");
  return {
    node: make("span", { class: "device" }, bar, text),
    update(device) {
      const free = Math.min(device.vram_free ?? 0, device.vram_total);
      const used = device.vram_total - free;
      const label = `${gibibytes(used)} of ${gibibytes(device.vram_total)} GiB`;
      set(Math.round((used / device.vram_total) * 1000) / 10, `GPU memory in use: ${label}`);
      setAttribute(bar, "data-full", used / device.vram_total > 0.95 ? "" : null);
      setAttribute(bar, "title", `GPU ${short(device.name, 100)}`);
      setText(text, label);
    },
  };
}

function runningRow() {
  const { node, cells } = tableRow({
    job: "Job", server: "Server", progress: "Progress", node: "Node", since: "Running for", ready: "Ready",
  });
  const job = jobCell(cells.job);
  const server = serverLink(cells.server);
  const { bar, set } = progressBar();
  const percent = make("span", { class: "percent" });
  const nodeName = make("span", { class: "name" });
  const steps = make("span", { class: "faint" });
  const [since, ready] = [make("time"), make("time")];
  cells.progress.append(bar, percent);
  cells.node.append(nodeName, steps);
  cells.since.append(since);
  cells.ready.append(ready);
  return {
    node,
    update(item, context) {
      job(item, context);
      server(item.server, context);
      set(item.progress_percent, `Progress of ${nameOf(item)}`);
      setText(percent, percentOf(item));
      setAttribute(percent, "title", item.progress_estimated ? "From elapsed time: no events of this job can be heard." : null);
      setText(nodeName, item.node === null ? "" : short(item.node.type ?? `node ${item.node.id}`, 50));
      setText(steps, item.node !== null && item.node.max > 1 ? `${item.node.value} of ${item.node.max}` : "");
      setSince(since, item.started_at ?? item.submitted_at, context.now);
      setAhead(ready, context.down.has(item.server) ? null : item.estimated_completion, context.now);
      setAttribute(node, "data-stalled", item.stalled ? "" : null);
    },
  };
}

const setSince = (element, iso, now) => setTime(element, iso, ticking((now - Date.parse(iso)) / 1000), now);
const setAhead = (element, iso, now) => setTime(element, iso, ahead((Date.parse(iso) - now) / 1000), now);
const setAgo = (element, iso, now) => setTime(element, iso, ago((now - Date.parse(iso)) / 1000), now);

function queueRow() {
  const { node, cells } = tableRow({
    place: "Place", job: "Job", server: "Server", since: "Waiting for", starts: "Starts", ready: "Ready",
  });
  const job = jobCell(cells.job);
  const server = serverLink(cells.server);
  const [since, starts, ready] = [make("time"), make("time"), make("time")];
  cells.since.append(since);
  cells.starts.append(starts);
  cells.ready.append(ready);
  return {
    node,
    update(item, context) {
      const away = context.down.has(item.server);
      setText(cells.place, item.queue_position === null ? "–" : grouped(item.queue_position));
      job(item, context);
      server(item.server, context);
      setSince(since, item.submitted_at, context.now);
      setAhead(starts, away ? null : (context.starts.get(item.run_id) ?? null), context.now);
      setAhead(ready, away ? null : item.estimated_completion, context.now);
    },
  };
}

function batchRow() {
  const { node, cells } = tableRow({ batch: "Batch", progress: "Progress", counts: "Jobs", ready: "Ready" });
  const name = make("a", { class: "name filter" });
  const { bar, set } = progressBar();
  const percent = make("span", { class: "percent" });
  const ready = make("time");
  cells.batch.append(name);
  cells.progress.append(bar, percent);
  cells.ready.append(ready);
  return {
    node,
    update(batch, { filters, now }) {
      setText(name, short(batch.batch_id, 40));
      setAttribute(name, "href", filters.address({ q: batch.batch_id }));
      name.dataset.q = batch.batch_id;
      set(batch.progress_percent, `Progress of batch ${short(batch.batch_id, 40)}`);
      setText(percent, `${Math.floor(batch.progress_percent)} %`);
      const counts = Object.entries(batch.counts).map(([status, count]) => `${grouped(count)} ${STATUS_WORDS[status] ?? status}`);
      setText(cells.counts, counts.join(", "));
      setAhead(ready, batch.estimated_completion, now);
    },
  };
}

function resultRow() {
  const { node, cells } = tableRow({
    status: "Status", job: "Job", server: "Server", result: "Result", took: "Took", ended: "Ended",
  });
  const badge = make("span", { class: "badge" });
  const job = jobCell(cells.job);
  const server = serverLink(cells.server);
  const ended = make("time");
  cells.status.append(badge);
  cells.ended.append(ended);
  let drawn = null;
  return {
    node,
    update(item, context) {
      setText(badge, STATUS_WORDS[item.status] ?? item.status);
      setAttribute(badge, "data-tone", { completed: "good", failed: "bad", timeout: "warn" }[item.status] ?? "quiet");
      job(item, context);
      server(item.server, context);
      if (drawn !== item) cells.result.replaceChildren(...resultOf(item, context.state));
      drawn = item;
      setText(cells.took, item.generation_time === null ? "–" : measured(item.generation_time));
      setAgo(ended, item.ended_at, context.now);
    },
  };
}

/** Why it failed, or what it made. */
function resultOf(job, state) {
  if (job.failure !== null) {
    const { pattern, node_type, node_id, exception_type } = job.failure;
    const where = [node_type, node_id && `node ${node_id}`, exception_type].filter(Boolean).map((part) => short(part, 100));
    return [
      make("strong", {}, state.title(pattern)),
      make("span", { class: "sub name" }, where.join(" · ")),
      ...message(job.error_message),
    ];
  }
  if (job.status === "completed") {
    const files = (job.outputs ?? []).filter((file) => file.type !== "temp");
    const names = files.map((file) => (file.subfolder ? `${file.subfolder}/${file.filename}` : file.filename));
    if (names.length === 0) return [make("span", { class: "faint" }, "no files")];
    const rest = names.length - 2;
    const shown = names.slice(0, rest > 0 ? 2 : 3).map((name) => make("span", { class: "file name" }, short(name, 60)));
    if (rest > 1) shown.push(make("span", { class: "faint", title: names.slice(2, 40).join("\n") }, `and ${rest} more`));
    return shown;
  }
  if (job.error_message) return message(job.error_message);
  if (job.status !== "cancelled") return [];
  return [make("span", { class: "faint" }, job.started_at === null ? "deleted before it ran" : "interrupted")];
}

/** An error message: its beginning, and the whole of a long one for who asks. */
function message(text) {
  if (!text) return [];
  const [first] = text.trim().split("\n", 1);
  if (text.length <= 120 && first === text.trim()) return [make("span", { class: "message" }, text)];
  return [make("details", {}, make("summary", { class: "message" }, short(first, 120)), make("pre", { tabindex: "0" }, text))];
}

function alertRow() {
  const node = make("li");
  const [badge, summary, about, since, links] = [
    make("span", { class: "badge" }), make("strong", { class: "name" }), make("span", { class: "sub name" }), make("time"), make("span", { class: "links" }),
  ];
  const server = make("span");
  const link = serverLink(server);
  const description = make("p", { class: "description name" });
  node.append(badge, make("div", {}, summary, about, description), make("div", { class: "aside" }, server, since, links));
  let drawn = null;
  return {
    node,
    update(alert, context) {
      const severity = alert.labels.severity ?? "info";
      const over = alert.status === "resolved";
      setText(badge, over ? "resolved" : severity);
      setAttribute(badge, "data-tone", over ? "quiet" : { critical: "bad", warning: "warn" }[severity] ?? "run");
      setAttribute(node, "data-over", over ? "" : null);
      show(server, alert.labels.server !== undefined);
      if (alert.labels.server !== undefined) link(alert.labels.server, context);
      setAgo(since, (over ? alert.endsAt : alert.startsAt) ?? alert.startsAt ?? null, context.now);
      if (drawn === alert) return;
      drawn = alert;
      const { summary: words, description: more } = alert.annotations;
      setText(summary, words ?? alert.labels.alertname ?? "alert");
      setText(about, words === undefined ? "" : alert.labels.alertname ?? "");
      setText(description, more ?? "");
      show(description, Boolean(more));
      links.replaceChildren(...alertLinks(alert));
    },
  };
}

function alertLinks({ annotations, generatorURL }) {
  const targets = [[annotations.runbook_url, "Runbook"], [annotations.dashboard_url, "Dashboard"], [generatorURL, "Source"]];
  return targets.map(([text, word]) => [webAddress(text), word]).filter(([href]) => href !== null).map(([href, word]) => elsewhere(href, word));
}

// ------------------------------------------------------------------------------------------------------------ Page

/** A list of which only the beginning is shown until somebody asks for more. */
class Section {
  #name;
  #rows;
  #limit;
  #first;
  #more;
  #button;
  #words;

  constructor(name, parent, makeRow, limit, redraw) {
    this.#name = name;
    this.#rows = new Rows(parent, makeRow);
    this.#limit = this.#first = limit;
    this.#more = byId(`${name}-more`);
    this.#words = make("span");
    this.#button = make("button", { type: "button", class: "quiet" });
    this.#more.append(this.#words, " ", this.#button);
    this.#button.addEventListener("click", () => {
      this.#limit += Math.max(100, this.#first);
      redraw();
    });
  }

  /** `folded`: how many there are besides these, and what they are called. */
  draw(items, keyOf, context, { empty = "", total = items.length, folded = 0, foldedAs = "more" } = {}) {
    const shown = items.slice(0, this.#limit);
    this.#rows.draw(shown, keyOf, context);
    const rest = items.length - shown.length + folded;
    show(this.#more, rest > 0);
    if (rest > 0) {
      setText(this.#words, `and ${grouped(rest)} ${items.length > shown.length ? "more" : foldedAs}`);
      setText(this.#button, items.length - shown.length + folded <= 100 ? "Show all" : "Show 100 more");
    }
    setText(byId(`${this.#name}-count`), total === 0 ? "" : grouped(total));
    const table = this.#more.closest("section").querySelector("table");
    if (table !== null) show(table, items.length > 0);
    const note = byId(`${this.#name}-empty`);
    if (note !== null) {
      show(note, items.length === 0 && folded === 0);
      setText(note, empty);
    }
  }

  get limit() {
    return this.#limit;
  }
}

class Page {
  #state;
  #filters;
  #connection;
  #sections;
  #drawnAt = 0;
  #due = false;
  #options = {};
  #page = null;
  #phase = "connecting";

  constructor() {
    const announcer = new Announcer(byId("announcements"));
    const redraw = () => this.#soon();
    this.#state = new State((kind, text) => announcer.say(kind, text));
    this.#filters = new Filters(() => {
      this.#showFilters();
      redraw();
    });
    const section = (name, makeRow, limit) => new Section(name, byId(`${name}-rows`) ?? byId(`${name}-list`), makeRow, limit, redraw);
    this.#sections = {
      alerts: section("alerts", alertRow, 5),
      servers: section("servers", serverRow, FEW_SERVERS),
      running: section("running", runningRow, 25),
      batches: section("batches", batchRow, 5),
      queue: section("queue", queueRow, 12),
      results: section("results", resultRow, 20),
    };
    this.#connection = new Connection({
      learned: (about, skew) => this.#learned(about, skew),
      connected: () => this.#connected(),
      heard: (message) => this.#heard(message),
      lost: () => this.#lost(),
      refused: (why, again) => this.#refused(why, again),
    });
  }

  start() {
    this.#listen();
    this.#showFilters();
    this.#connection.connect();
    setInterval(() => document.hidden || this.#soon(), 1000);
    setInterval(() => document.hidden || this.#phase !== "live" || this.#readMemory(), MEMORY_EVERY);
    this.#soon();
  }

  // What happens

  #learned(about, skew) {
    // After an upgrade: a page of before may not know what the exporter says now. All it shows is in its address.
    if (this.#page !== null && this.#page !== about.page) location.reload();
    this.#page = about.page;
    this.#state.about = about;
    this.#state.skew = skew;
    this.#showLinks();
  }

  #connected() {
    this.#state.connected();
    this.#phase = "waiting";
    show(byId("notice"), false);
    this.#soon();
  }

  #heard(message) {
    const complete = this.#state.hear(message);
    if (complete) {
      this.#phase = "live";
      this.#readMemory();
      this.#readHistory();
    }
    this.#soon();
    return complete;
  }

  #lost() {
    if (this.#phase !== "refused") this.#phase = this.#state.complete ? "lost" : "unreachable";
    this.#soon();
  }

  #refused(why, again) {
    this.#phase = "refused";
    const words = {
      token: again
        ? "The token is not accepted. Enter the one of push.token_file."
        : "The push service asks for a token, the one of push.token_file. It is kept until this tab is closed.",
      other_origin:
        `Pages of ${location.origin} may not connect, since anybody could point this name at the exporter. ` +
        "Give the exporter --web.external-url with this address, or list it in push.allowed_origins; or open the page by IP address.",
    };
    setText(byId("notice-text"), words[why] ?? "The exporter does not let this page connect.");
    show(byId("token-form"), why === "token");
    show(byId("notice"), true);
    this.#soon();
  }

  async #readMemory() {
    await this.#read("api/v1/servers", ({ items }) => this.#state.learnMemory(items));
  }

  async #readHistory() {
    const query = new URLSearchParams(ENDED_STATUSES.map((status) => ["status", status]));
    await this.#read(`api/v1/jobs?${query}&limit=${PAGE_OF_RESULTS}`, ({ items }) => this.#state.remember(items));
  }

  /** What cannot be read is left as it was: the socket has all that matters. */
  async #read(path, take) {
    try {
      take((await ask(path)).body);
      this.#soon();
    } catch (error) {
      console.warn(error);
    }
  }

  #listen() {
    for (const name of ["server", "job_type", "status"]) {
      byId(name).addEventListener("change", ({ target }) => this.#filters.set({ [name]: target.value }));
    }
    byId("q").addEventListener("input", ({ target }) => this.#filters.set({ q: target.value }, { replace: true }));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("clear").addEventListener("click", () => {
      this.#filters.set({ server: "", job_type: "", status: "", q: "" });
      byId("q").focus();
    });
    byId("retry").addEventListener("click", () => this.#connection.tryNow());
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem("token", byId("token").value.trim());
      byId("token").value = "";
      this.#phase = "connecting";
      this.#connection.connect();
    });
    byId("main").addEventListener("click", (event) => this.#followFilter(event));
  }

  /** A link to a filter is a link, so that it can be opened in another tab; followed here, nothing is loaded anew. */
  #followFilter(event) {
    const link = event.target.closest("a.filter");
    if (link === null || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.#filters.set({ ...link.dataset });
  }

  // What is drawn

  #soon() {
    if (this.#due) return;
    this.#due = true;
    const wait = this.#drawnAt + DRAW_EVERY - performance.now();
    const frame = () => requestAnimationFrame(() => this.#draw());
    if (wait > 0) setTimeout(frame, wait);
    else frame();
  }

  #draw() {
    this.#due = false;
    this.#drawnAt = performance.now();
    this.#state.tidy();
    const context = this.#context();
    this.#drawConnection();
    setAttribute(document.body, "data-phase", this.#phase);
    setAttribute(byId("main"), "aria-busy", this.#state.complete ? null : "true");
    // Half a snapshot would show what is not so.
    if (!this.#state.complete) return;
    this.#drawSummary(context);
    this.#drawOptions();
    this.#drawAlerts(context);
    this.#drawServers(context);
    this.#drawJobs(context);
    this.#drawBatches(context);
  }

  /** What rows need besides their own item. */
  #context() {
    const open = [...this.#state.open.values()];
    const running = open.filter(isRunning);
    return {
      state: this.#state,
      filters: this.#filters,
      now: this.#state.now(),
      open,
      // One that is finishing has left the queue: what its server works on is the other.
      runningOn: new Map(running.filter(({ status }) => status !== "completing").map((job) => [job.server, job])),
      down: new Set([...this.#state.servers.values()].filter(({ up }) => up === false).map(({ server }) => server)),
      stalledOn: new Set(running.filter((job) => job.stalled).map((job) => job.server)),
      starts: expectedStarts(open),
    };
  }

  #drawConnection() {
    const { lastHeard, nextTry } = this.#connection;
    const rest = nextTry === null ? "" : `, next try in ${Math.max(1, Math.ceil((nextTry - Date.now()) / 1000))} s`;
    const since = lastHeard === null ? "" : `, last update ${clock(lastHeard)}`;
    const words = {
      connecting: "Connecting …",
      waiting: this.#state.complete ? "Connected" : "Connected, waiting for the first look at the servers …",
      live: "Live",
      lost: `Connection lost${since}${rest}`,
      unreachable: `The exporter does not answer${rest}`,
      refused: "Not connected",
    };
    setText(byId("connection-text"), words[this.#phase]);
    setAttribute(byId("connection"), "data-state", this.#phase);
    show(byId("retry"), nextTry !== null);
  }

  #drawSummary({ open, now }) {
    const servers = [...this.#state.servers.values()].filter(({ server }) => this.#filters.wantsServer(server));
    const sum = (name) => servers.reduce((total, server) => total + (server[name] ?? 0), 0);
    const up = servers.filter((server) => server.up === true).length;
    const drains = servers.filter((server) => server.pending + server.running > 0).map((server) => (server.up === false ? null : server.drain_seconds));
    const known = drains.filter((rest) => rest !== null);
    const last = Math.max(0, ...known);
    const drained = known.length === drains.length ? (last === 0 ? "now" : ahead(last)) : last === 0 ? "–" : `over ${duration(last < MIN ? last : last - (last % MIN))}`;
    const recent = [...this.#state.results.values()].filter((job) => this.#filters.wantsServer(job.server) && now - Date.parse(job.ended_at) < HOUR * 1000);
    const failed = recent.filter((job) => job.status === "failed").length;
    const stalled = open.filter((job) => job.stalled && this.#filters.wantsServer(job.server)).length;
    const facts = [
      { name: "Servers up", text: `${up} of ${servers.length}`, bad: up < servers.length },
      { name: "Running", text: grouped(sum("running")), status: "processing" },
      { name: "Waiting", text: grouped(sum("pending")), status: "queued" },
      { name: "Queues empty", text: drained },
      { name: "Failed in 1 h", text: `${grouped(failed)} of ${grouped(recent.length)}`, bad: failed > 0, status: "failed" },
      { name: "Stalled", text: grouped(stalled), bad: stalled > 0, status: "stalled" },
    ];
    this.#summary ??= new Rows(byId("summary"), summaryRow);
    this.#summary.draw(facts, ({ name }) => name, this.#filters);
    setText(document.querySelector("title"), `${grouped(sum("running"))} running, ${grouped(sum("pending"))} waiting – ComfyUI`);
  }

  #summary;

  #drawOptions() {
    const jobs = [...this.#state.open.values(), ...this.#state.results.values()];
    this.#offer("server", [...this.#state.servers.keys()]);
    this.#offer("job_type", jobs.map((job) => job.job_type));
  }

  /** Rebuilds a select only when what it offers has changed: an open one would close. */
  #offer(name, values) {
    const chosen = this.#filters[name];
    const offered = [...new Set(chosen === "" ? values : [...values, chosen])].sort(collator.compare);
    const key = JSON.stringify(offered);
    if (this.#options[name] === key) return;
    this.#options[name] = key;
    const select = byId(name);
    select.replaceChildren(make("option", { value: "" }, "all"), ...offered.map((value) => make("option", { value }, short(value, 60))));
    select.value = chosen;
  }

  #drawAlerts(context) {
    const alerts = [...this.#state.alerts.values()].filter(
      ({ labels }) => this.#filters.server === "" || labels.server === undefined || labels.server === this.#filters.server,
    );
    const place = (alert) => (alert.status === "resolved" ? 4 : SEVERITIES.indexOf(alert.labels.severity) + 1 || 3.5);
    alerts.sort((one, other) => place(one) - place(other) || Date.parse(other.startsAt) - Date.parse(one.startsAt));
    show(byId("alerts-section"), alerts.length > 0);
    const firing = alerts.filter(({ status }) => status === "firing").length;
    this.#sections.alerts.draw(alerts, ({ key }) => key, context, { total: firing });
  }

  #drawServers(context) {
    const servers = [...this.#state.servers.values()].filter(({ server }) => this.#filters.wantsServer(server));
    const byName = (one, other) => collator.compare(one.server, other.server);
    const options = { empty: this.#filters.server === "" ? "No server is watched." : `No server ${this.#filters.server} is watched.`, total: servers.length };
    servers.sort(byName);
    const section = this.#sections.servers;
    if (servers.length <= section.limit) {
      section.draw(servers, ({ server }) => server, context, options);
      return;
    }
    // Of many, those first that need somebody, then those that work; the idle ones are folded away.
    const place = (server) => (server.up === false ? 0 : context.stalledOn.has(server.server) ? 1 : server.running > 0 || server.pending > 0 ? 2 : 3);
    const active = servers.filter((server) => place(server) < 3).sort((one, other) => place(one) - place(other) || byName(one, other));
    section.draw(active, ({ server }) => server, context, { ...options, folded: servers.length - active.length, foldedAs: "idle servers" });
  }

  #drawJobs(context) {
    const wanted = (job) => this.#filters.wants(job, this.#state.haystack);
    const [running, waiting] = [context.open.filter((job) => isRunning(job) && wanted(job)), context.open.filter((job) => !isRunning(job) && wanted(job))];
    running.sort((one, other) => collator.compare(one.server ?? "", other.server ?? "") || collator.compare(one.run_id, other.run_id));
    const place = (job) => job.queue_position ?? Infinity;
    waiting.sort((one, other) => (place(one) === place(other) ? 0 : place(one) - place(other)) || collator.compare(one.server ?? "", other.server ?? "") || collator.compare(one.run_id, other.run_id));
    const results = [...this.#state.results.values()].filter(wanted).sort(byEnd);
    const none = (words) => (this.#filters.any ? `No ${words} matches the filters.` : `No ${words}.`);
    const key = (job) => job.run_id;
    this.#drawSection("running", running, key, context, { empty: none("running job") });
    this.#drawSection("queue", waiting, key, context, { empty: none("waiting job") });
    this.#drawSection("results", results, key, context, { empty: none("recent result") });
  }

  #drawSection(name, items, keyOf, context, options) {
    show(byId(name).closest("section"), this.#filters.wantsSection(name));
    this.#sections[name].draw(items, keyOf, context, options);
  }

  #drawBatches(context) {
    const active = [...this.#state.batches.values()].filter(({ counts, total }) => {
      const ended = ENDED_STATUSES.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
      return ended < total;
    });
    const words = this.#filters.words;
    const shown = active.filter(({ batch_id }) => words.every((word) => batch_id.toLowerCase().includes(word)));
    shown.sort((one, other) => collator.compare(one.batch_id, other.batch_id));
    show(byId("batches-section"), shown.length > 0 && this.#filters.status === "" && this.#filters.server === "" && this.#filters.job_type === "");
    this.#sections.batches.draw(shown, ({ batch_id }) => batch_id, context);
  }

  #showFilters() {
    for (const name of Filters.NAMES) {
      const field = byId(name);
      if (field.value !== this.#filters[name]) field.value = this.#filters[name];
    }
    if (this.#state.complete) this.#drawOptions();
    show(byId("clear"), this.#filters.any);
  }

  #showLinks() {
    const { links, version, metrics } = this.#state.about;
    const names = { grafana: "Grafana", prometheus: "Prometheus", alertmanager: "Alertmanager" };
    const known = Object.entries(names).filter(([name]) => webAddress(links[name]) !== null);
    byId("links").replaceChildren(...known.map(([name, word]) => elsewhere(webAddress(links[name]), word)));
    byId("footer").replaceChildren(`comfyui-exporter ${version} · `, make("a", { href: metrics }, "metrics"), " · ", make("a", { href: "api/v1/jobs" }, "jobs as JSON"));
  }
}

/** A number of the summary, that leads to the jobs behind it and back again. */
function summaryRow({ status }) {
  const [name, value] = [make("dt"), make("dd")];
  const link = status === undefined ? value : make("a", { class: "filter" });
  if (link !== value) value.append(link);
  return {
    node: make("div", {}, name, value),
    update({ name: label, text, bad = false }, filters) {
      setText(name, label);
      setText(link, text);
      setAttribute(value, "data-tone", bad ? "bad" : null);
      if (link === value) return;
      const chosen = filters.status === status;
      link.dataset.status = chosen ? "" : status;
      setAttribute(link, "href", filters.address({ status: link.dataset.status }));
      setAttribute(link, "aria-current", chosen ? "true" : null);
      setAttribute(link, "title", chosen ? "Show all jobs again" : "Show these jobs alone");
    },
  };
}

/** Light, dark, or what the system says. */
class Theme {
  static CHOICES = ["auto", "light", "dark"];

  /** Before anything is drawn. */
  static apply() {
    const chosen = localStorage.getItem("theme");
    const theme = Theme.CHOICES.includes(chosen) ? chosen : "auto";
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    return theme;
  }

  static listen(button) {
    setText(button, `Theme: ${Theme.apply()}`);
    button.addEventListener("click", () => {
      const at = Theme.CHOICES.indexOf(Theme.apply());
      localStorage.setItem("theme", Theme.CHOICES[(at + 1) % Theme.CHOICES.length]);
      setText(button, `Theme: ${Theme.apply()}`);
    });
  }
}

Theme.listen(byId("theme"));
for (const [value, word] of Object.entries({ "": "all", ...FILTER_STATUSES })) byId("status").append(make("option", { value }, word));
new Page().start();
