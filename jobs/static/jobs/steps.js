// Submits the form of work in steps repeatedly, until it is finished or Stop is pressed.
"use strict";
const place = document.getElementById("steps");
let stopped = false;

async function goOn() {
  const form = place.querySelector("form.step");
  if (!form || stopped) return;
  form.querySelector("[type=submit]").disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById("steps");
  if (!answer.ok || !next) throw new Error(answer.statusText);
  const focused = document.activeElement && document.activeElement.id;
  place.replaceChildren(...next.childNodes);
  if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
  await goOn();
}

function interrupted() {
  const button = place.querySelector("form.step [type=submit]");
  if (stopped || !button) return;
  button.disabled = false;
  const text = document.createElement("p");
  text.className = "warning-line";
  text.textContent = "Interrupted: the server did not respond. Press Continue to go on.";
  place.append(text);
}

place.addEventListener("click", (event) => {
  if (event.target.id === "stop-steps") stopped = true;
});
if ("goesOn" in place.dataset) goOn().catch(interrupted);
