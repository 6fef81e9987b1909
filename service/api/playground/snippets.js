// Writes the request on the page as a program; those of most clients come from the server.

import { asSent, load } from "./api.js";

const bash = (text) => `'${text.replace(/'/g, "'\\''")}'`;
const plain = (document) => (document.title ? `${document.title}\n${document.text}`: document.text);
const sentAs = (field) => (query, documents) => ({ query, [field]: documents.map(plain) });

// Paths and bodies; the scores are the same in all of them.
export const DIALECTS = {
	"Cohere, Jina": ["cohere/v2/rerank", (query, documents) => ({ query, documents: documents.map(asSent) })],
	"Text Embeddings Inference": ["tei/rerank", sentAs("texts")],
	Voyage: ["voyage/v1/rerank", sentAs("documents")],
	mixedbread: ["mixedbread/v1/reranking", sentAs("input")],
	"NVIDIA NIM": ["v1/ranking", (query, documents) => ({ query: { text: query }, passages: documents.map((each) => ({ text: plain(each) })) })],
	"vLLM score": ["v1/score", (query, documents) => ({ text_1: query, text_2: documents.map(plain) })],
};

const python = JSON.stringify;
const assigned = (query, documents) =>
	`query = ${python(query)}\ndocuments = [\n${documents.map((each) => `    ${python(plain(each))},\n`).join("")}]\n\n`;

const curl = (address, [path, body], query, documents) =>
	`curl -s ${bash(`${address}/${path}`)} \\\n  -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' \\\n  -d ${bash(JSON.stringify(body(query, documents), null, 1))}\n`;

const requests = (address, [path, body], query, documents) => {
	const sent = python(body(query, documents));
	return `import requests

answer = requests.post(
    ${python(`${address}/${path}`)},
    headers={"Authorization": "Bearer KEY"},
    json=${sent},
    timeout=60,
)
answer.raise_for_status()
print(answer.json())
`;
};

export const FORMS = { curl, "Python requests": requests };

// The key itself is never written: what is copied gets shared.
export async function program(name, dialect, address, query, documents) {
	if (FORMS[name]) return FORMS[name](address, DIALECTS[dialect], query, documents);
	const found = await load(`playground/clients/${name.toLowerCase().replace(/\W+/g, "-")}.txt`, "text");
	return (/^(from|import) /.test(found) ? assigned(query, documents) : "") + found.replaceAll("http://localhost:8000", () => address);
}
