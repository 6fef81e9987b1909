// Draws the one picture: lines from the order given to the order of the model.

import { $, h, percent, put, say, svg, texts } from "./dom.js";

const MAX_ROWS = 50;

const oneLine = (text) => text.replace(/\s+/g, " ").trim();

// Where a long text was looked at most, its row begins there.
function snippet({ title, text }, explanation) {
	const best = explanation?.sentences?.[explanation.best];
	const from = best && text.length > 160 ? Array.from(text).slice(best.start).join("") : text;
	const start = from.length < text.length ? `… ${from}` : text;
	return oneLine(title ? `${title}. ${start}` : start).slice(0, 300);
}

const change = (moved) => (moved > 0 ? "up" : moved < 0 ? "down" : "same");

const said = (from, to) =>
	from === to ? `stays at place ${to + 1}` : `from place ${from + 1} to place ${to + 1}`;

// before, order: indices, best first. Texts that rank behind the first 50 get no row.
export function draw({ documents, before, order, scores, explanations, relevant }) {
	const shown = order.slice(0, MAX_ROWS);
	const numRows = shown.length;
	const from = [];
	before.forEach((index, place) => (from[index] = place));
	const compress = documents.length > MAX_ROWS ? numRows / documents.length : 1;
	put(
		"given",
		...before.slice(0, compress < 1 ? 0 : numRows).map((index, place) =>
			h("li", { "data-index": index }, h("span", {}, snippet(documents[index])), h("b", {}, `${place + 1}`)),
		),
	);
	const ys = shown.map((index, to) => [(from[index] + 0.5) * compress, to + 0.5]);
	const drawn = [...shown.keys()].sort((a, b) => Math.abs(ys[a][0] - ys[a][1]) - Math.abs(ys[b][0] - ys[b][1]));
	$("lines").setAttribute("viewBox", `0 0 100 ${numRows}`);
	put(
		"lines",
		...drawn.map((to) => {
			const index = shown[to];
			const [y, z] = ys[to];
			const path = svg("path", { d: `M0,${y}C46,${y} 54,${z} 100,${z}`, class: change(from[index] - to), "data-index": index });
			path.style.setProperty("stroke-width", `${1.2 + 5 * scores[index]}px`);
			return path;
		}),
	);
	$("slopes").style.setProperty("--rows", numRows);
	put(
		"ranked",
		...shown.map((index, to) => row(documents[index], index, to, from[index], scores[index], {
			explanation: explanations[index],
			isTicked: relevant.has(index),
		})),
	);
	const hidden = documents.length - numRows;
	say("more", hidden ? `${texts(hidden)} behind these ${numRows} ${hidden === 1 ? "is" : "are"} not shown.` : "");
}

function row(document, index, to, from, score, { explanation, isTicked }) {
	const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("i"));
	bar.style.setProperty("--share", score);
	const kind = change(from - to);
	return h(
		"li",
		{ "data-index": index, class: kind },
		h(
			"button",
			{ class: "pick" },
			h("b", {}, `${to + 1}`),
			h("span", { class: "snippet", dir: "auto" }, snippet(document, explanation)),
			h("span", { class: "hidden" }, `, ${said(from, to)}, `),
			bar,
			h("span", { class: "share" }, percent(score)),
		),
		h("input", { type: "checkbox", "aria-label": `Relevant: text at place ${to + 1}`, checked: isTicked }),
	);
}

// Moves the line where "relevant" begins.
export function drawThreshold(order, scores, threshold) {
	const numAbove = order.filter((index) => scores[index] >= threshold).length;
	$("slopes").style.setProperty("--threshold", threshold);
	$("slopes").style.setProperty("--above", Math.min(numAbove, MAX_ROWS));
	say("cut", numAbove ? `${numAbove} relevant` : "none relevant");
	$("cut").classList.toggle("off", numAbove >= Math.min(order.length, MAX_ROWS));
	[...$("ranked").children].forEach((each, place) => each.classList.toggle("below", place >= numAbove));
	say("threshold-value", percent(threshold));
	$("threshold").value = Math.round(1000 * threshold);
	$("threshold").setAttribute("aria-valuetext", `${percent(threshold)}: ${texts(numAbove)}`);
}

// Lets a row and its line stand out together.
export function highlight(index) {
	for (const each of document.querySelectorAll("#lines path, #given li, #ranked li"))
		each.classList.toggle("on", each.dataset.index === `${index}`);
	$("lines").classList.toggle("some", index !== null);
}

const heated = (parts) => {
	const most = Math.max(...parts.map((each) => each.share), 1e-9);
	return parts.map((each) => ({ ...each, heat: each.share / most }));
};

// Marks parts of points from .. to by their heat; inside() fills a mark.
function tinted(points, from, to, parts, tag, inside) {
	const found = [];
	let at = from;
	for (const part of parts) {
		const end = Math.min(part.end, to);
		if (part.start < at || end <= part.start) continue;
		const mark = h(tag, { title: percent(part.share) }, ...inside(part.start, end));
		mark.style.setProperty("--heat", part.heat);
		found.push(points.slice(at, part.start).join(""), mark);
		at = end;
	}
	return [...found, points.slice(at, to).join("")];
}

const cut = (text, { start, end }) => Array.from(text).slice(start, end).join("").trim();

// The whole text, sentences and tokens tinted by their share, or by what one word of the query
// looked at. pick(i) is called with the word clicked, or null.
export function drawReading({ title, text }, place, explanation, { query, word, pick }) {
	const words = (explanation?.words ?? []).filter((each) => each.end); // the prompt's own have none
	const chosen = words[word];
	const points = Array.from(text);
	const tokens = (explanation?.tokens ?? []).map((each, i) => ({ ...each, share: chosen ? chosen.tokens[i] / chosen.share : each.share }));
	const sum = ({ start, end }) => tokens.reduce((sum, each) => sum + (start <= each.start && each.start < end ? each.share : 0), 0);
	const sentences = (explanation?.sentences ?? []).map((each) => (chosen ? { ...each, share: sum(each) } : each));
	const hot = heated(tokens);
	const most = tokens.toSorted((a, b) => b.share - a.share).slice(0, 3);
	$("reading").hidden = false;
	say("reading-title", `Place ${place + 1}${title ? `: ${title}` : ""}`);
	put(
		"reading-text",
		...tinted(points, 0, points.length, heated(sentences), "mark", (start, end) =>
			tinted(points, start, end, hot.filter((each) => each.start >= start), "i", (a, b) => [points.slice(a, b).join("")]),
		),
	);
	put(
		"words",
		...words.map((each, i) => h("button", { "aria-pressed": `${i === word}`, onclick: () => pick(i === word ? null : i) }, cut(query, each))),
	);
	$("words").hidden = !words.length;
	$("reading-key").hidden = !sentences.length;
	$("reading-key").textContent = chosen
		? `“${cut(query, chosen)}” looked most at: ${most.map((each) => `${cut(text, each)} ${percent(each.share)}`).join(", ")}.`
		: `Colour shows what the question looked at.${words.length ? " Click a word of it to see where that one looked." : ""}`;
}
