// A user's round. The server knows how far it has come; this page shows one picture after the other and measures time.
"use strict";

const FIXATION_MS = 400;
const FEEDBACK_MS = 1300;
const RETRY_MS = 2000;
const { trials, training, exposure } = Object.fromEntries(
  Object.entries(document.body.dataset).map(([name, value]) => [name, Number(value)]),
);
const element = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const pictures = new Map(); // id -> a decoded image
let user = null;
let order = [];
let place = 0;

// What a reload needs: the user's id, and an answer that the server has not confirmed yet.
// A browser that stores nothing for this page plays one round without reload.
const memory = {
  key: (name) => `study ${location.pathname} ${name}`,
  storage: (use) => {
    try {
      return use(localStorage);
    } catch {
      return null;
    }
  },
  get: (name) => JSON.parse(memory.storage((storage) => storage.getItem(memory.key(name)))),
  set: (name, value) => memory.storage((storage) => storage.setItem(memory.key(name), JSON.stringify(value))),
  remove: (name) => memory.storage((storage) => storage.removeItem(memory.key(name))),
};

class Paused extends Error {}

function show(id) {
  for (const part of document.querySelectorAll("main")) part.hidden = part.id !== id;
}

// Asks until there is an answer: neither a lost connection nor a restarted server loses anything.
async function request(method, path, body) {
  for (;;) {
    let problem = "The connection is lost.";
    try {
      const response = await fetch(path, {
        method,
        headers: { "Content-Type": "application/json" },
        body: body && JSON.stringify(body),
      });
      if (response.ok) return await response.json();
      if (response.status === 404 || response.status === 409) return response.status;
      problem = (await response.json()).detail;
    } catch (error) {
      console.warn(error);
    }
    say(`${problem} Trying again …`, "wrong");
    await sleep(RETRY_MS);
    say("");
  }
}

function say(text, kind = "") {
  for (const id of ["message", "loading"]) {
    element(id).textContent = text;
    element(id).className = id === "loading" ? "soft" : kind;
  }
}

async function prepare() {
  user = memory.get("user");
  const unsent = memory.get("unsent");
  if (user && unsent) await request("POST", `users/${user}/answers`, unsent);
  memory.remove("unsent");
  let state = user && (await request("GET", `users/${user}`));
  if (state === 404) {
    memory.remove("user");
    user = state = null;
  }
  if (state) ({ order, place } = state);
  if (state?.result) return finish(state.result);
  element("begin").textContent = place ? `Go on with picture ${place + 1}` : "Begin";
  element("begin").disabled = false;
  element("begin").focus();
}

async function begin() {
  element("begin").disabled = true;
  if (!user) {
    ({ user } = await request("POST", "users"));
    memory.set("user", user);
    ({ order, place } = await request("GET", `users/${user}`));
  }
  await preload();
  show("trial");
  try {
    for (;;) {
      const reply = await trial();
      place = reply.place;
      if (reply.result) return finish(reply.result);
    }
  } catch (error) {
    if (!(error instanceof Paused)) throw error;
    say("");
    show("start");
    element("begin").textContent = `Go on with picture ${place + 1}`;
    element("begin").disabled = false;
    element("begin").focus();
  }
}

async function preload() {
  const missing = order.slice(place).filter((id) => !pictures.has(id));
  let loaded = 0;
  await Promise.all(
    missing.map(async (id) => {
      const picture = new Image();
      picture.alt = "";
      picture.draggable = false;
      for (;;) {
        picture.src = `images/${id}.png`;
        try {
          await picture.decode();
          break;
        } catch {
          await sleep(RETRY_MS);
          picture.removeAttribute("src");
        }
      }
      pictures.set(id, picture);
      loaded += 1;
      element("loading").textContent = `Loading pictures: ${loaded} of ${missing.length}`;
    }),
  );
  say("");
}

// One picture: a dot, the picture for its second, the answer, in the training whether it was right.
async function trial() {
  const stage = element("stage");
  const practice = place < training;
  element("phase").textContent = practice
    ? `Practice ${place + 1} of ${training}`
    : `Picture ${place - training + 1} of ${trials - training}`;
  element("progress").value = place;
  const dot = document.createElement("span");
  dot.className = "fixation";
  stage.replaceChildren(dot);
  await unlessPaused(sleep(FIXATION_MS));

  const picture = pictures.get(order[place]);
  const shownAt = await unlessPaused(nextFrame());
  stage.replaceChildren(picture);
  const answered = nextAnswer();
  let hiddenAt, answer;
  try {
    // A frame that begins less than half a frame too early is nearer to the second than the one after it.
    const halfFrame = 8;
    do hiddenAt = await unlessPaused(nextFrame());
    while (hiddenAt - shownAt < exposure - halfFrame);
    stage.replaceChildren();
    if (!answered.isGiven) say("Real or generated?");
    answer = await unlessPaused(answered.given);
  } finally {
    answered.stop();
    say("");
  }
  const record = {
    place,
    said_generated: answer.generated,
    shown_ms: hiddenAt - shownAt,
    reaction_ms: Math.max(0, answer.time - shownAt),
  };
  memory.set("unsent", record);
  const reply = await request("POST", `users/${user}/answers`, record);
  if (typeof reply === "number") return location.reload(), sleep(1e9); // answered elsewhere: ask anew where we are
  memory.remove("unsent");
  place = reply.place;
  if (practice && reply.generated !== null) {
    const right = reply.generated === record.said_generated;
    say(`${right ? "✓ Right" : "✗ Wrong"}: ${reply.generated ? "generated" : "real"}.`, right ? "right" : "wrong");
    stage.replaceChildren(picture);
    await unlessPaused(sleep(FEEDBACK_MS));
    say("");
  }
  for (const id of ["real", "generated"]) element(id).classList.remove("pressed");
  return reply;
}

// The first key or touch counts; a key held down, or hit twice, is one answer.
function nextAnswer() {
  const keys = { ArrowLeft: false, r: false, ArrowRight: true, g: true };
  const stop = new AbortController();
  const answered = { stop: () => stop.abort(), isGiven: false };
  answered.given = new Promise((resolve) => {
    const take = (generated, time) => {
      stop.abort();
      answered.isGiven = true;
      element(generated ? "generated" : "real").classList.add("pressed");
      resolve({ generated, time });
    };
    const { signal } = stop;
    document.addEventListener("keydown", (event) => {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!(key in keys) || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      take(keys[key], event.timeStamp);
    }, { signal });
    for (const id of ["real", "generated"])
      element(id).addEventListener("click", (event) => take(id === "generated", event.timeStamp), { signal });
  });
  return answered;
}

// A page that is not seen shows nothing: the round pauses, and the picture that was on is shown again.
function unlessPaused(promise) {
  const stop = new AbortController();
  const paused = new Promise((_, reject) => {
    const check = () => document.hidden && reject(new Paused());
    check();
    document.addEventListener("visibilitychange", check, { signal: stop.signal });
  });
  return Promise.race([promise, paused]).finally(() => stop.abort());
}

function finish(result) {
  element("real-as-generated").textContent = `${result.real_as_generated} of ${result.of_each}`;
  element("generated-as-real").textContent = `${result.generated_as_real} of ${result.of_each}`;
  show("done");
  document.querySelector("#done h1").focus();
}

element("begin").addEventListener("click", begin);
element("next").addEventListener("click", () => {
  memory.remove("user");
  location.reload();
});
prepare();
