// Reads what people paste: lines, JSON, JSON lines, CSV. Texts come back as {title, text}.

const TEXT_NAMES = ["text", "document", "content", "passage", "body", "contents"];
const TITLE_NAMES = ["title", "name", "headline"];
const RELEVANT_NAMES = ["relevant", "relevance", "label"];

const own = (object, names) => names.map((name) => object[name]).find((v) => v !== undefined);

function asDocument(value) {
  if (typeof value === "string") return { title: "", text: value };
  if (value === null || typeof value !== "object") return { title: "", text: String(value) };
  const text = own(value, TEXT_NAMES);
  const title = own(value, TITLE_NAMES);
  if (typeof text !== "string") return { title: "", text: JSON.stringify(value) };
  return { title: typeof title === "string" ? title : "", text };
}

const isYes = (value) => !["", "0", "false", "no", "undefined", "null"].includes(`${value}`.trim().toLowerCase());

function fromObjects(values) {
  // A list with its question, as the commands train and evaluate read it.
  const list = values.find((each) => Array.isArray(each?.documents));
  if (list) {
    const ids = new Set((list.answer_ids ?? []).map(String));
    const relevant = [...list.documents.keys()].filter((i) => ids.has(String(list.documents[i]?.doc_id ?? i)));
    const query = typeof list.query === "string" ? list.query : undefined;
    return { documents: list.documents.map(asDocument), relevant, query, form: "a list" };
  }
  const relevant = [...values.keys()].filter((i) => values[i] && typeof values[i] === "object" && isYes(own(values[i], RELEVANT_NAMES)));
  return { documents: values.map(asDocument), relevant, form: "JSON" };
}

const parsed = (text) => {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
};

function json(text) {
  if (!/^\s*[[{"]/.test(text)) return null;
  const whole = parsed(text);
  if (whole && typeof whole.value === "object") return fromObjects(Array.isArray(whole.value) ? whole.value : [whole.value]);
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const values = lines.map(parsed);
  return values.every(Boolean) ? fromObjects(values.map((each) => each.value)) : null;
}

// RFC 4180: quotes, doubled quotes, line breaks inside of quotes.
export function csvRows(text, separator) {
  const rows = [[]];
  let cell = "";
  let isQuoted = false;
  const closeCell = () => {
    rows.at(-1).push(cell);
    cell = "";
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (isQuoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') cell += text[++i];
      else isQuoted = false;
    } else if (c === '"' && cell === "") isQuoted = true;
    else if (c === separator) closeCell();
    else if (c === "\n") {
      closeCell();
      rows.push([]);
    } else if (c !== "\r") cell += c;
  }
  closeCell();
  return rows.filter((row) => row.some((each) => each.trim()));
}

function csv(text, isCsv) {
  const head = text.slice(0, text.search(/[\r\n]|$/));
  const separator = ["\t", ";", ","].find((each) => head.includes(each)) ?? ",";
  const rows = csvRows(text, separator);
  const names = rows[0]?.map((each) => each.trim().toLowerCase()) ?? [];
  const column = (known) => names.findIndex((name) => known.includes(name));
  const [textAt, titleAt, relevantAt] = [TEXT_NAMES, TITLE_NAMES, RELEVANT_NAMES].map(column);
  if (textAt < 0) {
    if (!isCsv) return null;
    // No name says which column has the texts: the longest cells do.
    const widths = names.map((_, i) => rows.reduce((sum, row) => sum + (row[i] ?? "").length, 0));
    const longest = widths.indexOf(Math.max(...widths));
    return { documents: rows.map((row) => asDocument(row[longest] ?? "")), relevant: [], form: "CSV" };
  }
  const body = rows.slice(1).filter((row) => (row[textAt] ?? "").trim());
  return {
    documents: body.map((row) => ({ title: (row[titleAt] ?? "").trim(), text: row[textAt] })),
    relevant: relevantAt < 0 ? [] : [...body.keys()].filter((i) => isYes(body[i][relevantAt] ?? "")),
    form: "CSV",
  };
}

// Returns {documents, relevant, query?, form}; blank texts are left out.
export function parse(given, fileName = "") {
  const text = given.replace(/^\uFEFF/, "");
  const isCsv = /\.(csv|tsv)$/i.test(fileName);
  const found = (!isCsv && json(text)) || csv(text, isCsv) || {
    documents: text.split(/\r?\n/).map((line) => asDocument(line.trim())),
    relevant: [],
    form: "lines",
  };
  const filled = [...found.documents.keys()].filter((i) => `${found.documents[i].title}${found.documents[i].text}`.trim());
  const relevant = new Set(found.relevant);
  return {
    ...found,
    documents: filled.map((i) => found.documents[i]),
    relevant: [...filled.keys()].filter((place) => relevant.has(filled[place])),
  };
}

// What the editor shows for a list: lines, or JSON where a line could not hold a text.
export const unparse = (documents) =>
  documents
    .map(({ title, text }) => {
      const isPlain = !title && !/[\r\n]/.test(text) && !/^\s*[[{"]/.test(text);
      return isPlain ? text : null;
    })
    .every((line) => line !== null)
    ? documents.map((each) => each.text).join("\n")
    : documents.map(({ title, text }) => JSON.stringify(title ? { title, text } : text)).join("\n");
