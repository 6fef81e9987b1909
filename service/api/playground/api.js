// Asks the server, and is patient with one that is loading, busy, gone or wants a key.

const KEY = "blockrank-key";

export const key = {
	get: () => sessionStorage.getItem(KEY) ?? "",
	set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

// Why a request failed. kind: gone, loading, busy, key, late or refused.
export class ServerError extends Error {
	constructor(kind, message, retryAfterS = 0) {
		super(message);
		this.kind = kind;
		this.retryAfterS = retryAfterS;
	}
}

const KINDS = { 401: "key", 429: "busy", 502: "gone", 503: "loading", 504: "late" };

async function ask(url, options, form = "json") {
	let response;
	try {
		response = await fetch(url, { cache: "no-store", ...options });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new ServerError("gone", "The server does not answer.");
	}
	const body = await response[form]().catch(() => null);
	if (response.ok && body !== null) return { body, headers: response.headers };
	const kind = KINDS[response.status] ?? "refused";
	const said = typeof body?.error === "string" ? body.error : body?.reason;
	const after = Number(response.headers.get("Retry-After")) || 0;
	throw new ServerError(kind, said ?? `The server answered with status ${response.status}.`, after);
}

const here = (path) => new URL(path, document.baseURI);

export const load = async (path, form) => (await ask(here(path), {}, form)).body;

export const asSent = (document) =>
	document.title ? { title: document.title, text: document.text } : document.text;

const timings = (headers) => {
	const found = {};
	for (const [, name, value] of (headers.get("Server-Timing") ?? "").matchAll(/(\w+);dur=([\d.]+)/g))
		found[name] = Number(value);
	return found;
};

// Resolves to order (indices, best first), scores and explanations by index, timings in ms.
export async function rank(query, documents, { signal, explain = false, other = null } = {}) {
	const headers = { "Content-Type": "application/json" };
	const sentKey = other ? other.key : key.get();
	if (sentKey) headers.Authorization = `Bearer ${sentKey}`;
	const body = { query, documents: documents.map(asSent), ...(explain && { explain }) };
	const url = other ? new URL("rerank", other.url.replace(/\/*$/, "/")) : here("cohere/v2/rerank");
	const answer = await ask(url, { method: "POST", headers, body: JSON.stringify(body), signal });
	const results = Array.isArray(answer.body.results) ? answer.body.results : [];
	if (results.length !== documents.length)
		throw new ServerError("refused", "The answer is not a ranking of these texts.");
	const scores = [];
	const explanations = [];
	for (const { index, relevance_score: score, explanation } of results) {
		scores[index] = score;
		explanations[index] = explanation;
	}
	const known = /^(\d+)\/\d+$/.exec(answer.headers.get("X-Cached-Documents") ?? "");
	return {
		order: results.map((each) => each.index),
		scores,
		explanations,
		timings: timings(answer.headers),
		numKnown: known ? Number(known[1]) : null,
		numTokens: answer.body.meta?.tokens?.input_tokens ?? 0,
		warnings: (answer.body.meta?.warnings ?? []).filter((each) => !each.startsWith("explain is")),
	};
}

export const sleep = (seconds, signal) =>
	new Promise((resolve, reject) => {
		const stop = () => reject(new DOMException("stopped", "AbortError"));
		if (signal?.aborted) stop();
		signal?.addEventListener("abort", stop, { once: true });
		setTimeout(resolve, 1000 * seconds);
	});

async function untilReady(tell, signal) {
	for (;;) {
		try {
			await ask(here("health/ready"), { signal });
			return;
		} catch (error) {
			if (!(error instanceof ServerError)) throw error;
			tell(error);
		}
		await sleep(1, signal);
	}
}

// Calls ask() until it succeeds. tell() shows what is waited for, null that it is over; askKey()
// resolves once there is another key.
export async function patiently(ask, { tell, askKey, signal }) {
	for (;;) {
		try {
			const found = await ask();
			tell(null);
			return found;
		} catch (error) {
			if (!(error instanceof ServerError)) throw error;
			tell(error);
			if (error.kind === "key") await askKey(error.message);
			else if (error.kind === "busy") await sleep(Math.min(error.retryAfterS || 1, 30), signal);
			else if (error.kind === "loading" || error.kind === "gone") await untilReady(tell, signal);
			else throw error;
		}
	}
}
