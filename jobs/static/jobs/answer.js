// The top of the job page: what the rules found in the samples, and the whole as text for a ticket.
import { element } from "./figures.js";

const answer = document.getElementById("answer");
const list = document.getElementById("findings");
const copy = document.getElementById("copy-answer");

// Each finding leads to the part of the plot that shows it.
document.addEventListener("jobs:samples", ({ detail: { findings, show } }) => {
  list.replaceChildren(...findings.map((finding) => {
    const item = element("li");
    const button = element("button", finding.sentence, "link-button");
    button.type = "button";
    button.title = `Show this time in the plot of ${finding.metric}`;
    button.addEventListener("click", () => show(finding));
    item.dataset.rule = finding.rule;
    item.append(button);
    return item;
  }));
  list.hidden = !findings.length;
});

const asText = () => [
  answer.dataset.title,
  answer.querySelector(".ending strong").textContent,
  ...[...list.children].map((item) => `- ${item.textContent}`),
  location.href.split(/[?#]/)[0],
].join("\n");

if (navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(asText());
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy as text"; }, 2000);
  });
}
