// The data in the page: base64 of gzipped JSON, unpacked when it is first looked at.

let page = null; // what is small: runs, steps, curves, and the index of the answers

const parsed = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done, { once: true });
  else done();
});

async function unpack(name) {
  const block = document.getElementById(`data-${name}`);
  if (block === null) throw new Error(`the file is not whole: its part “${name}” is missing`);
  const text = atob(block.textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const blocks = new Map(); // number -> promise of {texts, prompts, cut}

async function openBlock(number) {
  if (!blocks.has(number)) blocks.set(number, parsed.then(() => unpack(number)));
  return blocks.get(number);
}

// One prompt with its answers, as texts. A run that did not answer has null.
async function openItem(item) {
  const block = await openBlock(item.block);
  const row = block.prompts[item.place];
  const answer = (run) => {
    const place = run === null ? -1 : row.answer[run];
    if (place < 0) return null;
    return {
      text: block.texts[place],
      whole: block.cut[place] ?? null, // characters it had, where it was cut
      tokens: row.tokens[run] < 0 ? null : row.tokens[run],
      finished: row.finished[run], // "1", "0" or "-"
      place,
    };
  };
  return { prompt: row.prompt, answer };
}

const runById = (id) => page.runs.findIndex((run) => run.id === id);
