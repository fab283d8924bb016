"use strict";
// The interactive parts of the page: dials, sorting, filters, and a window with the record of a cell.
// Without JavaScript, all texts, tables and records can still be read.

function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function fragment() {
  // The part after # may be anything, and need not be valid percent-encoding.
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
}

// --- Dials: one prompt at one value, beside the unsteered model -----------------------------------------------------

function turnable(dial, number) {
  const turns = [...dial.querySelectorAll(".turn")];
  if (!turns.length) return;
  const values = [...turns[0].querySelectorAll("[data-value]:not(.baseline)")].map((part) => part.dataset.value);
  const dimension = dial.dataset.dial;
  const range = create("input", {
    type: "range", min: 0, max: values.length - 1, step: 1, id: `range-${number}`, value: values.length - 1,
  });
  const output = create("output", { for: `range-${number}` });
  const ticks = create("div", { class: "ticks", "aria-hidden": "true" }, ...values.map((value) => create("span", {}, value)));
  const choice = create("select", { id: `prompt-${number}` });
  turns.forEach((turn, index) => choice.append(create("option", { value: index }, turn.querySelector(".prompt").textContent)));
  const folded = dial.querySelector("details");
  dial.querySelector("h3").after(create("div", { class: "controls" },
    create("label", { for: `range-${number}` }, dimension, " ", output), create("div", {}, range, ticks)));
  folded.querySelector(".turned").before(create("div", { class: "controls" },
    create("label", { for: `prompt-${number}` }, "Prompt"), choice));
  folded.querySelector(".turned").setAttribute("aria-live", "polite");
  dial.classList.add("live");
  if (folded.matches(".plain-texts")) folded.open = true;

  function show() {
    const value = values[range.value];
    output.textContent = value;
    range.setAttribute("aria-valuetext", `${dimension} ${value}`);
    turns.forEach((turn, index) => { turn.hidden = index !== Number(choice.value); });
    for (const part of dial.querySelectorAll("[data-value]")) {
      const current = part.dataset.value === value;
      part.hidden = !current && part.dataset.value !== "unsteered";
      if (part.matches("tr")) part.toggleAttribute("aria-current", current);
    }
  }
  function turn() {
    show();
    history.replaceState(null, "", `#${dial.id}:${choice.value}:${range.value}`);
  }
  function restore() {
    const [id, prompt, value] = fragment().split(":");
    if (id !== dial.id) return;
    if (turns[prompt] && values[value]) {
      choice.value = prompt;
      range.value = value;
      folded.open = true;
    }
    document.getElementById(`choose-${dial.id}`)?.click();
    show();
    dial.scrollIntoView();
  }
  range.addEventListener("input", turn);
  choice.addEventListener("change", turn);
  window.addEventListener("hashchange", restore);
  show();
  return restore;
}

function oneDialAtATime(dials) {
  // Buttons choose which of several dials is shown.
  if (dials.length < 2) return;
  const buttons = dials.map((dial) => create("button", { type: "button", id: `choose-${dial.id}` }, dial.dataset.short));
  const group = create("div", { class: "choose", role: "group", "aria-label": "Which dial" }, ...buttons);
  dials[0].before(group);
  function choose(chosen) {
    dials.forEach((dial, index) => {
      dial.hidden = index !== chosen;
      buttons[index].setAttribute("aria-pressed", index === chosen);
    });
  }
  buttons.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  choose(0);
}

// --- Tables: sorted by a column, filtered by a word ----------------------------------------------------------------

const PLAIN = new Intl.Collator("en");
const NUMBERED = /^(.*?)([-−]?\d[\d,]*(?:\.\d+)?)?$/s;

function columnsOf(table) {
  // The heading of each column; headings may span rows and columns.
  const columns = [];
  const lastLevel = [];
  [...table.tHead.rows].forEach((row, level) => {
    let at = 0;
    for (const cell of row.cells) {
      while (lastLevel[at] > level) at += 1;
      for (let step = 0; step < cell.colSpan; step += 1) {
        columns[at + step] = cell.colSpan === 1 ? cell : columns[at + step];
        lastLevel[at + step] = level + cell.rowSpan;
      }
      at += cell.colSpan;
    }
  });
  return columns;
}

