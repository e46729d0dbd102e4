// Keeps the page fresh: asks for it again when something happened, and every two seconds, and puts
// the new parts in place. The server renders everything, so there is one form of each table.
(() => {
  "use strict";
  const PERIOD_MS = 2000;
  const light = document.getElementById("link");
  let asking = false;
  let due = false;

  const say = (state, words) => {
    light.dataset.state = state;
    light.textContent = words;
  };

  const refresh = async () => {
    if (document.hidden) return;
    if (asking) {
      due = true;
      return;
    }
    asking = true;
    try {
      const response = await fetch("/", { headers: { accept: "text/html" } });
      if (!response.ok) throw new Error("status " + response.status);
      const text = await response.text();
      const next = new DOMParser().parseFromString(text, "text/html");
      document.title = next.title;
      for (const id of ["head", "body"]) {
        const here = document.getElementById(id);
        const there = next.getElementById(id);
        if (here.innerHTML !== there.innerHTML) here.replaceWith(there);
      }
      say("live", "live");
    } catch (error) {
      say("lost", "no answer; trying again");
    }
    asking = false;
    if (due) {
      due = false;
      setTimeout(refresh, 250);
    }
  };

  const events = new EventSource("/events");
  events.onmessage = refresh;
  events.addEventListener("lost", refresh);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, PERIOD_MS);
  say("live", "live");
})();
