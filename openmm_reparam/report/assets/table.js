// Numbers come before words, and what is empty comes last, whichever way a table is sorted.
function compareCells(a, b, descending) {
  const emptyA = a === null || a === "";
  const emptyB = b === null || b === "";
  if (emptyA || emptyB) return emptyA - emptyB;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return descending ? -order : order;
}

function cellValue(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

// Marks the heading that a table is sorted by, and returns whether the order is descending.
function turnHeading(headings, chosen) {
  const descending = chosen.getAttribute("aria-sort") === "ascending";
  for (const heading of headings) heading.removeAttribute("aria-sort");
  chosen.setAttribute("aria-sort", descending ? "descending" : "ascending");
  return descending;
}

// Sorts a table's rows by the column whose heading's button is pressed.
function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button")?.addEventListener("click", () => {
      const descending = turnHeading(headings, heading);
      const body = table.tBodies[0];
      const keyed = [...body.rows].map((row) => [cellValue(row.cells[column]), row]);
      keyed.sort((a, b) => compareCells(a[0], b[0], descending));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
