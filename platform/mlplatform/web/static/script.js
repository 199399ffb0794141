// Shows times as "3 minutes ago", and brings parts of a page up to date that have an id and `data-live`.
"use strict";

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function showAge(time) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || ["minute", 60];
  if (!time.title) time.title = time.textContent;
  time.textContent = Math.abs(seconds) < 60 ? "just now" : words.format(Math.trunc(seconds / length), unit);
}

function showAges() {
  document.querySelectorAll("time.age").forEach(showAge);
}

function isInUse(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

let isRefreshing = false;

async function refresh() {
  if (document.hidden || isRefreshing) return;
  isRefreshing = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelectorAll("[data-live][id]").forEach((part) => {
      const newer = fresh.getElementById(part.id);
      if (newer && !isInUse(part)) part.replaceWith(newer);
    });
    showAges();
  } catch {
    // The server is away: what is shown stays, and the next turn asks again.
  } finally {
    isRefreshing = false;
  }
}

showAges();
setInterval(showAges, 30000);
const period = Number(document.getElementById("content").dataset.refreshSeconds);
if (period > 0) setInterval(refresh, 1000 * period);
