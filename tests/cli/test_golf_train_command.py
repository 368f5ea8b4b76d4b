"""``openmm-reparam golf train`` and what it says of molecules that it cannot use."""

import os
import signal
import threading

import pytest

from openmm_reparam.cli.app import main
from openmm_reparam.golf import Golf

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

SMALL = ["--labels", "12", "--updates", "0.5", "--conformers", "1", "--features", "8"]


def test_a_model_is_trained_written_and_gone_on_from(tmp_path, capfd):
    file = tmp_path / "molecules.smi"
    file.write_text("CO methanol\nOC again\nC=O\nXX nonsense\nC[Se]C\n[Xe]\n")
    model = tmp_path / "new" / "model.pt"
    command = ["golf", "train", str(file), "-o", str(model), "--interactions", "1", *SMALL]
    assert main(command) == 0
    told = capfd.readouterr()
    assert "UFFTYPER" not in told.err  # RDKit's own log
    assert "nonsense is left out" in told.err
    assert "again is left out: CO came before" in told.err
    assert "MMFF94 has no parameters" in told.err
    assert "12 labels of gfn2 on 2 molecules" in told.out
    assert "there are 2, and a tenth of them is none" in told.err
    assert "no validation" in told.out
    assert "nan" not in (told.out + told.err).replace("methanol", "").replace("nonsense", "")
    trained = Golf.load(model).trained_on
    assert (trained.labels, trained.elements, trained.charges) == (12, (1, 6, 8), (0,))
    before = model.read_bytes()
    assert main(command) == 0  # from the labels, without a genuine call
    assert Golf.load(model).trained_on == trained
    assert len(before) == len(model.read_bytes())


def test_an_interrupted_training_says_how_to_go_on(tmp_path, capsys):
    file, model = tmp_path / "molecules.smi", tmp_path / "model.pt"
    labels = tmp_path / "model.pt.labels"
    file.write_text("CO\nCC=O\n")
    over = threading.Event()

    def interrupt():
        while not over.wait(0.01):
            if labels.exists() and labels.stat().st_size > 2000:  # the first of 1000 labels
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
                return

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        code = main(["golf", "train", str(file), "-o", str(model), *SMALL, "--labels", "1000"])
    finally:
        over.set()
        thread.join()
    assert code == 130
    assert f"The same command goes on from {labels}" in capsys.readouterr().err
    assert not model.exists()


def test_an_unknown_potential_is_refused(tmp_path, capsys):
    file = tmp_path / "molecules.smi"
    file.write_text("CO\n")
    assert main(["golf", "train", str(file), "-o", "m.pt", "--genuine", "dft"]) != 0
    assert "gfn2" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_the_training(tmp_path, capsys, device):
    file, model = tmp_path / "molecules.smi", tmp_path / "model.pt"
    file.write_text("CO\n")
    assert main(["golf", "train", str(file), "-o", str(model), "--device", device]) == 2
    told = capsys.readouterr().err
    assert f"device '{device}'" in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_is_refused_before_the_training(tmp_path, capsys):
    file = tmp_path / "molecules.smi"
    file.write_text("CO\n")
    assert main(["golf", "train", str(file), "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error_before_the_training(tmp_path, capsys):
    (tmp_path / "molecules.smi").write_text("CO\n")
    (tmp_path / "file").write_text("")
    model = tmp_path / "file" / "model.pt"
    assert main(["golf", "train", str(tmp_path / "molecules.smi"), "-o", str(model)]) == 2
    told = capsys.readouterr()
    assert "file" in told.err
    assert "conformers" not in told.err
