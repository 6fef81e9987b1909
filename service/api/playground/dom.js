// Makes elements. Text is only ever put in as text.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export const say = (id, text) => ($(id).textContent = text);

export const put = (id, ...children) => $(id).replaceChildren(...children);

// Listens; a form is never sent.
export const on = (id, name, listener) =>
	$(id).addEventListener(name, (event) => {
		if (name === "submit") event.preventDefault();
		listener(event);
	});

function fill(element, attributes, children) {
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (value === true) element.setAttribute(name, "");
		else if (value !== false && value !== undefined) element.setAttribute(name, value);
	}
	element.append(...children);
	return element;
}

export const h = (tag, attributes = {}, ...children) =>
	fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
	fill(document.createElementNS(SVG, tag), attributes, children);

export const percent = (share) => {
	const value = 100 * share;
	return `${value >= 9.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)} %`;
};

export const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));

export const texts = (count) => `${count.toLocaleString("en")} ${count === 1 ? "text" : "texts"}`;

export async function copyText(text) {
	if (navigator.clipboard) return navigator.clipboard.writeText(text);
	// Without TLS there is no clipboard.
	const area = h("textarea", { readonly: true });
	area.value = text;
	document.body.append(area);
	area.select();
	document.execCommand("copy");
	area.remove();
}

export function download(name, text) {
	const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
	h("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 1000);
}
