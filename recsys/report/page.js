"use strict";
// The page is whole without this. It sorts tables, copies them, shows values at the pointer, picks a user, and changes between light and dark.
(() => {
  const make = (name, text, more) => Object.assign(document.createElement(name), { textContent: text, ...more });
  const button = (text, act) => make("button", text, { type: "button", className: "tool", onclick: act });

  // Light, dark, or as the system has it.
  const themes = ["auto", "light", "dark"];
  let theme = 0;
  const change = button("", () => {
    theme = (theme + 1) % themes.length;
    tell();
  });
  const tell = () => {
    if (theme) document.documentElement.dataset.theme = themes[theme];
    else delete document.documentElement.dataset.theme;
    change.textContent = "Theme: " + themes[theme];
  };
  tell();
  document.querySelector("header").append(change);

  // A click on a heading sorts by the exact values; numbers best first, what has none last.
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.replace(/,/g, "").replace("< ", "");
    const found = parseFloat(text);
    return Number.isFinite(found) || /^(nan|-)?$/i.test(text) ? found : text;
  };
  const order = (a, b) => {
    if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b));
    return a - b;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const press = make("button", "", { type: "button" });
      press.append(...head.childNodes);
      head.append(press);
      press.onclick = () => {
        const down = head.ariaSort ? head.ariaSort === "ascending" : head.classList.contains("n");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
        const none = (found) => Number.isNaN(found);
        rows.sort(([a], [b]) => (none(a) || none(b) ? none(a) - none(b) : (down ? -1 : 1) * order(a, b)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      };
    });
  }

  // Copying: the clipboard where a page from a file may have it, the selection elsewhere.
  for (const box of document.querySelectorAll("details.copy")) {
    const before = box.previousElementSibling;
    const tools = before?.matches("details.copy") ? before.parentElement.querySelector(".tools") : make("div", "", { className: "tools" });
    if (!tools.isConnected) box.before(tools);
    const text = box.querySelector("pre");
    const said = box.querySelector("summary").textContent.replace("The table as", "Copy as");
    const press = button(said, async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
      } catch {
        box.open = true;
        getSelection().selectAllChildren(text);
        document.execCommand("copy");
      }
      press.textContent = "Copied";
      setTimeout(() => (press.textContent = said), 1500);
    });
    tools.append(press);
  }

  // The mark nearest to the pointer says what it is.
  const tip = document.getElementById("tip");
  for (const chart of document.querySelectorAll("svg.chart")) {
    const marks = [...chart.querySelectorAll(".mark")].map((mark) => {
      const title = mark.querySelector("title");
      const found = { mark, x: +mark.dataset.x, y: +mark.dataset.y, said: title.textContent };
      title.remove();
      return found;
    });
    let near = null;
    const leave = () => {
      near?.mark.classList.remove("near");
      near = null;
      tip.hidden = true;
    };
    chart.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
      const far = (found) => Math.hypot(found.x - at.x, found.y - at.y);
      const best = marks.reduce((a, b) => (a && far(a) <= far(b) ? a : b), null);
      leave();
      if (!best || far(best) > 28) return;
      near = best;
      best.mark.classList.add("near");
      tip.textContent = best.said;
      tip.hidden = false;
      tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)) + "px";
      tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 12) + "px";
    });
    chart.addEventListener("pointerleave", leave);
  }

  // One user at a time.
  for (const people of document.querySelectorAll(".people")) {
    const all = [...people.querySelectorAll(".person")];
    const choice = make("select", "", { ariaLabel: "user" });
    all.forEach((person, place) => choice.append(make("option", person.querySelector("summary").textContent, { value: place })));
    const show = (place) => {
      choice.value = place = (place + all.length) % all.length;
      all.forEach((person, other) => (person.open = other === place));
    };
    choice.onchange = () => show(+choice.value);
    const row = make("div", "", { className: "picker" });
    row.append(choice, button("Previous", () => show(+choice.value - 1)), button("Next", () => show(+choice.value + 1)));
    people.before(row);
    people.classList.add("picked");
    show(0);
  }

  // A number leads to its run, which opens.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (const found of [target, ...target.querySelectorAll(":scope > details.run")]) if (found.tagName === "DETAILS") found.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
})();
