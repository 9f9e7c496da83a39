// What a page gains from a script. Without one all of it can be read and every form sent.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Copying -----------------------------------------------------------------------------------------
async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
}

// Tables ------------------------------------------------------------------------------------------
function keyOf(cell) {
  const text = cell.dataset.sort ?? cell.textContent.trim();
  const number = Number(text.replace(/[,%$\s]/g, "").replace("−", "-"));
  return text === "" || text === "–" ? -Infinity : Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column, head) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => (up ? compare(a, b) : compare(b, a)));
  body.append(...rows.map(([, row]) => row));
}

function csvOf(table) {
  const quoted = (cell) => {
    const text = cell.innerText.trim().replace(/\s+/g, " ");
    // A spreadsheet runs what begins so.
    return `"${(/^[=+@\t\r-]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
  };
  const rows = [...table.rows].filter((row) => !row.hidden);
  return rows.map((row) => [...row.cells].map(quoted).join(",")).join("\r\n") + "\r\n";
}

function download(table) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csvOf(table)], { type: "text/csv" }));
  link.download = `${table.dataset.name || "table"}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "plain";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function toolsOf(table) {
  const tools = document.createElement("div");
  tools.className = "tools";
  if (table.tBodies[0].rows.length > 7) {
    const filter = document.createElement("input");
    filter.type = "search";
    filter.placeholder = "Filter";
    filter.setAttribute("aria-label", `Filter ${table.dataset.name || "rows"}`);
    const texts = new Map([...table.tBodies[0].rows].map((row) => [row, row.innerText.toLowerCase()]));
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      texts.forEach((text, row) => (row.hidden = !text.includes(wanted)));
    });
    tools.append(filter);
  }
  tools.append(button("Download CSV", () => download(table)));
  return tools;
}

function sortable(table) {
  if (!table.tHead || !table.tBodies.length) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const sorter = button("", () => sortBy(table, column, head));
    sorter.append(...head.childNodes);
    head.append(sorter);
  });
  (table.closest(".scroll") || table).before(toolsOf(table));
}

// Charts: one line under the pointer through all that share an axis, each saying its values there ---
function readAt(charts, share) {
  charts.forEach((chart) => {
    const rows = all("tbody tr", chart).filter((row) => row.dataset.x);
    const away = (row) => Math.abs(Number(row.dataset.x) - share);
    const row = rows.reduce((best, other) => (!best || away(other) < away(best) ? other : best), null);
    const line = chart.querySelector(".cross");
    const read = chart.querySelector(".read");
    if (!row || !line || !read) return;
    line.setAttribute("x1", `${row.dataset.x}%`);
    line.setAttribute("x2", `${row.dataset.x}%`);
    line.removeAttribute("visibility");
    read.textContent = [...row.cells].map((cell) => cell.textContent).filter(Boolean).join(" · ");
  });
}

function unread(charts) {
  charts.forEach((chart) => {
    chart.querySelector(".cross")?.setAttribute("visibility", "hidden");
    const read = chart.querySelector(".read");
    if (read) read.textContent = "";
  });
}

function watchCharts(root) {
  const charts = all(".chart[data-axis]", root);
  charts.forEach((chart) => {
    const same = charts.filter((other) => other.dataset.axis === chart.dataset.axis);
    const area = chart.querySelector(".area");
    area?.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      readAt(same, (100 * (event.clientX - box.left)) / box.width);
    });
    area?.addEventListener("pointerleave", () => unread(same));
  });
}

// Parts that are read when they are opened ---------------------------------------------------------
async function load(details) {
  if (!details.open || !details.dataset.src || details.dataset.loaded) return;
  details.dataset.loaded = "1";
  const later = details.querySelector(".later");
  try {
    const response = await fetch(details.dataset.src);
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const part = new DOMParser().parseFromString(await response.text(), "text/html").querySelector(".part");
    later.replaceWith(part);
    dress(part);
  } catch {
    delete details.dataset.loaded;
  }
}

// A page that is left open --------------------------------------------------------------------------
let readLast = new Date();

async function refresh(main) {
  const busy = main.querySelector(":focus") || main.querySelector("th[aria-sort]") || String(getSelection());
  if (document.hidden || busy) return;
  try {
    const response = await fetch(location.href, { headers: { "X-Refresh": "1" } });
    if (!response.ok || response.redirected) throw new Error(String(response.status));
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("main");
    if (!fresh) throw new Error("another page");
    const open = all("details[open][id]", main).map((one) => one.id);
    main.replaceChildren(...fresh.childNodes);
    dress(main);
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    readLast = new Date();
    document.querySelector("footer span").textContent = `Read at ${readLast.toISOString().slice(0, 16).replace("T", " ")} UTC`;
  } catch {
    stale(main);
  }
}

function stale(main) {
  let note = document.getElementById("stale");
  if (!note) {
    note = document.createElement("p");
    note.id = "stale";
    note.className = "banner risk";
    note.setAttribute("role", "status");
    main.prepend(note);
  }
  const minutes = Math.round((new Date() - readLast) / 60000);
  note.textContent = `knowgate does not answer: what stands here was read ${minutes} min ago.`;
}

// Keys ----------------------------------------------------------------------------------------------
function step(by) {
  const rows = all("main tbody tr, main [data-row]").filter((row) => !row.hidden && row.offsetParent && row.querySelector("a"));
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
  next.querySelector("a").focus();
  next.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") {
    const search = all("main input[type=search], main input[data-search]").find((one) => one.offsetParent);
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
}

function dress(root) {
  all(".copy", root).forEach((one) => {
    one.hidden = !navigator.clipboard;
    one.addEventListener("click", () => copy(one));
  });
  all(".scroll", root).forEach((one) => (one.tabIndex = 0)); // what scrolls is reached by keys
  all("table.sortable", root).forEach(sortable);
  all("details[data-src]", root).forEach((one) => one.addEventListener("toggle", () => load(one)));
  watchCharts(root);
}

dress(document);
document.addEventListener("keydown", onKey);
all(".keys").forEach((one) => (one.hidden = false));
const main = document.querySelector("main[data-refresh]");
if (main) setInterval(() => refresh(main), 1000 * Number(main.dataset.refresh));
