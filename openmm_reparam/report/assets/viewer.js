// Okabe and Ito's colours, which colour-blind readers can tell apart.
const CARBONS = { before: 0xe69f00, after: 0x3b8fd0 };
const CARBONS_OF_MINIMA = 0x009e73;
const ELEMENTS = { N: 0x4a63e8, O: 0xe8372c, S: 0xd9b810, P: 0xff8000, H: 0xb8bcc2 };
const FOCUS_COLOUR = "#d1148c";
const ANGSTROM = 100; // pm
const TRACED = new Set(["CA", "P", "C1'", "C3'"]);
const SECONDARY_STRUCTURES = { h: "h", s: "s", c: "c" };
const TURN = 12; // degrees for a key
const TICKED_RESIDUES = 80;
const TICKED_HYDROGENS = 300;

function colourOf(label) {
  return CARBONS[label] ?? CARBONS_OF_MINIMA;
}

function viewerAtoms(molecule, conformation) {
  const bonds = molecule.names.map(() => []);
  for (let k = 0; k < molecule.bonds.length; k += 2) {
    bonds[molecule.bonds[k]].push(molecule.bonds[k + 1]);
    bonds[molecule.bonds[k + 1]].push(molecule.bonds[k]);
  }
  return molecule.names.map((name, k) => {
    const residue = molecule.residues[k];
    const letter = (other) => conformation.structure[other];
    const continues = (other) =>
      letter(other) === letter(residue) && molecule.chains[other] === molecule.chains[residue];
    return {
      x: conformation.xyz[3 * k] / ANGSTROM,
      y: conformation.xyz[3 * k + 1] / ANGSTROM,
      z: conformation.xyz[3 * k + 2] / ANGSTROM,
      atom: name,
      elem: molecule.elements[k],
      resn: molecule.resnames[residue],
      resi: molecule.numbers[residue],
      chain: String(molecule.chains[residue]),
      bonds: bonds[k],
      bondOrder: bonds[k].map(() => 1),
      hetflag: false,
      ss: SECONDARY_STRUCTURES[letter(residue)] ?? "c",
      ssbegin: !continues(residue - 1),
      ssend: !continues(residue + 1),
      properties: { residue },
    };
  });
}

// The 3D view of a molecule in several conformations, of which some are drawn at once.
class MoleculeView {
  constructor(element, molecule, marked) {
    this.molecule = molecule;
    this.marked = marked;
    this.models = new Map();
    this.visible = [];
    this.focus = null;
    this.sticks = molecule.labels.length <= TICKED_RESIDUES;
    this.hydrogens = molecule.names.length <= TICKED_HYDROGENS;
    this.traced = new Set();
    molecule.names.forEach((name, k) => {
      if (TRACED.has(name)) this.traced.add(molecule.residues[k]);
    });
    this.viewer = $3Dmol.createViewer(element, { antialias: true, cartoonQuality: 6 });
    if (!this.viewer?.getCanvas?.()) throw new Error("no WebGL");
  }

  conformation(label) {
    return this.molecule.conformations.find((known) => known.label === label);
  }

  model(label) {
    if (!this.models.has(label)) {
      const model = this.viewer.addModel();
      model.addAtoms(viewerAtoms(this.molecule, this.conformation(label)));
      this.models.set(label, model);
    }
    return this.models.get(label);
  }

  show(labels) {
    this.visible = labels;
    for (const label of labels) this.model(label);
    this.draw();
  }

  focusOn(atoms) {
    this.focus = atoms.length ? atoms : null;
    this.draw();
    const residues = new Set(atoms.map((atom) => this.molecule.residues[atom]));
    const numbers = [...residues].map((residue) => this.molecule.numbers[residue]);
    this.zoom(atoms.length ? { resi: numbers, model: this.visibleModels() } : null);
  }

  visibleModels() {
    return this.visible.map((label) => this.model(label));
  }

  zoom(selection) {
    this.viewer.zoomTo(selection ?? { model: this.visibleModels() });
    // 3Dmol leaves a wide margin around a whole molecule, but none at the sides on a phone.
    const canvas = this.viewer.getCanvas();
    this.viewer.zoom(selection ? 0.6 : Math.min(1.2, (0.95 * canvas.width) / canvas.height));
    this.viewer.render();
  }

