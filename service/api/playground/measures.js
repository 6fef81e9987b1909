// Orders by keywords, and says how good an order is.

const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
const K1 = 1.2;
const B = 0.75;

// BM25 in Lucene's form, with this list as the whole collection; indices, best first.
export function bm25(query, documents) {
	const bags = documents.map(({ title, text }) => words(`${title} ${text}`));
	const meanLength = bags.reduce((sum, bag) => sum + bag.length, 0) / (bags.length || 1) || 1;
	const scores = bags.map(() => 0);
	for (const word of new Set(words(query))) {
		const counts = bags.map((bag) => bag.filter((each) => each === word).length);
		const found = counts.filter((count) => count > 0).length;
		const idf = Math.log(1 + (bags.length - found + 0.5) / (found + 0.5));
		counts.forEach((count, i) => {
			scores[i] += (idf * count) / (count + K1 * (1 - B + (B * bags[i].length) / meanLength));
		});
	}
	return [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
}

const gain = (place) => 1 / Math.log2(place + 2);

export function ndcgAt10(order, relevant) {
	if (!relevant.size) return null;
	let found = 0;
	let ideal = 0;
	order.slice(0, 10).forEach((index, place) => (found += relevant.has(index) ? gain(place) : 0));
	for (let place = 0; place < Math.min(10, relevant.size); place++) ideal += gain(place);
	return found / ideal;
}

// The score at which F1 of "at least this score" is best, half way to the next score below.
export function bestThreshold(order, scores, relevant) {
	let best = null;
	let found = 0;
	order.forEach((index, place) => {
		found += relevant.has(index) ? 1 : 0;
		const next = scores[order[place + 1]];
		if (next === scores[index]) return; // no line runs between equal scores
		const f1 = (2 * found) / (place + 1 + relevant.size);
		if (f1 > (best?.f1 ?? 0))
			best = { f1, score: (scores[index] + (next ?? 0)) / 2, found, wrong: place + 1 - found };
	});
	return best;
}

export const places = (order) => {
	const found = [];
	order.forEach((index, place) => (found[index] = place));
	return found;
};