function keyOf(row, index) {
  // Words and the number at their end: "sentiment −5" sorts before "sentiment 0".
  const cell = row.cells[index];
  const text = (cell.dataset.sort ?? cell.firstChild?.textContent ?? "").trim();
  const [, words, number] = NUMBERED.exec(text);
  return { words, number: number === undefined ? Infinity : Number(number.replace("−", "-").replace(/,/g, "")) };
}

function compareKeys(one, other) {
  return PLAIN.compare(one.words, other.words) || one.number - other.number || 0;
}

function dataRows(body) {
  return [...body.rows].filter((row) => !row.querySelector('[scope="rowgroup"]'));
}

function sortable(table) {
  const columns = columnsOf(table);
  columns.forEach((heading, index) => {
    if (!heading) return;
    const button = create("button", { type: "button", class: "sort" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const downward = heading.getAttribute("aria-sort") === "ascending";
      for (const other of columns) other?.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", downward ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = dataRows(body).map((row) => [keyOf(row, index), row]);
        rows.sort(([one], [other]) => (downward ? -1 : 1) * compareKeys(one, other));
        body.append(...rows.map(([, row]) => row));
      }
    });
  });
}

function filterable(table, number) {
  const rows = [...table.tBodies].flatMap(dataRows);
  if (rows.length < 8) return;
  const input = create("input", { type: "search", id: `filter-${number}`, autocomplete: "off" });
  const count = create("span", { role: "status" });
  const place = table.closest(".scroll") ?? table;
  const name = table.caption ? table.caption.textContent : "";
  place.before(create("div", { class: "filter" },
    create("label", { for: `filter-${number}` }, "Filter rows", create("span", { class: "unseen" }, ` (${name})`)), input, count));
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let matches = 0;
    for (const row of rows) {
      const group = row.parentElement.querySelector('[scope="rowgroup"]');
      // Only the words of a row are searched, not its numbers.
      const cells = [...row.cells].filter((cell) => cell.dataset.sort === undefined);
      const text = [group, ...cells].map((cell) => cell?.textContent ?? "").join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      matches += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${matches} of ${rows.length}` : "";
  });
}

// --- Cells: their record in a window -------------------------------------------------------------------------------

function recordsInWindow() {
  const dialog = create("dialog", { "aria-labelledby": "dialog-title" });
  const close = create("button", { type: "button", class: "close" }, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);

  function open(link) {
    const cell = link.closest("td");
    const record = document.getElementById(link.getAttribute("href").slice(1));
    const table = cell.closest("table");
    const heading = columnsOf(table)[cell.cellIndex].textContent.trim();
    const copy = record.cloneNode(true);
    for (const part of copy.querySelectorAll("dt[data-judge], dd[data-judge]")) {
      if (part.dataset.judge !== link.dataset.judge) part.remove();
    }
    copy.querySelector("h4").remove();
    for (const part of [copy, ...copy.querySelectorAll("[id]")]) part.removeAttribute("id");
    copy.removeAttribute("aria-labelledby");
    const value = create("p", { class: "value-line" });
    value.append(...[...cell.childNodes].map((part) => part.cloneNode(true)));
    value.querySelector("a").replaceWith(create("b", {}, link.textContent));
    const address = create("a", { href: `#${cell.id}` }, "Link to this cell");
    address.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(
      create("h2", { id: "dialog-title" }, `${cell.parentElement.cells[0].textContent.trim()}: ${heading}`),
      value, copy, create("p", { class: "links" }, address, close));
    dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-judge]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
}

// --- Paper: every chapter is printed, except texts behind a warning ------------------------------------------------

function openOnPaper() {
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.chapter:not([open])")];
    opened.forEach((chapter) => { chapter.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((chapter) => { chapter.open = false; }));
}

const dials = [...document.querySelectorAll("[data-dial]")];
const restores = dials.map(turnable);
oneDialAtATime(dials);
restores.forEach((restore) => restore?.());
document.querySelectorAll("table[data-sortable]").forEach((table, number) => { filterable(table, number); sortable(table); });
recordsInWindow();
openOnPaper();
