// Keeps the question and its texts in the part of the address that no server is sent.

const MAX_LINK = 8000; // characters; longer addresses break in mail and chat
const MAX_STATE = 2_000_000; // bytes that a link may inflate to

const slug = (name) => name.toLowerCase().replace(/\W+/g, "-");

const base64 = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

async function through(bytes, transform, max) {
  const reader = new Blob([bytes]).stream().pipeThrough(transform).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    size += value.length;
    if (size > max) {
      await reader.cancel();
      throw new RangeError("too long");
    }
    parts.push(value);
  }
}

// Returns the fragment, or null where it would be too long.
export async function written(state, presets) {
  const view = { t: state.threshold ?? undefined, b: state.baseline === "given" ? undefined : state.baseline, o: state.other || undefined };
  if (state.preset !== null) {
    const found = new URLSearchParams({ example: slug(presets[state.preset].name) });
    for (const [name, value] of Object.entries(view)) if (value !== undefined) found.set(name, value);
    return `#${found}`;
  }
  const documents = state.documents.map(({ title, text }) => (title ? { title, text } : text));
  const json = JSON.stringify({ q: state.query, d: documents, r: [...state.relevant], ...view });
  if (json.length > 50 * MAX_LINK) return null;
  const packed = await through(new TextEncoder().encode(json), new CompressionStream("deflate-raw"), MAX_STATE);
  return packed.length * 1.4 > MAX_LINK ? null : `#list=${base64(packed)}`;
}

function checked({ q, d, r = [], t, b, o }) {
  const isText = (each) => typeof each === "string";
  const isDocument = (each) => isText(each) || (isText(each?.text) && isText(each.title));
  if (!isText(q) || !Array.isArray(d) || !d.every(isDocument) || !Array.isArray(r)) return null;
  return {
    query: q,
    documents: d.map((each) => (isText(each) ? { title: "", text: each } : { title: each.title, text: each.text })),
    relevant: r.filter((each) => Number.isInteger(each) && each >= 0 && each < d.length),
    ...viewed(t, b, o),
  };
}

function viewed(t, b, o) {
  const threshold = t === undefined || t === null ? NaN : Number(t);
  return {
    threshold: threshold >= 0 && threshold <= 1 ? threshold : null,
    baseline: ["bm25", "server"].includes(b) ? b : "given",
    other: typeof o === "string" && /^https?:\/\//.test(o) ? o.slice(0, 300) : "",
  };
}

// Returns what a fragment says, {preset, ...view} or a whole state; null if it says nothing;
// undefined if it cannot be read.
export async function read(hash, presets) {
  if (hash.length < 2) return null;
  const fields = new URLSearchParams(hash.slice(1));
  const preset = presets.findIndex((each) => slug(each.name) === fields.get("example"));
  if (preset >= 0) return { preset, ...viewed(fields.get("t"), fields.get("b"), fields.get("o")) };
  try {
    const bytes = bytesOf(fields.get("list") ?? "");
    const inflated = await through(bytes, new DecompressionStream("deflate-raw"), MAX_STATE);
    return checked(JSON.parse(new TextDecoder().decode(inflated))) ?? undefined;
  } catch {
    return undefined;
  }
}
