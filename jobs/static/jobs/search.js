// The job list: "/" leads to the search box; a search that has not tested all jobs goes on by itself, step by step,
// until there is a page full of jobs, all were tested, or Stop is pressed; statistics are loaded when they are opened;
// two to eight selected jobs are compared by one click.
"use strict";
const box = document.getElementById("searchbar");
const typed = box.value;
const place = document.getElementById("searching");
let stopped = false;

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  box.focus();
  box.select();
});

// Whether a new page would take something away from the person.
const isBusy = () =>
  box.value !== typed ||
  document.querySelector("#changelist-form input:checked, dialog[open], .columns[open], #statistics[open]") !== null;

async function goOn() {
  let address = null;
  let link = document.getElementById("go-on");
  while (link && "goesOn" in place.dataset && !stopped) {
    address = link.href;
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("searching");
    if (!next || !("goesOn" in next.dataset)) delete place.dataset.goesOn;
    if (next) place.querySelector(".so-far").replaceChildren(...next.querySelector(".so-far").childNodes);
    link = page.getElementById("go-on");
    if (link) document.getElementById("go-on").href = link.href;
  }
  if (!address) return;
  if (isBusy()) {
    const show = document.createElement("a");
    show.href = address;
    show.textContent = "Show what was found";
    place.replaceChildren(show);
  } else location.replace(address);
}

function interrupted() {
  delete place.dataset.goesOn;
  place.querySelector(".so-far").append(" Interrupted: the server did not respond.");
}

if (place && "goesOn" in place.dataset) {
  document.getElementById("stop-search").addEventListener("click", () => {
    stopped = true;
  });
  goOn().catch(interrupted);
}

const statistics = document.getElementById("statistics");

async function showStatistics(link) {
  const address = link.href;
  const told = statistics.querySelector("[role=status]");
  told.textContent = "Counting …";
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById("list-statistics");
    if (!found) throw new Error("no statistics");
    statistics.querySelector("#list-statistics")?.remove();
    statistics.append(found);
    told.textContent = "";
  } catch {
    const again = document.createElement("a");
    again.href = address;
    again.textContent = "Try again";
    told.replaceChildren("The server did not respond. ", again);
  }
}

statistics?.addEventListener("toggle", () => {
  const link = statistics.querySelector("[role=status] a");
  if (statistics.open && link) showStatistics(link);
});
statistics?.addEventListener("click", (event) => {
  const link = event.target.closest("[role=status] a, #count-longer");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  showStatistics(link);
});

const compare = document.getElementById("compare-selected");
document.getElementById("changelist-form")?.addEventListener("change", () => {
  if (!compare) return;
  const chosen = [...document.querySelectorAll("input.action-select:checked")].map(({ value }) => value);
  compare.hidden = chosen.length < 2 || chosen.length > 8;
  compare.search = new URLSearchParams({ jobs: chosen.join(",") });
});
