// The end of a job's output, as it is written.

const KEEP_CHARS = 300_000; // a page that is left open does not grow
const PAUSE_MS = 300;
const AFTER_FAULT_MS = 5000;
const LINES = 200;
const OVER = new Set(["JOB_FINISHED", "FAILED", "RUN_DONE", "RUN_ERROR", "POSTPROCESSED", "STAGED_OUT"]);

for (const box of document.querySelectorAll(".tail")) new Tail(box).start();

function Tail(box) {
  const output = box.querySelector("pre");
  const state = box.querySelector(".tail-state");
  const button = box.querySelector(".follow");
  const attempt = box.dataset.attempt; // none: the last one
  let offset = null;
  let following = true;
  let run = null;
  let failed = false; // then the next answer is not waited for: it shows that the server is back
  let abort = new AbortController();

  this.start = () => {
    button.addEventListener("click", () => {
      following = !following;
      button.setAttribute("aria-pressed", String(following));
      if (following) follow();
      else abort.abort();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) abort.abort();
      else if (following) follow();
    });
    // A job that has ended may run again.
    document.addEventListener("balsam:changed", (event) => {
      if (following && abort.signal.aborted && event.detail.kinds.includes("jobs")) follow();
    });
    follow();
  };

  async function follow() {
    abort.abort();
    abort = new AbortController();
    const mine = abort;
    while (!mine.signal.aborted) {
      try {
        const piece = await ask(mine.signal);
        failed = piece === null;
        if (piece === null) {
          await pause(AFTER_FAULT_MS);
          continue;
        }
        // The next run begins a file of its own.
        const isAnother = !attempt && run !== null && piece.num_runs !== run;
        run = piece.num_runs;
        if (isAnother) { offset = null; output.textContent = ""; continue; }
        append(piece.text);
        offset = piece.offset;
        const isEarlier = attempt && Number(attempt) < piece.num_runs;
        const isOver = isEarlier || OVER.has(piece.state);
        say(isEarlier ? "an earlier attempt" : isOver ? `${piece.state}: it ends here` : piece.state === "RUNNING" ? "following" : piece.state);
        if (isOver && !piece.text) { mine.abort(); break; }
        await pause(PAUSE_MS);
      } catch (fault) {
        if (mine.signal.aborted) return;
        failed = true;
        say("the server can't be reached");
        await pause(AFTER_FAULT_MS);
      }
    }
  }

  async function ask(signal) {
    const query = offset === null ? `lines=${LINES}` : `after=${offset}&follow=${!failed}`;
    const which = attempt ? `&attempt=${attempt}` : "";
    const answer = await fetch(`${box.dataset.address}?${query}${which}`, { headers: { accept: "application/json" }, signal });
    if (answer.ok) return answer.json();
    say(await answer.text());
    return null;
  }

  function append(text) {
    if (!text) return;
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    const whole = output.textContent + text; // as text: whatever it holds, it is never HTML
    output.textContent = whole.length > KEEP_CHARS ? whole.slice(-KEEP_CHARS) : whole;
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }
}

function pause(ms) {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}
