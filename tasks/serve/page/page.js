"use strict";
// All that comes from texts is set as textContent: none of it is read as HTML.

const STRONG = 0.35, FAINT = 0.08, LISTED = 6, UNSURE = 0.6;
const at = (id) => document.getElementById(id);

function element(name, text, classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = classes;
  return made;
}

function showError(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

async function answerOf(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error || `the server answers ${response.status}`);
}

async function post(path, content) {
  const json = !(content instanceof FormData);
  const options = { method: "POST", body: json ? JSON.stringify(content) : content };
  if (json) options.headers = { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("no answer from the server: is it running?");
  }
  return answerOf(response);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function showClasses(answer) {
  const rows = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const several = "labels" in answer;
  at("answer").textContent = several ? answer.labels.join(", ") || "no label" : `${answer.label} (${percent(answer.probability)})`;
  at("classes").tBodies[0].replaceChildren(...rows.map(([name, share], place) => {
    const row = element("tr", "", (several ? answer.labels.includes(name) : place === 0) ? "best" : "");
    const head = element("th", name);
    head.scope = "row";
    const bar = element("td", "", "bar"), fill = element("i", "");
    fill.style.setProperty("--share", share);
    bar.append(fill);
    row.append(head, bar, element("td", percent(share), "n"));
    return row;
  }));
  at("classes").hidden = false;
}

function showTags(answer) {
  at("answer").replaceChildren(...answer.tokens.map((token, place) => {
    const unsure = answer.probabilities[place] < UNSURE;
    const word = element("span", token, `word tagged${unsure ? " unsure" : ""}`);
    word.append(element("small", answer.tags[place]));
    word.title = percent(answer.probabilities[place]);
    return word;
  }));
  at("classes").hidden = true;
}

function pieceOf({ text, effect, share, unknown, unread }) {
  if (unread) {
    const rest = element("span", text, "soft unread");
    rest.title = `${unread} words that the model does not read`;
    return rest;
  }
  if (effect === null) return text;
  const strength = Math.abs(share);
  const kind = strength < FAINT ? "" : share > 0 ? "for" : "against";
  const word = element("span", text, `word ${kind}${kind && strength >= STRONG ? " strong" : ""}${unknown ? " unknown" : ""}`);
  word.style.setProperty("--alpha", 0.55 * strength);
  word.title = signed(effect);
  return word;
}

function signed(effect) {
  return `${effect < 0 ? "\u2212" : "+"}${Math.abs(effect).toFixed(2)}`;
}

function showEffects(found) {
  at("effects").hidden = found === null;
  if (found === null) return;
  const how = found.exact ? "parts of the words in" : "effects of the words on";
  at("about").textContent = `Why ${found.label}: ${how} its ${found.quantity}`;
  at("words").replaceChildren(...found.pieces.map(pieceOf));
  const order = found.words.filter((own) => Math.abs(own.share) >= FAINT).sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect)).slice(0, LISTED);
  at("strongest").replaceChildren(
    ...order.map((own) => element("li", `${own.token}: ${signed(own.effect)}, ${own.effect < 0 ? "against" : "for"} it`)));
  at("notes").replaceChildren(...found.notes.map((line) => element("li", line)));
}

let latest = 0;

async function predict(text) {
  const own = ++latest;
  showError("");
  at("predict").disabled = true;
  try {
    const { answer } = await (await post("predict", { text })).json();
    if (own !== latest) return;
    at("effects").hidden = true;
    at("result").hidden = false;
    if (answer === null) {
      at("answer").textContent = "No prediction: the text has no words.";
      at("classes").hidden = true;
      return;
    }
    if ("tags" in answer) showTags(answer); else showClasses(answer);
    const { explanation } = await (await post("explain", { text })).json();
    if (own === latest) showEffects(explanation);
  } catch (error) {
    if (own === latest) showError(error.message);
  } finally {
    if (own === latest) at("predict").disabled = false;
  }
}

async function predictFile() {
  const form = new FormData();
  form.append("file", at("file").files[0]);
  if (at("column").value.trim()) form.append("text_column", at("column").value.trim());
  showError("");
  at("state").textContent = "predicting\u2026";
  at("upload").disabled = true;
  try {
    const content = await (await post("predict", form)).blob();
    const link = element("a", "predictions.csv");
    link.href = URL.createObjectURL(content);
    link.download = "predictions.csv";
    at("state").replaceChildren("Done: ", link);
    link.click();
  } catch (error) {
    at("state").textContent = "";
    showError(error.message);
  } finally {
    at("upload").disabled = false;
  }
}

async function start() {
  at("one").addEventListener("submit", (event) => { event.preventDefault(); predict(at("text").value); });
  at("many").addEventListener("submit", (event) => { event.preventDefault(); predictFile(); });
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("one").requestSubmit();
  });
  try {
    const health = await (await answerOf(await fetch("health"))).json();
    at("title").textContent = health.run;
    document.title = `${health.run} \u2013 seqtwin`;
    at("run").textContent = `${health.model}, predicts ${health.predicts}; computed by ${health.evaluator}`;
  } catch (error) {
    showError(error.message);
  }
  const text = new URLSearchParams(location.search).get("text");
  if (text) {
    at("text").value = text;
    predict(text);
  }
}

start();
