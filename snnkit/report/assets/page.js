// What the reader can do with the page: switch views, sort tables, copy the command, choose the theme.
"use strict";
(() => {
  const R = Report, page = document.documentElement;

  document.querySelectorAll("[data-switch]").forEach((group) => group.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (!pressed) return;
    group.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button === pressed)));
    R.show(group.dataset.switch, pressed.dataset.view);
  }));

  // A choice of one among many: a chart, and the table that goes with it.
  document.querySelectorAll("[data-select]").forEach((list) => list.addEventListener("change", () => {
    const id = list.dataset.select;
    R.show(id, list.value);
    document.querySelectorAll(`[data-${id}]`).forEach((item) => { item.hidden = item.dataset[id] !== list.value; });
  }));
  document.querySelectorAll("[data-models]").forEach((group) => group.addEventListener("change", (event) => {
    R.chosen.model = Number(event.target.value);
    document.querySelectorAll("[data-model]").forEach((item) => { item.hidden = item.dataset.model !== event.target.value; });
    R.charts.forEach((entry, id) => { if (id.startsWith("energy")) R.draw(entry); });
  }));

  const valueOf = (row, column) => {
    const cell = row.children[column], value = cell.dataset.v ?? cell.textContent.trim();
    return value === "" ? null : Number.isNaN(Number(value)) ? value : Number(value);
  };
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }
  function sortBy(table, heading) {
    const column = [...heading.parentElement.children].indexOf(heading), body = table.tBodies[0];
    const numeric = heading.classList.contains("n"), before = heading.getAttribute("aria-sort");
    const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
    const rows = [...body.rows].sort((x, y) => {
      const [a, b] = [valueOf(x, column), valueOf(y, column)];
      return (order === "ascending" || a === null || b === null ? 1 : -1) * compare(a, b);
    });
    body.append(...rows);
  }
  document.querySelectorAll("table.sortable").forEach((table) => table.querySelectorAll("thead th").forEach((heading) => {
    heading.tabIndex = 0;
    heading.addEventListener("click", () => sortBy(table, heading));
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(table, heading); });
  }));

  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
    const words = document.getElementById(button.dataset.copy);
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const select = () => getSelection().selectAllChildren(words);
    if (navigator.clipboard) navigator.clipboard.writeText(words.textContent).then(done, select);
    else select();
  }));

  // Keys, strings and other values of the configuration, each in its colour.
  const config = document.getElementById("config");
  if (config) config.innerHTML = config.textContent.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?)/).map((piece, index) => {
    if (index % 2) return `<span class="${piece.endsWith(":") ? "k" : "s"}">${R.escape(piece)}</span>`;
    return R.escape(piece).replace(/\b(true|false|null|-?\d[\d.eE+-]*)/g, (value) => `<span class="v">${value}</span>`);
  }).join("");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = page.style.colorScheme || (dark.matches ? "dark" : "light");
    page.style.colorScheme = now === "dark" ? "light" : "dark";
    R.drawAll();
  });
  dark.addEventListener("change", R.drawAll);
  matchMedia("print").addEventListener("change", R.drawAll);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((item) => { item.open = true; });
    R.drawAll();
  });

  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(R.drawAll, 80);
  });

  const links = new Map([...document.querySelectorAll(".bar .links a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link, id) => link.classList.toggle("here", id === entry.target.id));
  }), { rootMargin: "-30% 0px -60% 0px" });
  document.querySelectorAll("section").forEach((section) => seen.observe(section));

  R.drawAll();
})();
