// Labelling by keyboard: a key presses its button, and the next input takes the place of this one without a new page.
"use strict";

const desk = () => document.getElementById("desk");
let isBusy = false;

function controlFor(key) {
  return [...desk().querySelectorAll("[data-keys]")].find((part) => part.dataset.keys.split(" ").includes(key));
}

function say(text) {
  desk().querySelector("[role=status]").textContent = text;
}

async function show(address, options = {}) {
  if (isBusy) return;
  isBusy = true;
  try {
    const answer = await fetch(address, { ...options, headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const newer = page.getElementById("desk");
    if (newer) {
      desk().replaceWith(newer);
      history.replaceState(null, "", answer.url);
      newer.querySelector("[autofocus]")?.focus();
    } else {
      const content = page.getElementById("content");
      if (!content) throw new TypeError("the answer is no page of the server's");
      document.getElementById("content").replaceWith(content);
    }
  } catch {
    say("The server did not answer: nothing is known to have been taken. Press the key again.");
  } finally {
    isBusy = false;
  }
}

function send(form, button) {
  return show(form.action, { method: "POST", body: new URLSearchParams(new FormData(form, button)) });
}

document.addEventListener("submit", (event) => {
  if (!event.target.closest("#desk")) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !desk()) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "Enter" && event.target.closest("a, button")) return;
  const control = controlFor(event.key.toLowerCase());
  if (!control) return;
  event.preventDefault();
  if (control.form) send(control.form, control);
  else show(control.href);
});
