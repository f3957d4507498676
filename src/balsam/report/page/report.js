"use strict";
// The table of attempts is sorted by a click on a column's head, and filtered by what is typed.
(() => {
  const table = document.getElementById("attempts");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
  const heads = Array.from(table.tHead.rows[0].cells);
  const collator = new Intl.Collator("en", { numeric: true });

  const key = (row, column) => {
    const cell = row.cells[column];
    return "of" in cell.dataset ? Number(cell.dataset.of) : cell.textContent;
  };
  const compare = (one, other) =>
    typeof one === "number" ? one - other : collator.compare(one, other);

  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((one) => [key(one.row, column), one.row]);
      keyed.sort((one, other) => compare(one[0], other[0]) * (down ? -1 : 1));
      body.append(...keyed.map((one) => one[1]));
    });
  });

  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    const all = rows.length.toLocaleString("en");
    document.getElementById("shown").textContent = `${shown.toLocaleString("en")} of ${all} rows`;
  });
})();