  turn(x, y) {
    if (x) this.viewer.rotate(x, "x");
    if (y) this.viewer.rotate(y, "y");
    this.viewer.render();
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    this.viewer.setBackgroundColor(style.getPropertyValue("--viewer").trim(), 1);
    for (const [label, model] of this.models) {
      if (this.visible.includes(label)) {
        model.show();
        this.style(label, model);
      } else {
        model.hide();
      }
    }
    this.drawFocus(style);
    this.viewer.render();
  }

  style(label, model) {
    const carbon = colourOf(label);
    const colorfunc = (atom) => (atom.elem === "C" ? carbon : (ELEMENTS[atom.elem] ?? carbon));
    const focused = new Set((this.focus ?? []).map((atom) => this.molecule.residues[atom]));
    const among = (residues) => ({
      predicate: (atom) =>
        residues.has(atom.properties.residue) && (this.hydrogens || atom.elem !== "H"),
    });
    const everywhere = new Set(this.molecule.labels.keys());
    const untraced = new Set([...everywhere].filter((residue) => !this.traced.has(residue)));
    model.setStyle({}, { cartoon: { color: carbon, opacity: this.focus ? 0.6 : 1 } });
    const thin = this.sticks ? everywhere : new Set([...untraced, ...this.marked]);
    model.setStyle(among(thin), { stick: { radius: 0.12, colorfunc } }, true);
    // Hydrogens of a violation are shown whatever is ticked.
    const close = { predicate: (atom) => focused.has(atom.properties.residue) };
    if (focused.size) model.setStyle(close, { stick: { radius: 0.24, colorfunc } }, true);
  }

  drawFocus(style) {
    this.viewer.removeAllLabels();
    this.viewer.removeAllShapes();
    if (!this.focus || !this.visible.length) return;
    const { xyz } = this.conformation(this.visible[this.visible.length - 1]);
    const place = (atom) => ({
      x: xyz[3 * atom] / ANGSTROM,
      y: xyz[3 * atom + 1] / ANGSTROM,
      z: xyz[3 * atom + 2] / ANGSTROM,
    });
    const named = new Map(this.focus.map((atom) => [this.molecule.residues[atom], atom]));
    for (const [residue, atom] of named) {
      this.viewer.addLabel(this.molecule.labels[residue], {
        position: place(atom),
        backgroundColor: style.getPropertyValue("--label").trim(),
        fontColor: style.getPropertyValue("--label-text").trim(),
        backgroundOpacity: 0.8,
        fontSize: 13,
        // Labels of neighbours stand on two sides.
        screenOffset: { x: 10, y: this.focus[0] === atom ? -30 : 10 },
      });
    }
    for (let k = 1; k < this.focus.length; k++) {
      const [start, end] = [place(this.focus[k - 1]), place(this.focus[k])];
      const look = { radius: 0.07, dashed: true, color: FOCUS_COLOUR };
      this.viewer.addCylinder({ start, end, ...look });
    }
  }
}

// The page scrolls under the wheel until the viewer is clicked; keys turn and zoom.
function connectViewerKeys(element, view) {
  const pass = (event) => {
    if (document.activeElement !== element && !event.ctrlKey) event.stopPropagation();
  };
  element.addEventListener("wheel", pass, { capture: true });
  element.addEventListener("pointerdown", () => element.focus({ preventScroll: true }));
  const turns = {
    ArrowLeft: [0, -TURN],
    ArrowRight: [0, TURN],
    ArrowUp: [-TURN, 0],
    ArrowDown: [TURN, 0],
  };
  element.addEventListener("keydown", (event) => {
    if (turns[event.key]) view.turn(...turns[event.key]);
    else if (event.key === "+" || event.key === "=") view.viewer.zoom(1.15);
    else if (event.key === "-") view.viewer.zoom(1 / 1.15);
    else return;
    event.preventDefault();
    view.viewer.render();
  });
}
