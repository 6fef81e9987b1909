// Reads what people paste: lines, JSON, JSON lines, CSV.

const TEXT = ["text", "document", "content", "passage", "body"];
const TITLE = ["title", "name"];
const RELEVANT = ["relevant", "relevance", "label"];

const first = (object, names) => names.map((name) => object[name]).find((value) => value !== undefined);
const isYes = (value) => !["", "0", "false", "no", "undefined", "null"].includes(`${value}`.trim().toLowerCase());

// A text, {title, text}, of a string or of an object with one of the usual names.
export function asDocument(value) {
	const text = value && typeof value === "object" ? first(value, TEXT) : `${value}`;
	if (typeof text !== "string") return { title: "", text: JSON.stringify(value) };
	return { title: `${first(Object(value), TITLE) ?? ""}`, text };
}

const single = (form, rows) => rows && { form, lists: [{ rows }] };

function fromValues(values) {
	// Lists with their questions, as the commands train and evaluate read them.
	const lists = values.filter((each) => Array.isArray(each?.documents));
	if (!lists.length) return single("JSON", values.map((each) => [asDocument(each), isYes(first(Object(each), RELEVANT))]));
	return { form: lists.length > 1 ? `${lists.length} lists` : "a list", lists: lists.map(fromList) };
}

function fromList({ query, documents, answer_ids }) {
	const ids = (Array.isArray(answer_ids) ? answer_ids : []).map(String);
	const rows = documents.map((each, i) => [asDocument(each), ids.includes(`${each?.doc_id ?? i}`)]);
	return { rows, query: typeof query === "string" ? query : undefined };
}

function json(text) {
	if (!/^\s*[[{"]/.test(text)) return null;
	for (const source of [text, `[${text.trim().split(/\s*[\r\n]\s*/).join()}]`]) {
		try {
			return fromValues([JSON.parse(source)].flat());
		} catch {} // then it is something else
	}
	return null;
}

// RFC 4180.
function cells(text, separator) {
	const rows = [[""]];
	let isQuoted = false;
	for (let i = 0; i < text.length; i++) {
		const [c, row] = [text[i], rows.at(-1)];
		if (isQuoted && c === '"' && text[i + 1] !== '"') isQuoted = false;
		else if (isQuoted) row[row.length - 1] += c === '"' ? text[++i] : c;
		else if (c === '"' && row.at(-1) === "") isQuoted = true;
		else if (c === separator) row.push("");
		else if (c === "\n") rows.push([""]);
		else if (c !== "\r") row[row.length - 1] += c;
	}
	return rows;
}

function csv(text, isNamed) {
	const head = text.slice(0, text.search(/[\r\n]|$/));
	const rows = cells(text, ["\t", ";", ","].find((each) => head.includes(each)) ?? ",");
	const names = rows[0].map((each) => each.trim().toLowerCase());
	const [textAt, titleAt, relevantAt] = [TEXT, TITLE, RELEVANT].map((known) => names.findIndex((each) => known.includes(each)));
	if (textAt >= 0)
		return rows.slice(1).map((row) => [{ title: (row[titleAt] ?? "").trim(), text: row[textAt] ?? "" }, isYes(row[relevantAt])]);
	if (!isNamed) return null;
	// No name says which column has the texts: the longest cells do.
	const widths = names.map((_, i) => rows.reduce((sum, row) => sum + (row[i] ?? "").length, 0));
	const longest = widths.indexOf(Math.max(...widths));
	return rows.map((row) => [asDocument(row[longest] ?? "")]);
}

function filled({ rows, query }) {
	const kept = rows.filter(([document]) => `${document.title}${document.text}`.trim());
	return { query, documents: kept.map(([document]) => document), relevant: [...kept.keys()].filter((i) => kept[i][1]) };
}

// Returns {form, lists}, each {documents, relevant, query?}, without blank texts.
export function parse(given, fileName = "") {
	const text = given.replace(/^\uFEFF/, "");
	const isCsv = /\.(csv|tsv)$/i.test(fileName);
	const lines = text.split(/\r?\n/).map((line) => [asDocument(line.trim())]);
	const { form, lists } = (!isCsv && json(text)) || single("CSV", csv(text, isCsv)) || single("lines", lines);
	return { form, lists: lists.map(filled).filter((each) => each.documents.length) };
}

// What the editor shows for a list: lines, or JSON where a line could not hold a text.
export const unparse = (documents) =>
	documents.every(({ title, text }) => !title && !/[\r\n]|^\s*[[{"]/.test(text))
		? documents.map(({ text }) => text).join("\n")
		: documents.map(({ title, text }) => JSON.stringify(title ? { title, text } : text)).join("\n");
