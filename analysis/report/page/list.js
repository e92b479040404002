// The list of the prompts that the filters leave, a page at a time, and what they add up to.

function tellCounts(box, language, choice) {
  const { left } = browser;
  fill(box.querySelector(".status"), `${counted(left.length, "prompt")} of ${language.items.length} left by the filters.`);
  const facts = [["A", "a"], ["B", "b"]].filter(([, side]) => choice[side] !== null).map(([name, side]) => {
    const verdicts = left.flatMap(({ judged }) => judged[side]).filter((sign) => sign !== "-");
    const followed = verdicts.filter((sign) => sign === "1").length;
    const wrong = left.filter(({ item }) => isWrong(language, choice[side], item)).length;
    return el("li", {}, `${name} follows ${followed} of ${counted(verdicts.length, "instruction")} `
      + `(${percent(followed, verdicts.length)}), ${counted(wrong, "answer")} in the wrong language.`);
  });
  if (choice.b !== null) {
    const sum = (name) => left.reduce((total, { judged }) => total + judged[name], 0);
    facts.push(el("li", {}, `From A to B: ${sum("gained")} gained, ${sum("lost")} lost.`));
  }
  fill(box.querySelector(".facts"), facts);
}

function showList(box, shownItem) {
  const list = box.querySelector(".list");
  const hadFocus = list.contains(document.activeElement);
  const at = Math.max(0, browser.left.findIndex(({ item }) => item === shownItem));
  const from = at - (at % LIST_PAGE);
  const some = browser.left.slice(from, from + LIST_PAGE);
  fill(list, some.map(({ item, judged }) => el("li", {},
    el("a", { href: address("answers", writeChoice(browser.choice, keyOf(item))), "data-key": keyOf(item),
      "aria-current": item === shownItem ? "true" : null },
      el("span", { class: "head", dir: "auto" }, item.head || "(no text)"),
      el("span", { class: "signs" }, `${keyOf(item)} · A ${summary(judged.a)}`
        + (browser.choice.b === null ? "" : ` · B ${summary(judged.b)}`))))));
  if (!some.length) add(list, [el("li", {}, el("p", { class: "gap" }, "No prompt is left. Clear a filter."))]);
  const current = list.querySelector("[aria-current]");
  if (current !== null) {
    if (hadFocus) current.focus({ preventScroll: true });
    // Within the list alone: the page stays where it is.
    if (current.offsetTop < list.scrollTop + list.offsetTop) list.scrollTop = current.offsetTop - list.offsetTop;
    const below = current.offsetTop - list.offsetTop + current.offsetHeight - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
  }
  pager(box.querySelector(".pager"), from, some.length);
}

// "✓✗" with words for readers that do not see signs.
function summary(judged) {
  const followed = judged.filter((sign) => sign === "1").length;
  const known = judged.filter((sign) => sign !== "-").length;
  return known ? `${followed === known ? "✓" : "✗"} ${followed}/${known}` : "– none";
}

function pager(box, from, count) {
  const all = browser.left.length;
  if (all <= LIST_PAGE) return fill(box);
  const jump = (text, to) => {
    const button = el("button", { type: "button", disabled: to < 0 || to >= all }, text);
    button.addEventListener("click", () => step(to));
    return button;
  };
  return fill(box, jump("Earlier", from - LIST_PAGE), `${from + 1}–${from + count} of ${all}`,
    jump("Later", from + LIST_PAGE));
}

// Go to the prompt at a place of the list.
function step(place) {
  const target = browser.left[place];
  if (target === undefined) return;
  browser.key = keyOf(target.item); // at once: the next key may come before the prompt is shown
  go("answers", writeChoice(browser.choice, browser.key));
}

function stepBy(difference) {
  const at = browser.left.findIndex(({ item }) => keyOf(item) === browser.key);
  step(at < 0 ? 0 : at + difference);
}
