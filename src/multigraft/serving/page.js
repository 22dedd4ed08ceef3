"use strict";
const at = (id) => document.getElementById(id);
const show = (id, yes) => { at(id).hidden = !yes; };
const per = (share) => `${(100 * share).toFixed(1)} %`;
let token = sessionStorage.getItem("token");
let served = null;

function make(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function word(...children) {
  const made = make("td", ...children);
  made.className = "word";
  return made;
}

function meter(share) {
  const bar = make("span"), cell = make("td", bar);
  bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  cell.className = "meter";
  return cell;
}

function fill(table, heads, rows) {
  const head = make("tr", ...heads.map(([name, words]) => {
    const made = make("th", name);
    made.scope = "col";
    if (words) made.className = "word";
    return made;
  }));
  at(table).replaceChildren(make("thead", head), make("tbody", ...rows));
}

async function call(path, body) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (reply.status === 401) {
    const was = token;
    token = null;
    sessionStorage.removeItem("token");
    shut(was === null ? "" : "This is not the token of the server.");
    throw null;
  }
  const found = await reply.json().catch(() => ({ error: `${reply.status} ${reply.statusText}` }));
  if (!reply.ok) throw new Error(found.error);
  return found;
}

function shut(why) {
  for (const id of ["ask", "routed", "written", "answered", "mapped", "served", "program"]) show(id, false);
  show("door", true);
  at("token").focus();
  complain(why);
}

function complain(what) {
  at("fault").textContent = what;
  show("fault", Boolean(what));
}

async function guarded(work) {
  complain("");
  try {
    await work();
  } catch (error) {
    if (error !== null) complain(error instanceof TypeError ? "The server does not answer." : error.message);
  }
}

const scores = (entry) => Object.entries(entry.scores || {}).map(([name, score]) => `${name} ${score.toFixed(1)}`).join(", ");

function says(entry) {
  if (entry.kind === "number") return `a number, ${entry.range[0]} to ${entry.range[1]}`;
  if (entry.kind === "text") return "a text";
  return entry.choices ? entry.choices.join(", ") : `an option of the row, in ${entry.choices_field}`;
}

function describe() {
  const library = served.kind === "library", count = served.tasks.length;
  const noun = served.kind === "model" ? "task" : "expert";
  document.title = served.name;
  at("name").textContent = served.name;
  at("kind").textContent = `Multigraft ${served.version} · ${served.kind}`;
  at("about").textContent = `${count} ${noun}${count === 1 ? "" : "s"} on one server. Give a text, and all that fit answer it in one batch.`;
  const heads = [[noun, true], ["answers with", true], ["reads", true]];
  if (library) heads.push(["trained on", true], ["method", true], ["dev scores", true]);
  fill("entries", heads, served.tasks.map((entry) => {
    const row = make("tr", word(entry.name), word(says(entry)), word(entry.inputs ? entry.inputs.join(", ") : "texts"));
    if (library) row.append(word(entry.task || ""), word(entry.method || ""), word(scores(entry)));
    return row;
  }));
  const pairs = served.tasks.some((entry) => entry.kind !== "text" && (!entry.inputs || entry.inputs.length === 2));
  show("second", pairs && served.offers.includes("predict"));
  const writers = served.tasks.filter((entry) => entry.kind === "text");
  at("writer").replaceChildren(...writers.map((entry) => make("option", entry.name)));
  show("pick", served.offers.includes("generate") && writers.length > 1);
  show("ask", true);
  show("served", true);
}

async function programs() {
  const described = await call("/openapi.json");
  const rows = Object.entries(described.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) =>
    make("tr", word(make("code", `${method.toUpperCase()} ${path}`)), word(about.description || about.summary))));
  fill("paths", [["request", true], ["what it does", true]], rows);
  const path = served.offers.includes("predict") ? "predict" : "generate";
  const key = token === null ? "" : ' \\\n  -H "Authorization: Bearer $MULTIGRAFT_TOKEN"';
  const body = path === "predict" ? { text: "…" } : { text: "…", expert: at("writer").value };
  at("example").textContent = `curl ${location.origin}/${path}${key} \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(body)}'`;
  show("program", true);
  if (location.pathname === "/docs") at("program").scrollIntoView();
}

async function drawMap() {
  if (!served.map) return;
  const drawn = await call("/map");
  const [wide, narrow] = at("mapped").querySelectorAll("figure > div");
  wide.innerHTML = drawn.wide;
  narrow.innerHTML = drawn.narrow;
  show("mapped", true);
}

function showRoute(found) {
  at("decision").textContent = found.reason;
  fill("nearest", [["expert", true], ["similarity"], [""]], found.nearest.slice(0, 10).map((one) => {
    const row = make("tr", word(one.expert), make("td", one.similarity.toFixed(3)), meter(one.similarity));
    if (one.expert === found.expert) row.className = "first";
    return row;
  }));
  show("routed", true);
}

function showAnswers(found, first) {
  const order = Object.entries(found.answers).sort(([a], [b]) => (b === first) - (a === first));
  const ranges = Object.fromEntries(served.tasks.map((entry) => [entry.name, entry.range]));
  const rows = order.flatMap(([name, answer]) => {
    const number = answer.number !== null && answer.number !== undefined;
    const [low, high] = number ? ranges[name] : [0, 1];
    const share = number ? (answer.number - low) / (high - low) : answer.probability;
    const said = number ? answer.number.toFixed(2) : answer.choice;
    const row = make("tr", word(name), word(said), make("td", number ? `${low} to ${high}` : per(share)), meter(share));
    if (name === first) row.className = "first";
    const rest = Object.entries(answer.probabilities || {}).filter(([option]) => option !== answer.choice);
    if (!rest.length) return [row];
    const line = word(rest.sort((a, b) => b[1] - a[1]).map(([option, chance]) => `${option} ${per(chance)}`).join(" · "));
    line.colSpan = 3;
    const others = make("tr", make("td"), line);
    others.className = "others";
    return [row, others];
  });
  fill("answers", [[served.kind === "library" ? "expert" : "task", true], ["answer", true], ["probability"], [""]], rows);
  show("answered", true);
}

async function answer() {
  const pair = at("second").hidden ? "" : at("pair").value.trim();
  const row = pair ? { texts: [at("text").value, pair] } : { text: at("text").value };
  const offers = (name) => served.offers.includes(name);
  const started = performance.now();
  at("go").disabled = true;
  try {
    const [route, answers, text] = await Promise.all([
      offers("route") ? call("/route", row) : null,
      offers("predict") ? call("/predict", row) : null,
      offers("generate") ? call("/generate", { text: at("text").value, expert: at("writer").value }) : null,
    ]);
    if (route) showRoute(route);
    if (text) {
      at("output").textContent = text.output || "(nothing)";
      show("written", true);
    }
    if (answers) showAnswers(answers, route && route.expert);
    at("took").textContent = `${Math.round(performance.now() - started)} ms`;
  } finally {
    at("go").disabled = false;
  }
}

async function enter() {
  served = await call("/tasks");
  show("door", false);
  describe();
  await Promise.all([drawMap(), programs()]);
  const given = new URLSearchParams(location.search).get("text");  // a link may bring a text
  if (given) {
    at("text").value = given;
    await answer();
  }
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  guarded(async () => {
    await enter();
    sessionStorage.setItem("token", token);
  });
});
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(answer);
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
guarded(enter);
