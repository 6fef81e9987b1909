// Holds what is asked and answered, and ties the page's controls to it.

import { load, patiently, rank, ServerError } from "./api.js";
import { $, copyText, h, ms, on, put, say, texts } from "./dom.js";
import { judge, keepLists, listLine, setUpLists } from "./judge.js";
import * as link from "./link.js";
import { bm25, places } from "./measures.js";
import { parse, unparse } from "./parse.js";
import { draw, drawReading, drawThreshold, highlight } from "./picture.js";
import { DIALECTS, FORMS, program } from "./snippets.js";
import { askKey, setUpKey, tell } from "./states.js";
import { forgetRuns, lengthTrial, shuffleTrial } from "./trials.js";

let presets = [];
let info = null;
let running = null; // aborts the request before
let hasExplanations = true; // until an answer has none
const state = { query: "", result: null, selected: 0 }; // and what take() gives it

const patience = (signal) => ({ tell, askKey, signal });
const refuse = (message) => tell(new ServerError("refused", message));

// What ends work has been told, or was wished; all else is a fault of ours.
function told(error) {
	if (error.name !== "AbortError" && !(error instanceof ServerError)) throw error;
}

function before() {
	if (state.baseline === "bm25") return bm25(state.query, state.documents);
	if (state.baseline === "server" && state.otherOrder) return state.otherOrder;
	return [...state.documents.keys()];
}

async function run(explain = hasExplanations && "tokens") {
	running?.abort();
	const mine = (running = new AbortController());
	const { query, documents } = state;
	stopTrials();
	forgetRuns();
	state.otherOrder = null;
	if (!query.trim()) return refuse("Ask a question first.");
	$("slopes").setAttribute("aria-busy", "true");
	$("slopes").inert = !state.result; // the rows are those of another list
	try {
		const found = await patiently(() => rank(query, documents, { signal: mine.signal, explain }), patience(mine.signal));
		if (mine.signal.aborted) return;
		if (explain) hasExplanations = found.explanations.some(Boolean);
		state.result = found;
		state.selected = found.order[0];
		show();
		$("slopes").setAttribute("aria-busy", "false");
		$("slopes").inert = false;
		showServer();
	} catch (error) {
		// A long list may have fewer explanations, or none.
		if (explain && /explain/.test(error.message)) return run(explain === "tokens" && /tokens/.test(error.message));
		told(error);
	}
}

async function showServer() {
	info ??= await load("info").catch(() => null);
	if (info) say("server", `${info.served_model_name} on ${info.device}`);
}

function show() {
	const { result, documents } = state;
	if (!result) return;
	draw({ ...state, ...result, before: before() });
	showThreshold();
	select(state.selected);
	judge(state);
	const known = result.numKnown === null ? "" : `, ${result.numKnown} known before`;
	put("facts", h("b", {}, `${texts(documents.length)} in ${ms(result.timings.total)} ms`), ` · ${result.numTokens.toLocaleString("en")} tokens${known}`);
	say("warnings", result.warnings.length ? `The server says: ${result.warnings.join("; ")}.` : "");
	showProgram();
}

function showThreshold() {
	const { result, threshold } = state;
	if (result) drawThreshold(result.order, result.scores, threshold ?? 0.05);
	showLink();
}

function select(index) {
	state.selected = index;
	for (const each of $("ranked").children)
		each.firstChild.setAttribute("aria-pressed", `${each.dataset.index === `${index}`}`);
	showReading();
	highlight(index);
}

function showReading() {
	const { selected, result, documents, query, word } = state;
	const pick = (word) => {
		state.word = word;
		showReading();
		$("words").querySelector(`:nth-child(${(word ?? 0) + 1})`).focus();
	};
	drawReading(documents[selected], places(result.order)[selected], result.explanations[selected], { query, word, pick });
}

function tick(index, isRelevant) {
	if (isRelevant) state.relevant.add(index);
	else state.relevant.delete(index);
	leavePreset();
	judge(state);
	showLink();
}

function leavePreset() {
	state.preset = null;
	say("note", "");
	showPresets();
}

function showPresets() {
	[...$("presets").children].forEach((each, i) => each.setAttribute("aria-pressed", `${i === state.preset}`));
}

function take({ query, documents, relevant = [], preset = null, threshold: line = null, baseline = "given", other = "", lists = [{}], at = 0 }) {
	Object.assign(state, { documents, relevant: new Set(relevant), preset, threshold: line, baseline, other, result: null, word: null, lists, at });
	state.query = query ?? state.query;
	noteList();
	$("query").value = state.query;
	say("note", preset === null ? "" : presets[preset].note);
	$("own-text").value = lists.length > 1 ? lists.map(listLine).join("\n") : unparse(documents);
	$("lists").hidden = lists.length < 2;
	put("list", ...lists.map((each, i) => h("option", { selected: i === at }, `${i + 1}. ${each.query}`)));
	say("keep", lists.length > 1 ? "Keep these lists" : "Keep this list");
	$("other-url").value = other;
	showPresets();
	showBaseline();
	return run();
}

// What is asked and ticked now belongs to the list that is chosen.
function noteList() {
	const { query, documents, relevant } = state;
	Object.assign(state.lists[state.at], { query, documents, relevant });
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
		say("copy-link", hash === null ? "Too long for a link" : "Copy a link to this list");
		// Not relative: the page's base is another folder's.
		history.replaceState(null, "", `${location.pathname}${location.search}${hash ?? ""}`);
	}, 150);
}

