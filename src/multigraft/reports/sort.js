// Sorts the scoreboard by the column whose heading is pressed; the baselines stay above.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const first = head.dataset.first;
    const way = head.ariaSort === first ? (first === "ascending" ? "descending" : "ascending") : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.value;
    const body = table.tBodies[1];
    const empty = (row) => (key(row) === "" ? 1 : 0);
    const compare = (a, b) =>
      empty(a) - empty(b) || sign * (column ? key(a) - key(b) : key(a).localeCompare(key(b)));
    body.append(...[...body.rows].sort(compare));
  }));
}
