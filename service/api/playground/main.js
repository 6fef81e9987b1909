// Holds what is asked and answered, and ties the page's controls to it.

import { key, load, patiently, rank, ServerError } from "./api.js";
import { $, copyText, h, ms, percent, texts } from "./dom.js";
import { judge, keepList, setUpLists } from "./judge.js";
import * as link from "./link.js";
import { bm25, places } from "./measures.js";
import { parse, unparse } from "./parse.js";
import { draw, drawReading, drawThreshold, highlight } from "./picture.js";
import { DIALECTS, hasDialect, NAMES, program } from "./snippets.js";
import { askKey, setUpKey, tell } from "./states.js";
import { forgetRuns, lengthTrial, shuffleTrial } from "./trials.js";

let presets = [];
let info = null;
let running = null; // aborts the request before
let hasExplanations = true; // until an answer has none
const state = { preset: 0, query: "", documents: [], relevant: new Set(), threshold: null, baseline: "given", other: "", otherOrder: null, result: null, selected: 0, scale: 1 };

const patience = (signal) => ({ tell, askKey, signal });

// Twice an even share, unless the list is so short that this is nearly everything.
const usualThreshold = (count) => Math.min(2 / count, (1 + 1 / count) / 2);
const threshold = () => state.threshold ?? usualThreshold(state.documents.length);

function before() {
  if (state.baseline === "bm25") return bm25(state.query, state.documents);
  if (state.baseline === "server" && state.otherOrder) return state.otherOrder;
  return [...state.documents.keys()];
}

async function run() {
  running?.abort();
  const mine = (running = new AbortController());
  const { query, documents } = state;
  stopTrials();
  forgetRuns();
  state.otherOrder = null;
  if (!query.trim() || !documents.length) {
    tell(new ServerError("refused", query.trim() ? "There are no texts to rank." : "Ask a question first."));
    return;
  }
  $("slopes").setAttribute("aria-busy", "true");
  try {
    const found = await patiently(() => rank(query, documents, { signal: mine.signal, explain: hasExplanations }), patience(mine.signal));
    if (mine.signal.aborted) return;
    hasExplanations &&= found.explanations.some(Boolean);
    state.result = found;
    state.selected = found.order[0];
    show();
    $("slopes").setAttribute("aria-busy", "false");
    showServer();
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof ServerError)) throw error;
  }
}

async function showServer() {
  info ??= await load("info").catch(() => null);
  if (info) $("server").textContent = `${info.served_model_name} on ${info.device}`;
}

function show() {
  const { result, documents } = state;
  if (!result || result.scores.length !== documents.length) return;
  state.scale = draw({ ...state, before: before(), after: result.order, scores: result.scores, explanations: result.explanations }, { select, tick });
  showThreshold();
  select(state.selected);
  judge(state, before);
  const took = result.timings.total ?? result.roundTripMs;
  const known = result.numKnown === null ? "" : `, ${result.numKnown} known before`;
  $("facts").replaceChildren(h("b", {}, `${texts(documents.length)} in ${ms(took)} ms`), result.numTokens === null ? "" : ` · ${result.numTokens.toLocaleString("en")} tokens${known}`);
  $("warnings").textContent = result.warnings.length ? `The server says: ${result.warnings.join("; ")}.` : "";
  showProgram();
  showLink();
}

function showThreshold() {
  drawThreshold(state.result.order, state.result.scores, threshold(), state.scale);
}

function select(index) {
  state.selected = index;
  for (const each of $("ranked").children)
    each.firstChild.setAttribute("aria-pressed", `${each.dataset.index === `${index}`}`);
  drawReading(state.documents[index], places(state.result.order)[index], state.result.explanations[index]);
  highlight(index);
}

function tick(index, isRelevant) {
  if (isRelevant) state.relevant.add(index);
  else state.relevant.delete(index);
  leavePreset();
  judge(state, before);
  showLink();
}

