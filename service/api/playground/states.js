// Says what keeps the page waiting, and asks for a key.

import { key } from "./api.js";
import { $, on, say } from "./dom.js";

let counting = 0;
let waiting = null; // {promise, resolve} of who needs a key

const sentence = (text) => text.replace(/[.\s]*$/, ".");
const SENTENCES = {
	gone: () => "The server does not answer. This page goes on as soon as it does.",
	loading: (text) => `The server is not ready: ${sentence(text)} This page goes on as soon as it is.`,
	key: () => "This server wants an API key.",
	late: sentence,
	refused: sentence,
};
const ACTS = { key: "Enter it", late: "Try again", refused: "Try again" };

// Shows what is wrong; null takes it away.
export function tell(error) {
	clearInterval(counting);
	$("banner").hidden = error === null;
	if (error === null) {
		if ($("server").dataset.kind) say("server", "connected");
		delete $("server").dataset.kind;
		return;
	}
	$("banner").dataset.kind = error.kind;
	$("server").dataset.kind = error.kind;
	if (error.kind === "gone") say("server", "not reachable");
	if (error.kind === "loading") say("server", "starting");
	$("banner-act").hidden = !(error.kind in ACTS);
	say("banner-act", ACTS[error.kind] ?? "");
	if (error.kind === "busy") countDown(Math.min(error.retryAfterS || 1, 30));
	else say("banner-text", SENTENCES[error.kind](error.message));
}

function countDown(seconds) {
	let left = seconds;
	const tick = () => (say("banner-text", `The server is busy. Next try in ${Math.max(left, 0)} s.`));
	tick();
	counting = setInterval(() => {
		left -= 1;
		tick();
	}, 1000);
}

function openKey(why) {
	if (why) say("key-why", sentence(why.replace(/: send .*/, "")));
	$("key-value").value = key.get();
	if (!$("key").open) $("key").showModal();
}

// Resolves once another key has been entered.
export function askKey(why) {
	if (!waiting) {
		waiting = {};
		waiting.promise = new Promise((resolve) => (waiting.resolve = resolve));
		openKey(why);
	}
	return waiting.promise;
}

export function setUpKey() {
	on("key-open", "click", () => openKey(""));
	on("key-cancel", "click", () => $("key").close());
	on("key-form", "submit", () => {
		key.set($("key-value").value.trim());
		$("key").close();
		waiting?.resolve();
		waiting = null;
	});
}