async function takeLink() {
	const found = await link.read(location.hash, presets);
	if (found?.preset !== undefined) return takePreset(found.preset, found);
	if (found) return take(found);
	await takePreset(0);
	if (found === undefined) refuse("This link cannot be read. Here is an example instead.");
}

function useOwn(text, fileName = "") {
	const { form, lists } = parse(text, fileName);
	const count = lists.reduce((sum, each) => sum + each.documents.length, 0);
	say("own-told", count ? `Read as ${form}: ${texts(count)}.` : "There is no text in it.");
	const asking = lists.map((each) => ({ ...each, query: each.query ?? state.query, relevant: new Set(each.relevant) }));
	if (count) take({ ...asking[0], lists: asking });
}

function openOwn(isOpen) {
	$("own").hidden = !isOpen;
	$("own-open").setAttribute("aria-expanded", `${isOpen}`);
}

async function useFile(file) {
	if (!file) return;
	openOwn(true);
	if (file.size > 16_000_000) say("own-told", "This file is larger than 16 MB.");
	else useOwn(await file.text(), file.name);
}

const origin = (url) => (URL.canParse(url) ? new URL(url).origin : null);

const mayAsk = (url) => [location.origin, new URLSearchParams(location.search).get("compare")].includes(origin(url));

async function compare() {
	const url = $("other-url").value.trim();
	if (!/^https?:/.test(url) || !origin(url)) return refuse("An address begins with http or https.");
	state.other = url;
	if (!mayAsk(url)) {
		// The policy has to allow it, so the page is loaded again. No link can set this mark, so none
		// makes a page send anything.
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
		refuse(`The other server: ${error.kind === "gone" ? "it does not answer, or does not allow this page." : error.message}`);
	}
}

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
		told(error);
	} finally {
		for (const each of buttons) each.disabled = false;
		$("speed-stop").hidden = true;
	}
}

const address = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

async function showProgram() {
	const [name, dialect] = [$("client").value, $("dialect").value];
	$("dialect-field").hidden = !FORMS[name];
	const code = await program(name, dialect, address(), state.query, state.documents).catch((error) => error.message);
	if (name === $("client").value && dialect === $("dialect").value) say("code", code);
}

async function copied(text) {
	await copyText(text);
	say("copied", "Copied.");
	setTimeout(() => (say("copied", ""), 2000));
}

function listen() {
	on("ask", "submit", () => {
		if ($("query").value !== state.query) leavePreset();
		state.query = $("query").value;
		state.word = null;
		noteList();
		run();
	});
	on("own-open", "click", () => openOwn($("own").hidden));
	on("own-use", "click", () => useOwn($("own-text").value));
	on("own-file", "change", (event) => useFile(event.target.files[0]));
	addEventListener("dragover", (event) => event.preventDefault());
	addEventListener("drop", (event) => {
		event.preventDefault();
		useFile(event.dataTransfer.files[0]);
	});
	on("baselines", "click", ({ target }) => {
		if (!target.dataset.baseline) return;
		state.baseline = target.dataset.baseline;
		showBaseline();
		show();
	});
	on("other", "submit", compare);
	on("threshold", "input", (event) => {
		state.threshold = event.target.value / 1000;
		showThreshold();
	});
	on("best-use", "click", (event) => {
		state.threshold = Number(event.target.value);
		showThreshold();
	});
	on("keep", "click", () => keepLists(state.lists));
	on("list", "change", ({ target }) => take({ ...state.lists[target.selectedIndex], lists: state.lists, at: target.selectedIndex }));
	on("shuffle", "click", () => runTrial((with_) => shuffleTrial(state, with_)));
	on("adds", "click", ({ target }) => {
		const more = Number(target.dataset.add);
		if (more) runTrial((with_) => lengthTrial(state, more, info?.max_client_batch_size ?? 1000, with_));
	});
	on("speed-stop", "click", stopTrials);
	on("client", "change", showProgram);
	on("dialect", "change", showProgram);
	on("copy", "click", () => copied($("code").textContent));
	on("copy-link", "click", () => copied(location.href));
	on("banner-act", "click", () => run());
	addEventListener("hashchange", takeLink);
	listenToRows();
}

function listenToRows() {
	const index = ({ target }) => {
		const found = target.closest("[data-index]");
		return found && Number(found.dataset.index);
	};
	for (const name of ["mouseover", "focusin"])
		on("slopes", name, (event) => index(event) !== null && highlight(index(event)));
	on("slopes", "mouseleave", () => highlight(state.selected));
	on("slopes", "click", (event) => index(event) !== null && event.target.type !== "checkbox" && select(index(event)));
	on("slopes", "change", (event) => tick(index(event), event.target.checked));
	on("ranked", "keydown", (event) => {
		const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
		const rows = [...$("ranked").querySelectorAll(".pick")];
		const next = rows[rows.indexOf(event.target) + step];
		if (!step || !next) return;
		event.preventDefault();
		next.focus();
	});
}

async function start() {
	presets = await patiently(() => load("playground/presets.json"), patience());
	$("presets").append(...presets.map((each, i) => h("button", { onclick: () => takePreset(i) }, each.name)));
	const clients = await patiently(() => load("playground/clients.json"), patience());
	$("client").append(...[...Object.keys(FORMS), ...clients].map((name) => h("option", {}, name)));
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
