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

function fromValues(values) {
	// A list with its question, as the commands train and evaluate read it.
	const list = values.find((each) => Array.isArray(each?.documents));
	if (!list) return { form: "JSON", rows: values.map((each) => [asDocument(each), isYes(first(Object(each), RELEVANT))]) };
	const ids = (Array.isArray(list.answer_ids) ? list.answer_ids : []).map(String);
	const rows = list.documents.map((each, i) => [asDocument(each), ids.includes(`${each?.doc_id ?? i}`)]);
	return { form: "a list", rows, query: typeof list.query === "string" ? list.query : undefined };
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

// RFC 4180: quotes, doubled quotes, line breaks inside of quotes.
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
		return { form: "CSV", rows: rows.slice(1).map((row) => [{ title: (row[titleAt] ?? "").trim(), text: row[textAt] ?? "" }, isYes(row[relevantAt])]) };
	if (!isNamed) return null;
	// No name says which column has the texts: the longest cells do.
	const widths = names.map((_, i) => rows.reduce((sum, row) => sum + (row[i] ?? "").length, 0));
	const longest = widths.indexOf(Math.max(...widths));
	return { form: "CSV", rows: rows.map((row) => [asDocument(row[longest] ?? "")]) };
}

// Returns {documents, relevant, query?, form}; blank texts are left out.
export function parse(given, fileName = "") {
	const text = given.replace(/^\uFEFF/, "");
	const isCsv = /\.(csv|tsv)$/i.test(fileName);
	const lines = { form: "lines", rows: text.split(/\r?\n/).map((line) => [asDocument(line.trim())]) };
	const { form, rows, query } = (!isCsv && json(text)) || csv(text, isCsv) || lines;
	const filled = rows.filter(([document]) => `${document.title}${document.text}`.trim());
	return { form, query, documents: filled.map(([document]) => document), relevant: [...filled.keys()].filter((i) => filled[i][1]) };
}

// What the editor shows for a list: lines, or JSON where a line could not hold a text.
export const unparse = (documents) =>
	documents.every(({ title, text }) => !title && !/[\r\n]|^\s*[[{"]/.test(text))
		? documents.map(({ text }) => text).join("\n")
		: documents.map(({ title, text }) => JSON.stringify(title ? { title, text } : text)).join("\n");
