// Keeps the question and its texts in the part of the address that no server is sent.

import { asSent } from "./api.js";
import { asDocument } from "./parse.js";

const MAX_LINK = 8000; // characters; longer addresses break in mail and chat
const MAX_STATE = 2_000_000; // bytes that a link may inflate to

const slug = (name) => name.toLowerCase().replace(/\W+/g, "-");
const SAFE = { "+": "-", "/": "_", "=": "", "-": "+", _: "/" };
const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/[+/=]/g, (c) => SAFE[c]);
const bytesOf = (text) => Uint8Array.from(atob(text.replace(/[-_]/g, (c) => SAFE[c])), (c) => c.charCodeAt(0));

async function through(bytes, transform) {
	const parts = [];
	let size = 0;
	const reader = new Blob([bytes]).stream().pipeThrough(transform).getReader();
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
		parts.push(value);
		size += value.length;
		if (size > MAX_STATE) {
			await reader.cancel();
			throw new RangeError("too long");
		}
	}
}

// Returns the fragment, or null where it would be too long.
export async function written({ preset, query, documents, relevant, threshold, baseline, other }, presets) {
	const view = { ...(threshold !== null && { t: threshold }), ...(baseline !== "given" && { b: baseline }), ...(other && { o: other }) };
	if (preset !== null) return `#${new URLSearchParams({ example: slug(presets[preset].name), ...view })}`;
	const json = JSON.stringify({ q: query, d: documents.map(asSent), r: [...relevant], ...view });
	if (json.length > 50 * MAX_LINK) return null;
	const packed = await through(new TextEncoder().encode(json), new CompressionStream("deflate-raw"));
	return packed.length > 0.7 * MAX_LINK ? null : `#list=${base64(packed)}`;
}

const viewed = ({ t, b, o }) => ({
	threshold: t !== undefined && t >= 0 && t <= 1 ? Number(t) : null,
	baseline: ["bm25", "server"].includes(b) ? b : "given",
	other: /^https?:\/\//.test(o) ? `${o}`.slice(0, 300) : "",
});

// Returns what a fragment says, {preset, ...view} or a whole state; null if it says nothing;
// undefined if it cannot be read.
export async function read(hash, presets) {
	if (hash.length < 2) return null;
	const fields = Object.fromEntries(new URLSearchParams(hash.slice(1)));
	const preset = presets.findIndex((each) => slug(each.name) === fields.example);
	if (preset >= 0) return { preset, ...viewed(fields) };
	try {
		const bytes = await through(bytesOf(fields.list), new DecompressionStream("deflate-raw"));
		const { q, d, r, ...view } = JSON.parse(new TextDecoder().decode(bytes));
		const relevant = r.filter((each) => Number.isInteger(each) && each in d);
		return typeof q === "string" ? { query: q, documents: d.map(asDocument), relevant, ...viewed(view) } : undefined;
	} catch {
		return undefined;
	}
}
