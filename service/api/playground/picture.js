// Draws the one picture: lines from the order given to the order of the model.

import { $, h, percent, svg, texts } from "./dom.js";

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
	$("given").replaceChildren(
		...before.slice(0, compress < 1 ? 0 : numRows).map((index, place) =>
			h("li", { "data-index": index }, h("span", {}, snippet(documents[index])), h("b", {}, `${place + 1}`)),
		),
	);
	const ys = shown.map((index, to) => [(from[index] + 0.5) * compress, to + 0.5]);
	const drawn = [...shown.keys()].sort((a, b) => Math.abs(ys[a][0] - ys[a][1]) - Math.abs(ys[b][0] - ys[b][1]));
	$("lines").setAttribute("viewBox", `0 0 100 ${numRows}`);
	$("lines").replaceChildren(
		...drawn.map((to) => {
			const index = shown[to];
			const [y, z] = ys[to];
			const path = svg("path", { d: `M0,${y}C46,${y} 54,${z} 100,${z}`, class: change(from[index] - to), "data-index": index });
			path.style.setProperty("stroke-width", `${1.2 + 5 * scores[index]}px`);
			return path;
		}),
	);
	$("slopes").style.setProperty("--rows", numRows);
	$("ranked").replaceChildren(
		...shown.map((index, to) => row(documents[index], index, to, from[index], scores[index], {
			explanation: explanations[index],
			isTicked: relevant.has(index),
		})),
	);
	const hidden = documents.length - numRows;
	$("more").textContent = hidden ? `${texts(hidden)} behind these ${numRows} ${hidden === 1 ? "is" : "are"} not shown.` : "";
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

// Moves the line where "relevant" begins, without drawing anything again.
export function drawThreshold(order, scores, threshold) {
	const numAbove = order.filter((index) => scores[index] >= threshold).length;
	$("slopes").style.setProperty("--threshold", threshold);
	$("slopes").style.setProperty("--above", Math.min(numAbove, MAX_ROWS));
	$("cut").textContent = numAbove ? `${numAbove} relevant` : "none relevant";
	$("cut").classList.toggle("off", numAbove >= Math.min(order.length, MAX_ROWS));
	[...$("ranked").children].forEach((each, place) => each.classList.toggle("below", place >= numAbove));
	$("threshold-value").textContent = percent(threshold);
	$("threshold").value = Math.round(1000 * threshold);
	$("threshold").setAttribute("aria-valuetext", `${percent(threshold)}: ${texts(numAbove)}`);
}

// Lets a row and its line stand out together.
export function highlight(index) {
	for (const each of document.querySelectorAll("#lines path, #given li, #ranked li"))
		each.classList.toggle("on", each.dataset.index === `${index}`);
	$("lines").classList.toggle("some", index !== null);
}

// The whole text, each sentence tinted by its share where the server says what it looked at.
export function drawReading(document, place, explanation) {
	const points = Array.from(document.text);
	const sentences = (explanation?.sentences ?? []).filter((each) => each.start >= 0 && each.end <= points.length && each.start < each.end);
	const most = Math.max(...sentences.map((each) => each.share), 1e-9);
	const parts = [];
	let at = 0;
	for (const { start, end, share } of sentences) {
		if (start < at) continue;
		const mark = h("mark", { title: percent(share) }, points.slice(start, end).join(""));
		mark.style.setProperty("--heat", share / most);
		parts.push(points.slice(at, start).join(""), mark);
		at = end;
	}
	parts.push(points.slice(at).join(""));
	$("reading").hidden = false;
	$("reading-title").textContent = `Place ${place + 1}${document.title ? `: ${document.title}` : ""}`;
	$("reading-text").replaceChildren(...parts);
	$("reading-key").hidden = !sentences.length;
}
