// The address says all that can be chosen: "#answers?lang=fi&a=<run>&key=1003". So every view has a link, and the
// back button goes back. "#run-<id>", which cells of tables link to, is short for "#runs?run=<id>".

const views = {}; // name -> function(parameters) that shows it

function read() {
  const hash = location.hash.slice(1);
  if (hash.startsWith("run-")) return { view: "runs", chosen: { run: decoded(hash.slice(4)) } };
  const [name, query] = split(hash, "?");
  const view = Object.hasOwn(views, name) ? name : "tables";
  return { view, chosen: Object.fromEntries(new URLSearchParams(query)) };
}

function split(text, sign) {
  const at = text.indexOf(sign);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function address(view, chosen) {
  const kept = Object.entries(chosen).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept).toString();
  return `#${view}${query ? `?${query}` : ""}`;
}

// Go somewhere: a new entry in the history, unless it only refines the last one (typing).
function go(view, chosen, refine = false) {
  const hash = address(view, chosen);
  if (hash === location.hash) return;
  if (refine) {
    history.replaceState(null, "", hash);
    show();
  } else {
    location.hash = hash;
  }
}

let shown = null; // the view on the screen
let shows = 0; // how often something was asked for: what is slow looks whether it is still wanted

async function show() {
  const { view, chosen } = read();
  shows += 1;
  const mine = shows;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${view}`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown !== null && shown !== view) window.scrollTo(0, 0);
  shown = view;
  document.getElementById("failure").hidden = true;
  try {
    await views[view](chosen);
  } catch (error) {
    fail(error);
  }
  if (mine === shows) document.documentElement.dataset.shown = location.hash; // tests wait for it
}

function fail(error) {
  const box = document.getElementById("failure");
  fill(box, `This part cannot be shown: ${error.message || error}`);
  box.hidden = false;
}

const runLink = (run) => el("a", { href: address("runs", { run: page.runs[run].id }) }, page.runs[run].name);
