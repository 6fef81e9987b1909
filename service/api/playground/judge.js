// What the ticks say: nDCG of every order, the best line, and lists for train, evaluate, calibrate.

import { asSent } from "./api.js";
import { $, download, h, on, percent, put, say } from "./dom.js";
import { bestThreshold, bm25, ndcgAt10 } from "./measures.js";

const LISTS = "blockrank-lists";
const kept = () => JSON.parse(sessionStorage.getItem(LISTS) ?? "[]");

export function judge({ query, documents, relevant, result, otherOrder }) {
	if (!result) return;
	const orders = { "Order given": [...documents.keys()], "Keyword search": bm25(query, documents) };
	if (otherOrder) orders["Another server"] = otherOrder;
	orders["This model"] = result.order;
	put(
		"judged",
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

const counted = (count) => `${count} ${count === 1 ? "list" : "lists"}`;

// A list that is kept again, with other ticks, takes its own place.
const asked = (line) => line.slice(0, line.lastIndexOf(',"answer_ids"'));

export function keepLists(lists) {
	const judged = lists.filter(({ relevant, documents }) => relevant.size && relevant.size < documents.length);
	if (!judged.length) {
		say("kept", "Tick at least one text, and leave at least one unticked.");
		return;
	}
	const lines = new Map([...kept(), ...judged.map(listLine)].map((line) => [asked(line), line]));
	try {
		sessionStorage.setItem(LISTS, JSON.stringify([...lines.values()]));
	} catch {
		say("kept", "No room for more lists: download these first.");
		return;
	}
	showKept();
	const left = lists.length - judged.length;
	if (left) $("kept").append(` ${counted(left)} without ticks left out.`);
}

function showKept() {
	const count = kept().length;
	$("export").disabled = $("export-qrels").disabled = !count;
	say("kept", `${counted(count)} kept, for evaluate and train; with lists.qrels.tsv beside, for calibrate.`);
}

// What stands unticked was judged, too: 0 says so.
function qrels(line, i) {
	const { documents, answer_ids } = JSON.parse(line);
	return documents.map((_, j) => `${i + 1}\t${j}\t${Number(answer_ids.includes(j))}\n`).join("");
}

export function setUpLists() {
	on("export", "click", () => download("lists.jsonl", kept().map((line) => `${line}\n`).join("")));
	on("export-qrels", "click", () => download("lists.qrels.tsv", kept().map(qrels).join("")));
	showKept();
}
