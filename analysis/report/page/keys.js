// The keyboard: one key for each thing that is done often; everything can be reached with Tab as well.

const writing = (target) => target instanceof Element && target.closest("input, select, textarea") !== null;

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
  if (writing(event.target)) {
    if (event.key === "Escape" && event.target.name === "q") event.target.blur();
    return;
  }
  if (event.key === "?") {
    document.getElementById("help").showModal();
  } else if (event.key === "/") {
    openSearch();
  } else if (read().view === "answers" && browser.choice !== null) {
    if (event.key === "j" || event.key === "ArrowRight") stepBy(1);
    else if (event.key === "k" || event.key === "ArrowLeft") stepBy(-1);
    else return;
  } else {
    return;
  }
  event.preventDefault();
}

async function openSearch() {
  if (read().view !== "answers") {
    location.hash = "#answers";
    await show();
  }
  const field = document.querySelector("#answers-box [name=q]");
  if (field !== null) field.focus();
}
