// Two trials through the real API: many shuffles, and longer and longer lists.

import { patiently, rank } from "./api.js";
import { $, h, ms, put, say, svg, texts } from "./dom.js";

const NUM_SHUFFLES = 100;

function shuffled(count) {
	const found = [...Array(count).keys()];
	for (let i = count - 1; i > 0; i--) {
		const j = Math.floor(Math.random() * (i + 1));
		[found[i], found[j]] = [found[j], found[i]];
	}
	return found;
}

// Ranks 100 shuffles. An order is the same if the same texts stand at the same places.
export async function shuffleTrial({ query, documents, result }, patience) {
	const said = ({ title, text }) => `${title}\n${text}`;
	const expected = result.order.map((index) => said(documents[index]));
	const dots = Array.from({ length: NUM_SHUFFLES }, () => h("i"));
	put("dots", ...dots);
	let same = 0;
	let largest = 0;
	for (let count = 1; count <= NUM_SHUFFLES; count++) {
		const places = shuffled(documents.length);
		const list = places.map((index) => documents[index]);
		const found = await patiently(() => rank(query, list, patience), patience);
		const isSame = found.order.every((each, place) => said(list[each]) === expected[place]);
		same += isSame ? 1 : 0;
		dots[count - 1].className = isSame ? "same" : "moved";
		found.scores.forEach((score, i) => (largest = Math.max(largest, Math.abs(score - result.scores[places[i]]))));
		say("shuffles", count);
		say("shuffles-same", same);
		say("shuffle-told", `No score changed by more than ${(100 * largest).toFixed(4)} %.`);
	}
}

const THINGS = "harbour,school,bridge,pub,market,farm,station,garden,mill,museum".split(",");
const TOWNS = "Ostend,Trieste,Lund,Coimbra,Galway,Graz,Gdansk,Arles,Bergen,Siena".split(",");

// 1,000 different texts.
export function filler(i) {
	return { title: "", text: `The ${THINGS[i % 10]} of ${TOWNS[Math.floor(i / 10) % 10]} is on page ${i + 7}.` };
}

const STAGES = ["tokenize", "queue", "infer"];
const runs = [];

// Ranks the list with ever more fillers, up to `more` above the longest so far.
export async function lengthTrial({ query, documents, result }, more, maxDocuments, patience) {
	const longest = runs.length ? runs.at(-1).count - documents.length : 0;
	const target = Math.min(longest + more, maxDocuments - documents.length, 1000);
	const steps = more > 10 ? 4 : 1;
	const best = documents[result.order[0]];
	const sizes = Array.from({ length: steps }, (_, i) => Math.round(longest + ((target - longest) * (i + 1)) / steps));
	if (!runs.length) sizes.unshift(0);
	if (target <= longest) {
		say("speed-told", `A list of this server has at most ${texts(maxDocuments)}.`);
		return;
	}
	for (const size of sizes) {
		const list = [...documents, ...Array.from({ length: size }, (_, i) => filler(i))];
		say("speed-told", `Ranking ${texts(list.length)} …`);
		const found = await patiently(() => rank(query, list, patience), patience);
		runs.push({ count: list.length, numKnown: found.numKnown, ...found.timings });
		const place = found.order.findIndex((index) => list[index] === best) + 1;
		say("speed-told", `The best answer stands at place ${place} of ${list.length.toLocaleString("en")}.`);
		drawRuns();
	}
}

export function forgetRuns() {
	runs.length = 0;
	$("speed").hidden = true;
	say("speed-told", "");
}

const nice = (value) => {
	const power = 10 ** Math.floor(Math.log10(value));
	return [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= value);
};

function drawRuns() {
	$("speed").hidden = false;
	put(
		"times",
		...runs.map((run) =>
			h("tr", {}, ...[run.count.toLocaleString("en"), run.numKnown === null ? "not kept" : run.numKnown, ...STAGES.map((each) => ms(run[each] ?? 0)), ms(run.total ?? 0)].map((each) => h("td", {}, `${each}`))),
		),
	);
	const [left, right, top, bottom] = [56, 628, 14, 208];
	const maxX = nice(Math.max(...runs.map((run) => run.count)));
	const maxY = nice(Math.max(...runs.map((run) => STAGES.reduce((sum, each) => sum + (run[each] ?? 0), 0)), 1));
	const x = (count) => left + ((right - left) * count) / maxX;
	const y = (value) => bottom - ((bottom - top) * value) / maxY;
	const parts = [];
	for (const share of [0, 0.5, 1]) {
		const value = share * maxY;
		parts.push(svg("line", { x1: left, x2: right, y1: y(value), y2: y(value) }));
		parts.push(svg("text", { x: left - 8, y: y(value) + 4 }, value < 1000 ? `${value} ms` : `${value / 1000} s`));
		if (share) parts.push(svg("text", { x: x(share * maxX), y: bottom + 20 }, `${(share * maxX).toLocaleString("en")} texts`));
	}
	const stacked = runs.map((run) => STAGES.reduce((sums, each) => [...sums, sums.at(-1) + (run[each] ?? 0)], [0]));
	const point = (i, level) => `${x(runs[i].count).toFixed(1)},${y(stacked[i][level]).toFixed(1)}`;
	STAGES.forEach((_, level) => {
		const upper = runs.map((_, i) => point(i, level + 1));
		const lower = runs.map((_, i) => point(i, level)).reverse();
		parts.push(svg("polygon", { points: [...upper, ...lower].join(" "), class: `k${level}` }));
	});
	parts.push(svg("polyline", { points: runs.map((_, i) => point(i, 3)).join(" ") }));
	runs.forEach((run, i) => parts.push(svg("circle", { cx: x(run.count), cy: y(stacked[i][3]), r: 4 })));
	put("curve", ...parts);
}