function leavePreset() {
  state.preset = null;
  $("note").textContent = "";
  showPresets();
}

function showPresets() {
  [...$("presets").children].forEach((each, i) => each.setAttribute("aria-pressed", `${i === state.preset}`));
}

function take({ query, documents, relevant = [], preset = null, threshold: line = null, baseline = "given", other = "" }) {
  Object.assign(state, { documents, relevant: new Set(relevant), preset, threshold: line, baseline, other, result: null });
  state.query = query ?? state.query;
  $("query").value = state.query;
  $("note").textContent = preset === null ? "" : presets[preset].note;
  $("own-text").value = unparse(documents);
  $("other-url").value = other;
  showPresets();
  showBaseline();
  return run();
}

const takePreset = (preset, view = {}) => {
  const { query, documents, relevant } = presets[preset];
  return take({ query, documents: documents.map((text) => ({ title: "", text })), relevant, preset, ...view });
};

function showBaseline() {
  for (const each of $("baselines").children)
    each.setAttribute("aria-pressed", `${each.dataset.baseline === state.baseline}`);
  $("other").hidden = state.baseline !== "server";
}

let linking = 0;
function showLink() {
  clearTimeout(linking);
  linking = setTimeout(async () => {
    const hash = await link.written(state, presets);
    $("copy-link").disabled = hash === null;
    $("copy-link").textContent = hash === null ? "Too long for a link" : "Copy a link to this list";
    // Not relative: the page's base is another folder's.
    history.replaceState(null, "", `${location.pathname}${location.search}${hash ?? ""}`);
  }, 150);
}

async function takeLink() {
  const found = await link.read(location.hash, presets);
  if (found?.preset !== undefined) return takePreset(found.preset, found);
  if (found) return take(found);
  await takePreset(0);
  if (found === undefined) tell(new ServerError("refused", "This link cannot be read. Here is an example instead."));
}

// --- texts of one's own

function useOwn(text, fileName = "") {
  const { documents, relevant, query, form } = parse(text, fileName);
  $("own-told").textContent = documents.length ? `Read as ${form}: ${texts(documents.length)}.` : "There is no text in it.";
  if (documents.length) take({ query, documents, relevant });
}

function openOwn(isOpen) {
  $("own").hidden = !isOpen;
  $("own-open").setAttribute("aria-expanded", `${isOpen}`);
}

async function useFile(file) {
  if (!file) return;
  openOwn(true);
  if (file.size > 16_000_000) $("own-told").textContent = "This file is larger than 16 MB.";
  else useOwn(await file.text(), file.name);
}

// --- another server

function origin(url) {
  try {
    return new URL(url).origin;
  } catch {
    return null;
  }
}

const mayAsk = (url) => [location.origin, new URLSearchParams(location.search).get("compare")].includes(origin(url));

async function compare() {
  const url = $("other-url").value.trim();
  if (!/^https?:/.test(url) || !origin(url)) return tell(new ServerError("refused", "An address begins with http:// or https://."));
  state.other = url;
  if (!mayAsk(url)) {
    // The page's policy allows one more server only when it is loaded for it. A link cannot set this
    // mark, so that no link alone makes a page send anything there.
    sessionStorage.setItem("blockrank-compare", url);
    const hash = await link.written(state, presets);
    location.assign(`${location.pathname}?${new URLSearchParams({ compare: origin(url) })}${hash ?? ""}`);
    return;
  }
  try {
    const found = await rank(state.query, state.documents, { other: { url, key: $("other-key").value } });
    state.otherOrder = found.order;
    tell(null);
    show();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    tell(new ServerError("refused", `The other server: ${error.kind === "gone" ? "it does not answer, or does not allow this page." : error.message}`));
  }
}

// --- trials

let trial = null;
function stopTrials() {
  trial?.abort();
  trial = null;
}

