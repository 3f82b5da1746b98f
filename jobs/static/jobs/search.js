// The job list: "/" leads to the search box; a search that has not tested all jobs goes on by itself, step by step,
// until there is a page full of jobs, all were tested, or Stop is pressed.
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
  box.value !== typed || document.querySelector("#changelist-form input:checked, dialog[open], .columns[open]") !== null;

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
