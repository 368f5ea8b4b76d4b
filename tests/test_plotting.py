"""Plots: files of the right kind, with the curves and names asked for, and no global backend."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from openmm_reparam import minimize_reparam
from openmm_reparam.plotting import plot_history, plot_modes, plot_search
from openmm_reparam.prepare.peptides import peptide

SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.fixture(scope="module")
def result():
    return minimize_reparam(
        peptide("GA").simulation("CPU"), 5, reparametrization="gcn", latent_iterations=20
    )


@pytest.fixture(autouse=True)
def readable_svg():
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        yield


@pytest.mark.parametrize("kind", SIGNATURES)
def test_history_is_written_in_the_kind_asked_for(result, tmp_path, kind):
    plot_history({"gcn": result}, tmp_path / f"energy.{kind}")
    assert (tmp_path / f"energy.{kind}").read_bytes().startswith(SIGNATURES[kind])


def test_history_names_axes_units_and_runs(result, tmp_path):
    plot_history({"one": result, "two": result.history}, tmp_path / "energy.svg", title="GA")
    text = (tmp_path / "energy.svg").read_text()
    for words in (
        "energy (kJ/mol)",
        "RMS force (kJ/mol/nm)",
        "force evaluations",
        f"one: {result.energy:.1f} kJ/mol",
        "two: ",
        "tolerance 5",
        "preconditioned L-BFGS",
        "GA",
    ):
        assert words in text


def test_an_empty_history_is_no_error(result, tmp_path):
    plot_history({"nothing": result.history[:0]}, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()


@pytest.mark.parametrize("nothing", [{}, [], ()])
@pytest.mark.parametrize("plot", [plot_history, plot_search])
def test_no_result_is_an_error(plot, nothing, tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        plot(nothing, tmp_path / "none.png")


@pytest.mark.parametrize("wrong", [1.5, "energy", [1.5], {"a": "energy"}, np.zeros(3)])
@pytest.mark.parametrize("plot", [plot_history, plot_search])
def test_what_is_no_result_is_named_with_what_to_pass(plot, wrong, tmp_path):
    with pytest.raises(TypeError, match="pass a result of minimize_reparam"):
        plot(wrong, tmp_path / "none.png")


def test_one_result_or_several_need_no_dict(result, tmp_path):
    end = f"{result.energy:.1f} kJ/mol"
    for number, results in enumerate((result, [result, result.history])):
        plot_history(results, tmp_path / f"{number}.svg")
    assert f">{end}<" in (tmp_path / "0.svg").read_text()
    assert f">run 1: {end}<" in (tmp_path / "1.svg").read_text()
    assert ">run 2: " in (tmp_path / "1.svg").read_text()


def test_one_search_or_several_need_no_dict(tmp_path):
    simulation = peptide("GAG").simulation("Reference")
    searched = minimize_reparam(simulation, search="auto", max_force_evaluations=300)
    end = f"{searched.energy:.1f} kJ/mol"
    for number, results in enumerate((searched, (searched, searched), {"two": searched})):
        plot_search(results, tmp_path / f"{number}.svg")
    for number, label in enumerate((end, f"run 2: {end}", f"two: {end}")):
        assert f">{label}<" in (tmp_path / f"{number}.svg").read_text()


def test_a_searchs_best_energy_begins_at_its_start(tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: drawn.append(self) or save(self, *a, **k)
    )
    simulation = peptide("GAG").simulation("CPU")
    start = minimize_reparam(simulation, search="auto", max_force_evaluations=1500)
    result = minimize_reparam(simulation, search="auto", max_force_evaluations=300, seed=1)
    plot_search({"again": result}, tmp_path / "search.png")
    (figure,) = drawn
    minima, best = figure.axes[0].lines
    assert len(minima.get_xdata()) == len(result.minima)
    assert best.get_ydata()[0] == pytest.approx(start.energy, abs=0.01)
    assert np.all(np.diff(best.get_ydata()) <= 0)
    assert best.get_ydata()[-1] == pytest.approx(result.energy, abs=0.01)


def test_a_plot_of_a_search_needs_a_search(result, tmp_path):
    with pytest.raises(ValueError, match="no minima"):
        plot_search({"gcn": result}, tmp_path / "search.png")


def test_modes_name_residues_and_eigenvalues(tmp_path):
    eigenvalues = np.array([-1.5, 2.0, 30.0, 40.0])
    amplitudes = np.random.default_rng(0).random((4, 3))
    plot_modes(eigenvalues, amplitudes, tmp_path / "m.svg", labels=["GLY 1", "ALA 2", "TRP 3"])
    text = (tmp_path / "m.svg").read_text()
    for words in ("TRP 3", "mode 1 (-1.5)", "mode 3 (30)", "eigenvalue", "kJ/mol/nm"):
        assert words in text
    assert "mode 4" not in text


def test_many_residues_are_numbered(tmp_path):
    labels = [f"ALA {i}" for i in range(200)]
    plot_modes(np.arange(1.0, 5.0), np.ones((4, 200)), tmp_path / "m.svg", labels=labels)
    text = (tmp_path / "m.svg").read_text()
    assert "ALA 7" not in text
    assert "residue" in text


def test_the_users_backend_and_figures_stay(result, tmp_path):
    import matplotlib.pyplot as plt

    before = matplotlib.get_backend(), plt.get_fignums()
    plot_history({"gcn": result}, tmp_path / "energy.png")
    assert (matplotlib.get_backend(), plt.get_fignums()) == before
