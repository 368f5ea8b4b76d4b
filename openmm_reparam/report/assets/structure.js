const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function startPlots() {
  const figures = ["energy", "force"].map((name) => byId(`plot-${name}`));
  if (!figures[0] || !page.curves.length) return;
  const draw = () => {
    const logX = byId("log-evaluations").checked;
    const logY = byId("log-energy").checked;
    const finite = page.curves.flatMap((curve) => curve.energy.filter((e) => e !== null));
    const lowest = finite.reduce((a, b) => Math.min(a, b), Infinity);
    const energies = page.curves.map((curve, colour) => ({
      ...{ label: curve.label, dots: curve.dots, colour, x: curve.evaluations },
      // The lowest itself has no logarithm and is left out.
      y: logY ? curve.energy.map((e) => (e > lowest ? e - lowest : null)) : curve.energy,
    }));
    const common = { xLabel: "force evaluations", logX };
    drawPlot(figures[0], energies, {
      ...common,
      title: "Energy against force evaluations",
      yLabel: logY ? "energy above the lowest, kJ/mol" : "energy, kJ/mol",
      unit: "kJ/mol",
      height: 260,
      logY,
      clip: CLIPPED_SHARE,
    });
    const forces = page.curves
      .map((curve, colour) => ({
        ...{ label: curve.label, colour, x: curve.evaluations },
        y: curve.rms_force,
      }))
      .filter((curve) => curve.y);
    if (!figures[1] || !forces.length) return;
    drawPlot(figures[1], forces, {
      ...common,
      title: "RMS force against force evaluations",
      yLabel: "RMS force, kJ/mol/nm",
      unit: "kJ/mol/nm",
      height: 220,
      logY: true,
      tolerance: page.tolerance,
    });
  };
  draw();
  for (const id of ["log-evaluations", "log-energy"]) byId(id).addEventListener("change", draw);
  new ResizeObserver(draw).observe(byId("plots"));
}

function startViewer() {
  const element = byId("viewer");
  if (!element) return null;
  const marked = new Set(page.marked);
  try {
    const view = new MoleculeView(element, page.molecule, marked);
    connectViewerKeys(element, view);
    return view;
  } catch (error) {
    element.textContent =
      "The 3D view needs WebGL, which this browser does not offer. All else on the page works.";
    element.classList.add("unavailable");
    return null;
  }
}

function connectControls(view, announce) {
  const choices = [...document.querySelectorAll("input[name=shown]")];
  const visible = (value) => (value === "both" ? ["before", "after"] : [value]);
  const choose = (value) => {
    const choice = choices.find((input) => input.value === value);
    for (const input of choices) input.checked = input === choice;
    view.show(visible(value));
  };
  for (const input of choices)
    input.addEventListener("change", () => {
      choose(input.value);
      announce(`Showing ${input.value}`);
    });
  for (const name of ["sticks", "hydrogens"]) {
    const box = byId(`show-${name}`);
    box.checked = view[name];
    box.addEventListener("change", () => {
      view[name] = box.checked;
      view.draw();
    });
  }
  byId("whole").addEventListener("click", () => {
    markRow(null);
    view.focusOn([]);
    announce("Showing the whole molecule");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.draw());
  const chosen = () => choices.find((input) => input.checked)?.value;
  return { choose, chosen };
}

function markRow(row) {
  for (const other of document.querySelectorAll("tr.shown")) other.classList.remove("shown");
  row?.classList.add("shown");
}

// A click anywhere in a row does what its button does.
function connectRows(table, act) {
  if (!table) return;
  makeSortable(table);
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row.querySelector("button.show")) return;
    markRow(row);
    act(row);
    // On a phone the viewer is above the table and may be out of sight.
    const top = byId("viewer").getBoundingClientRect().top;
    if (top < 0) byId("viewer").scrollIntoView({ block: "nearest" });
  });
}

function start() {
  startPlots();
  const announce = (text) => (byId("status").textContent = text);
  const view = startViewer();
  if (!view) {
    for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
    for (const button of document.querySelectorAll("button.show"))
      button.replaceWith(...button.childNodes);
    return;
  }
  const controls = connectControls(view, announce);
  controls.choose(page.molecule.conformations.length > 1 ? "after" : "before");
  view.zoom(null);
  connectRows(byId("violations"), (row) => {
    const atoms = row.dataset.atoms.split(" ").map(Number);
    const only = { mended: "before", new: "after", remains: "after" }[row.dataset.state];
    if (controls.chosen() !== "both") controls.choose(only);
    view.focusOn(atoms);
    announce(`Showing ${row.dataset.residues} (${controls.chosen()})`);
  });
  connectRows(byId("minima"), (row) => {
    controls.choose(row.dataset.conformation);
    view.focusOn([]);
    announce(`Showing ${row.dataset.conformation}`);
  });
}

start();
