for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => {
    let upwards = false;
    head.addEventListener("click", () => {
      upwards = !upwards;
      const value = (row) => {
        const cell = row.cells[column];
        const given = cell.dataset.value ?? cell.textContent.trim();
        const number = parseFloat(given);
        return given !== "" && !Number.isNaN(number) ? number : given.toLowerCase();
      };
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const a = value(one), b = value(other);
        const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
        return upwards ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
