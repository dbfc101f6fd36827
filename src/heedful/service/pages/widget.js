/* Heedful's feedback widget: thumbs, stars, a correction. One script, no cookies, no other requests.

     <script src="…/widget.js" data-key="hk_….…" data-turn="TURN" data-ask="thumbs" defer></script>
     Heedful.attach(element, {turn, key, ask: "stars correction"})

   Text only becomes text. A piece has its id from the first click on: a second click or a retry is kept once. */
(function () {
  "use strict";
  const script = document.currentScript;
  const WORDS = {
    group: "Your opinion of this answer",
    up: "Good answer",
    down: "Bad answer",
    star: "{n} of 5 stars",
    correct: "Suggest a better answer",
    text: "What should the answer have been?",
    send: "Send",
    cancel: "Cancel",
    sending: "Sending …",
    thanks: "Thank you.",
    failed: "This could not be sent.",
    refused: "This was not accepted.",
    again: "Try again",
  };
  const THUMB = "M2 10h4v11H2zM8 10l4-8c2 0 3 1 3 3v4h6l-2 12H8z";
  const STAR = "M12 2l3 7 7 .6-5.4 4.7 1.7 7.2-6.3-3.9-6.3 3.9 1.7-7.2L2 9.6 9 9z";
  const CSS = `
    :host { display: block; color-scheme: light dark; --line: #767676; --ink: #222; --on: #00695c; --paper: #fff; }
    @media (prefers-color-scheme: dark) { :host { --line: #8c8c8c; --ink: #eee; --on: #4db6ac; --paper: #1e1e1e; } }
    div, form { display: flex; flex-wrap: wrap; gap: .4em; align-items: center; }
    * { font: inherit; box-sizing: border-box; }
    button, textarea { color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: .5em; }
    button { min-width: 2.5em; min-height: 2.5em; padding: .3em .7em; cursor: pointer; }
    button.icon { padding: .3em; }
    button:hover { border-color: var(--on); }
    button:focus-visible, textarea:focus-visible { outline: 3px solid var(--on); outline-offset: 2px; }
    button[aria-disabled=true] { cursor: default; opacity: .6; }
    button[aria-pressed=true], button.lit { border-color: var(--on); opacity: 1; }
    svg { display: block; width: 1.5em; height: 1.5em; margin: auto; fill: none; stroke: currentColor;
      stroke-width: 1.6; stroke-linejoin: round; }
    button.lit svg, button[aria-pressed=true] svg { fill: var(--on); stroke: var(--on); }
    form { flex-basis: 100%; } form[hidden] { display: none; } label { flex-basis: 100%; }
    textarea { display: block; width: 100%; min-height: 5em; padding: .5em; }
    p { margin: 0; } p:empty { display: none; }`;

  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    return element;
  }

  function icon(path, name, turned) {
    const button = make("button", "", { type: "button", class: "icon", "aria-label": name, title: name, "aria-pressed": "false" });
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    shape.setAttribute("d", path);
    if (turned) shape.setAttribute("transform", "rotate(180 12 12)");
    svg.append(shape);
    button.append(svg);
    return button;
  }

  function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return "widget_" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  const ASKS = {
    thumbs(words, say) {
      const up = icon(THUMB, words.up), down = icon(THUMB, words.down, true);
      up.onclick = () => say({ form: "thumbs", up: true }, up, [up, down]);
      down.onclick = () => say({ form: "thumbs", up: false }, down, [up, down]);
      return [up, down];
    },
    stars(words, say) {
      const stars = [1, 2, 3, 4, 5].map((n) => icon(STAR, words.star.replace("{n}", n)));
      let chosen = 0;
      const light = (n) => stars.forEach((star, place) => star.classList.toggle("lit", place < n));
      stars.forEach((star, place) => {
        star.onmouseenter = star.onfocus = () => chosen || light(place + 1);
        star.onmouseleave = star.onblur = () => light(chosen);
        star.onclick = () => {
          if (say({ form: "rating", value: place + 1 }, star, stars)) light((chosen = place + 1));
        };
      });
      return stars;
    },
    correction(words, say) {
      const open = make("button", words.correct, { type: "button", "aria-expanded": "false" });
      const form = make("form", "", { hidden: "" });
      const label = make("label", words.text);
      const text = make("textarea", "", { required: "", maxlength: "20000" });
      const send = make("button", words.send, { type: "submit" });
      const cancel = make("button", words.cancel, { type: "button" });
      const show = (shown) => {
        form.hidden = !shown;
        open.setAttribute("aria-expanded", String(shown));
        (shown ? text : open).focus();
      };
      label.append(text);
      form.append(label, send, cancel);
      open.onclick = () => open.getAttribute("aria-disabled") || show(form.hidden);
      cancel.onclick = () => show(false);
      form.onkeydown = (event) => { if (event.key === "Escape") show(false); };
      form.onsubmit = (event) => {
        event.preventDefault();
        if (text.value.trim() && say({ form: "correction", text: text.value }, null, [open, send])) show(false);
      };
      return [open, form];
    },
  };

  function attach(element, options) {
    const { turn, key, ask = "thumbs", by, url } = { ...(script ? script.dataset : {}), ...options };
    if (!turn || !key) throw new Error("Heedful: the widget needs a turn and a key");
    const words = { ...WORDS, ...(options && options.words) };
    const address = url || new URL("v1/feedback", script.src).href;
    const host = make("div");
    const root = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    const group = make("div", "", { role: "group", "aria-label": words.group });
    const status = make("p", "", { role: "status" });
    const again = make("button", words.again, { type: "button" });
    const left = new Set(); // bodies that were not sent
    let busy = false;

    function say(said, pressed, all) {
      if (busy || all.some((button) => button.getAttribute("aria-disabled"))) return false;
      const piece = { id: newId(), at: new Date().toISOString(), turn, said };
      if (by) piece.by = by;
      all.forEach((button) => button.setAttribute("aria-disabled", "true"));
      if (pressed) pressed.setAttribute("aria-pressed", "true");
      send(JSON.stringify(piece));
      return true;
    }

    async function send(body) {
      busy = true;
      again.remove();
      status.textContent = words.sending;
      let answer = null;
      try {
        const headers = { authorization: "Bearer " + key, "content-type": "application/json" };
        answer = await fetch(address, { method: "POST", headers, body, credentials: "omit", keepalive: body.length < 60000 });
      } catch { /* away, or not allowed here */ }
      busy = false;
      if (answer && answer.ok) left.delete(body);
      else left.add(body);
      if (!left.size) {
        status.textContent = words.thanks;
        return;
      }
      const final = answer && answer.status < 500 && answer.status !== 429;
      status.textContent = final ? words.refused : words.failed;
      group.append(again);
    }
    again.onclick = async () => {
      for (const body of [...left]) await send(body);
    };

    for (const name of ask.split(/[\s,|]+/).filter(Boolean)) {
      if (!Object.hasOwn(ASKS, name)) throw new Error("Heedful: ask for " + Object.keys(ASKS).join(", "));
      group.append(...ASKS[name](words, say));
    }
    group.append(status);
    root.append(group);
    element.append(host);
    return { remove: () => host.remove() };
  }

  window.Heedful = window.Heedful || { attach };
  if (script && script.dataset.turn) {
    const place = make("div");
    script.after(place);
    attach(place, {});
  }
})();
