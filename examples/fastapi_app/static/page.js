// Submits a job and shows how far it is: by the socket, and by asking once whenever the socket opens.

const element = (id) => document.getElementById(id);
const ENDED = new Set(["completed", "failed", "cancelled"]);
const LONGEST_WAIT = 30_000; // ms between tries to connect

let job = null; // the id of the job that is shown
let ended = false;
let failures = 0;

function show(update) {
  if (update.job_id !== job || ended) return;
  ended = ENDED.has(update.status);
  element("bar").value = update.progress;
  element("status").textContent =
    `${update.status}, ${update.progress.toFixed(1)} %` + (update.error ? `: ${update.error}` : "");
  const ends = update.estimated_completion;
  element("ends").textContent = !ended && ends ? `Done at about ${new Date(ends).toLocaleTimeString()}` : "";
}

async function ask() {
  if (job === null) return;
  try {
    const response = await fetch(`/api/anime/jobs/${encodeURIComponent(job)}/progress`);
    if (response.ok) show(await response.json());
  } catch {
    // The socket is gone as well then, and will ask again when it is back.
  }
}

async function submit(event) {
  event.preventDefault();
  try {
    const response = await fetch("/api/anime/generate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ prompt: element("prompt").value }),
    });
    const answer = await response.json();
    if (answer.job_id === undefined) throw new Error(answer.error ?? `status ${response.status}`);
    [job, ended] = [answer.job_id, false];
    element("bar").value = 0;
    element("status").textContent = answer.status;
    await ask(); // it may have begun before we knew its id
  } catch (error) {
    element("status").textContent = `Not submitted: ${error.message}`;
  }
}

function connect() {
  const socket = new WebSocket(new URL("/ws", location.href.replace(/^http/, "ws")));
  socket.onopen = () => {
    failures = 0;
    ask();
  };
  socket.onmessage = (message) => show(JSON.parse(message.data));
  socket.onclose = () => {
    // Many pages lose their sockets at once when the server restarts; they shall not come back all at once.
    const wait = Math.min(LONGEST_WAIT, 500 * 2 ** failures++) * (0.5 + Math.random() / 2);
    setTimeout(connect, wait);
  };
}

element("form").addEventListener("submit", submit);
connect();
