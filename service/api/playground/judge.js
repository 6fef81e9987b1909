// What the ticks say: nDCG of every order, the best line, and lists to train and evaluate with.

import { asSent } from "./api.js";
import { $, download, h, on, percent } from "./dom.js";
import { bestThreshold, bm25, ndcgAt10 } from "./measures.js";

const LISTS = "blockrank-lists";
const kept = () => JSON.parse(sessionStorage.getItem(LISTS) ?? "[]");

export function judge({ query, documents, relevant, result, otherOrder }) {
	if (!result) return;
	const orders = { "Order given": [...documents.keys()], "Keyword search": bm25(query, documents) };
	if (otherOrder) orders["Another server"] = otherOrder;
	orders["This model"] = result.order;
	$("judged").replaceChildren(
		...Object.entries(orders).map(([name, order]) => {
			const value = ndcgAt10(order, relevant);
			const meter = h("i");
			meter.style.setProperty("--share", value ?? 0);
			return h("div", {}, h("dt", {}, name), h("dd", {}, meter, h("b", {}, value === null ? "–" : value.toFixed(2))));
		}),
	);
	const best = bestThreshold(result.order, result.scores, relevant);
	$("best-use").hidden = best === null;
	$("best-use").value = best?.score ?? "";
	$("best").textContent = best
		? `The best line for your ticks is ${percent(best.score)}: ${best.found} of ${relevant.size} found, ${best.wrong || "none"} too many.`
		: "Nothing is ticked.";
}

// A line as the commands train and evaluate read it (models/TRAINING.md).
export function listLine({ query, documents, relevant }) {
	const row = { query, documents: documents.map(asSent), answer_ids: [...relevant].sort((a, b) => a - b) };
	return JSON.stringify(row);
}

export function keepList(state) {
	if (!state.relevant.size || state.relevant.size === state.documents.length) {
		$("kept").textContent = "Tick at least one text, and leave at least one unticked.";
		return;
	}
	const lists = [...new Set([...kept(), listLine(state)])];
	try {
		sessionStorage.setItem(LISTS, JSON.stringify(lists));
	} catch {
		$("kept").textContent = "No room for more lists: download these first.";
		return;
	}
	showKept();
}

function showKept() {
	const count = kept().length;
	$("export").disabled = !count;
	if (count) $("kept").textContent = `${count} ${count === 1 ? "list" : "lists"} kept, for the commands evaluate and train.`;
}

export function setUpLists() {
	on("export", "click", () => download("lists.jsonl", kept().map((line) => `${line}\n`).join("")));
	showKept();
}
