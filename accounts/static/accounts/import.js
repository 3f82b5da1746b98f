// Reads a chosen file into the field of the text: the server takes no files, and the text can be looked at.
"use strict";
const MOST_BYTES = 2000000;
const chooser = document.getElementById("id_file");
const problem = document.getElementById("file-problem");

function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

async function read() {
  const [file] = chooser.files;
  if (!file) return;
  say("");
  if (file.size > MOST_BYTES) {
    say(`The file has ${file.size.toLocaleString("en")} bytes; expected at most ${MOST_BYTES.toLocaleString("en")}.`);
    return;
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    document.getElementById("id_text").value = text;
  } catch {
    say("Expected a file in UTF-8.");
  }
}

chooser.closest(".ask-field").hidden = false;
chooser.addEventListener("change", read);
read();
