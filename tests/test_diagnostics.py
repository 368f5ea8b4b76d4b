"""diagnose() and the command that prints it."""

import sys

import openmm as mm
import pytest

from openmm_reparam import diagnose, diagnostics
from openmm_reparam.cli.app import main
from openmm_reparam.openmm_torch import torch_potential as plugin


def state_of(diagnosis, name):
    (check,) = (check for check in diagnosis.checks if check.name == name)
    return check


def test_this_installation_works(platform):
    pytest.importorskip("openmmtorch")
    diagnosis = diagnose(quiet=True)
    assert diagnosis.ok, diagnosis
    for name in (f"{platform} platform", "C++ plugin", "TorchForce"):
        assert state_of(diagnosis, name).state == "works"
    assert state_of(diagnosis, "openmm").detail == mm.version.short_version


def test_the_command_prints_it(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "Nothing is broken." in printed
    assert "Reference platform" in printed


def test_what_is_broken_is_said_with_advice(monkeypatch, tmp_path, capsys):
    (tmp_path / plugin.LIBRARY).write_text("not a library")
    for module in (plugin, diagnostics):
        monkeypatch.setattr(module, "library_path", lambda: tmp_path / plugin.LIBRARY)
    monkeypatch.setattr(plugin, "_registered", lambda: False)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "broken" in printed
    assert "reinstall this package" in printed
    (tmp_path / plugin.LIBRARY).unlink()
    check = state_of(diagnose(quiet=True), "C++ plugin")
    assert check.state == "missing"
    assert "without it" in check.advice


def test_a_broken_platform_is_named(monkeypatch):
    def fail(platform):
        raise mm.OpenMMException("no device")

    monkeypatch.setattr(diagnostics, "_pair_context", fail)
    diagnosis = diagnose(quiet=True)
    check = state_of(diagnosis, "CPU platform")
    assert (check.state, check.detail) == ("broken", "no device")
    assert not diagnosis.ok


def test_optional_programs_are_tried(monkeypatch):
    pytest.importorskip("rdkit")
    check = state_of(diagnose(quiet=True), "MMFF94 (RDKit)")
    assert check.state == "works"
    wrong = {"MMFF94 (RDKit)": lambda: lambda x: (0.0, 0 * x + 1000)}
    monkeypatch.setattr(diagnostics, "PROGRAMS", wrong)
    check = state_of(diagnose(quiet=True), "MMFF94 (RDKit)")
    assert check.state == "broken"
    assert "a force is 1000.0, its energies say -0.0" in check.detail


def test_programs_that_are_not_installed_are_no_fault(monkeypatch):
    for module in ("rdkit", "tblite.interface", "gfnff"):
        monkeypatch.setitem(sys.modules, module, None)
    diagnosis = diagnose(quiet=True)
    for name in ("xTB (tblite)", "GFN-FF (gfnff)", "GAFF2 (AmberTools)"):
        check = state_of(diagnosis, name)
        assert check.state == "missing"
        assert "pip install 'openmm-reparam[" in check.advice
    assert diagnosis.ok
