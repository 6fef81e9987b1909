// Writes the request on the page as a program: curl, Python, and clients of other rerankers.

import { asSent } from "./api.js";

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

const python = (value) => JSON.stringify(value);
const assigned = (query, documents) =>
	`query = ${python(query)}\ndocuments = [\n${documents.map((each) => `		${python(plain(each))},\n`).join("")}]\n\n`;

// The blocks of deploy/clients.md; ADDRESS and KEY are filled in.
const CLIENTS = {
	cohere: `import cohere

client = cohere.ClientV2("KEY", base_url="ADDRESS")
found = client.rerank(model="default", query=query, documents=documents)
print([result.index for result in found.results])
`,
	voyageai: `import voyageai

client = voyageai.Client("KEY", base_url="ADDRESS/v1", max_retries=2)
found = client.rerank(query, documents, model="default")
print([result.index for result in found.results])
`,
	LangChain: `from langchain_cohere import CohereRerank

compressor = CohereRerank(
    model="default", cohere_api_key="KEY", base_url="ADDRESS", top_n=10
)
print([result["index"] for result in compressor.rerank(documents, query)])
`,
};

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

export const NAMES = ["curl", "Python requests", ...Object.keys(CLIENTS)];
export const hasDialect = (name) => !(name in CLIENTS);

// The key itself is never written: what is copied gets shared.
export function program(name, dialect, address, query, documents) {
	if (name === "curl") return curl(address, DIALECTS[dialect], query, documents);
	if (name === "Python requests") return requests(address, DIALECTS[dialect], query, documents);
	return assigned(query, documents) + CLIENTS[name].replaceAll("ADDRESS", () => address);
}
