// A heading of a table sorts it: rising, falling, as it was. Groups of rows (tbody) are sorted inside.
(() => {
  "use strict";
  const missing = new Set(["", "–", "-", "nan"]);
  const keyOf = (cell) => {
    const raw = ((cell && cell.dataset.value) ?? (cell ? cell.textContent : "")).trim();
    if (missing.has(raw)) return null;
    const number = Number(raw.replace("−", "-").replace(/^\+/, "").replace(/(\d),(?=\d{3})/g, "$1").replace(/\s*%$/, ""));
    return Number.isNaN(number) ? raw : number;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return typeof a === "number" ? -1 : 1;
  };
  const columnsOf = (head) => { // the heading at the bottom of each column
    const columns = [];
    const taken = [];
    [...head.rows].forEach((row, r) => {
      let column = 0;
      for (const th of row.cells) {
        while ((taken[column] ?? 0) > r) column += 1;
        for (let k = 0; k < th.colSpan; k += 1) taken[column + k] = r + th.rowSpan;
        if (th.colSpan === 1 && r + th.rowSpan >= head.rows.length) columns.push([th, column]);
        column += th.colSpan;
      }
    });
    return columns;
  };
  for (const table of document.querySelectorAll("table")) {
    if (!table.tHead) continue;
    const groups = [...table.tBodies].map((body) => {
      const heading = (row) => row.cells.length === 1 && row.cells[0].scope === "rowgroup";
      return { body, rows: [...body.rows].filter((row) => !heading(row)) };
    });
    if (!groups.some((group) => group.rows.length > 1)) continue;
    const columns = columnsOf(table.tHead);
    const sort = (th, column) => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[th.getAttribute("aria-sort") ?? "none"];
      for (const [other] of columns) other.removeAttribute("aria-sort");
      if (order !== "none") th.setAttribute("aria-sort", order);
      for (const { body, rows } of groups) {
        const keyed = rows.map((row) => [keyOf(row.cells[column]), row]);
        if (order !== "none") {
          keyed.sort(([a], [b]) => {
            if (a === null || b === null) return (a === null) - (b === null); // missing values last, either way
            return order === "ascending" ? compare(a, b) : compare(b, a);
          });
        }
        body.append(...keyed.map(([, row]) => row));
      }
    };
    for (const [th, column] of columns) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...th.childNodes);
      button.addEventListener("click", () => sort(th, column));
      th.append(button);
    }
  }
})();
