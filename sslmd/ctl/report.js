"use strict";
(() => {
  // What is closed on paper stays unread.
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
  const table = document.getElementById("certs");
  if (!table) return;
  const bodies = Array.from(table.tBodies);
  const together = bodies[0].rows.length;
  const form = document.getElementById("filter");
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const boxes = Array.from(form.querySelectorAll("input[type=checkbox]"));
  const read = (row) => ({
    row,
    state: row.className,
    name: row.cells[0].firstChild.data,
    text: row.textContent.toLowerCase(),
  });
  let rows = bodies.flatMap((body) => Array.from(body.rows, read));

  // Of rows that are not laid out the browser does not know how many of them are hidden.
  const measure = () => {
    for (const body of bodies) {
      const number = Array.from(body.rows).filter((row) => !row.hidden).length;
      body.hidden = number === 0;
      body.style.containIntrinsicSize = number < together ? `${number * 4}rem` : "";
    }
  };

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    let number = 0;
    for (const one of rows) {
      const fits = states.has(one.state) && wanted.every((word) => one.text.includes(word));
      if (one.row.hidden === fits) one.row.hidden = !fits;
      if (fits) number += 1;
    }
    measure();
    shown.textContent = `${number} of ${rows.length} shown`;
  };

  let soon = 0;
  form.addEventListener("input", () => {
    clearTimeout(soon);
    soon = setTimeout(filter, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();

  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const plain = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const keyOf = {
    name: (one) => one.name,
    state: (one) => one.state,
    // What has no time comes last.
    time: (one, at) => one.row.cells[at].querySelector("time")?.dateTime ?? "~",
  };
  const heads = Array.from(document.querySelectorAll("th[data-k]"));

  const sort = (head, at) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const kind = head.dataset.k;
    const order = kind === "name" ? compare : plain;
    const keyed = rows.map((one) => [keyOf[kind](one, at), one]);
    keyed.sort((a, b) => (up ? order(a[0], b[0]) : order(b[0], a[0])) || compare(a[1].name, b[1].name));
    rows = keyed.map(([, one]) => one);
    bodies.forEach((body, number) => {
      const some = rows.slice(number * together, (number + 1) * together);
      body.replaceChildren(...some.map((one) => one.row));
    });
    measure();
  };

  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(head, at));
  });
})();
