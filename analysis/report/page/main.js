// The start: unpack what is small, then show what the address asks for.

views.tables = (chosen) => {
  const part = document.getElementById(`part-${chosen.at}`);
  if (part !== null) part.scrollIntoView();
};

async function main() {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack the data; a browser from 2023 or later can");
  }
  page = await unpack("index");
  for (const language of Object.values(page.languages)) {
    let from = 0; // where an item's instructions begin in the strings of verdicts
    language.items.forEach((item, index) => {
      Object.assign(item, { index, from });
      from += item.instructions.length;
    });
  }
  document.getElementById("help-button").addEventListener("click", () => document.getElementById("help").showModal());
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // its address would be taken for that of a view
    document.getElementById("main").focus();
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", show);
  await show();
  document.documentElement.dataset.ready = "yes";
  performance.mark("interactive");
}

main().catch(fail);