async function runTrial(work) {
  if (!state.result) return;
  stopTrials();
  const mine = (trial = new AbortController());
  const buttons = [$("shuffle"), ...$("adds").querySelectorAll("[data-add]")];
  for (const each of buttons) each.disabled = true;
  $("speed-stop").hidden = false;
  try {
    await work(patience(mine.signal));
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof ServerError)) throw error;
  } finally {
    for (const each of buttons) each.disabled = false;
    $("speed-stop").hidden = true;
  }
}

// --- copy

const address = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

function showProgram() {
  const name = $("client").value;
  $("dialect-field").hidden = !hasDialect(name);
  $("code").textContent = program(name, $("dialect").value, address(), state.query, state.documents);
}

async function copied(text) {
  await copyText(text);
  $("copied").textContent = "Copied.";
  setTimeout(() => ($("copied").textContent = ""), 2000);
}

// --- controls

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("query").value !== state.query) leavePreset();
    state.query = $("query").value;
    run();
  });
  $("own-open").addEventListener("click", () => openOwn($("own").hidden));
  $("own-use").addEventListener("click", () => useOwn($("own-text").value));
  $("own-file").addEventListener("change", (event) => useFile(event.target.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    useFile(event.dataTransfer.files[0]);
  });
  $("baselines").addEventListener("click", ({ target }) => {
    if (!target.dataset.baseline) return;
    state.baseline = target.dataset.baseline;
    showBaseline();
    show();
  });
  $("other").addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  $("threshold").addEventListener("input", (event) => {
    state.threshold = (event.target.value / 1000) * state.scale;
    if (state.result) showThreshold();
    showLink();
  });
  $("best-use").addEventListener("click", (event) => {
    state.threshold = Number(event.target.value);
    showThreshold();
    showLink();
  });
  $("keep").addEventListener("click", () => keepList(state));
  $("shuffle").addEventListener("click", () => runTrial((with_) => shuffleTrial(state, with_)));
  $("adds").addEventListener("click", ({ target }) => {
    const more = Number(target.dataset.add);
    if (more) runTrial((with_) => lengthTrial(state, more, info?.max_client_batch_size ?? 1000, with_));
  });
  $("speed-stop").addEventListener("click", stopTrials);
  $("client").addEventListener("change", showProgram);
  $("dialect").addEventListener("change", showProgram);
  $("copy").addEventListener("click", () => copied($("code").textContent));
  $("copy-link").addEventListener("click", () => copied(location.href));
  $("banner-act").addEventListener("click", run);
  addEventListener("hashchange", takeLink);
  listenToRows();
}

function listenToRows() {
  const index = (event) => event.target.closest?.("[data-index]")?.dataset.index ?? null;
  for (const name of ["mouseover", "focusin"])
    $("slopes").addEventListener(name, (event) => index(event) !== null && highlight(Number(index(event))));
  $("slopes").addEventListener("mouseleave", () => highlight(state.selected));
  $("lines").addEventListener("click", (event) => index(event) !== null && select(Number(index(event))));
  $("given").addEventListener("click", (event) => index(event) !== null && select(Number(index(event))));
  $("ranked").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const rows = [...$("ranked").querySelectorAll(".pick")];
    const next = rows[rows.indexOf(event.target) + step];
    if (!step || !next) return;
    event.preventDefault();
    next.focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    $("query").select();
  });
}

async function start() {
  presets = await load("playground/presets.json");
  $("presets").append(...presets.map((each, i) => h("button", { type: "button", onclick: () => takePreset(i) }, each.name)));
  $("client").append(...NAMES.map((name) => h("option", {}, name)));
  $("dialect").append(...Object.keys(DIALECTS).map((name) => h("option", {}, name)));
  setUpKey();
  setUpLists();
  listen();
  await takeLink();
  const asked = sessionStorage.getItem("blockrank-compare");
  sessionStorage.removeItem("blockrank-compare");
  if (asked && mayAsk(asked) && state.baseline === "server") {
    $("other-url").value = asked;
    await compare();
  }
}

start();
