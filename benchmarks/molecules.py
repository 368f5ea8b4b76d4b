"""Drug molecules for the benchmark of expensive potentials, and their conformers.

Two lists: methods were tuned on `TUNING` and are reported on `REPORT`. SMILES give the neutral
form, zwitterions excepted. Starts are conformers of ETKDG, or the minima of MMFF94 next to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

TUNING = {
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ibuprofen": "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    "sulfamethoxazole": "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    "diclofenac": "OC(=O)Cc1ccccc1Nc1c(Cl)cccc1Cl",
    "captopril": "C[C@H](CS)C(=O)N1CCC[C@H]1C(=O)O",
    "warfarin": "CC(=O)C[C@@H](c1ccccc1)c1c(O)c2ccccc2oc1=O",
    "citalopram": "CN(C)CCC[C@]1(OCc2cc(C#N)ccc12)c1ccc(F)cc1",
    "terbinafine": "CN(C/C=C/C#CC(C)(C)C)Cc1cccc2ccccc12",
    "oseltamivir": "CCOC(=O)C1=C[C@@H](OC(CC)CC)[C@H](NC(C)=O)[C@@H](N)C1",
}

REPORT = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "metformin": "CN(C)C(=N)NC(N)=N",
    "nicotine": "CN1CCC[C@H]1c1cccnc1",
    "carnitine zwitterion": "C[N+](C)(C)C[C@H](O)CC(=O)[O-]",
    "pregabalin zwitterion": "CC(C)C[C@H](C[NH3+])CC(=O)[O-]",
    "zidovudine": "Cc1cn([C@H]2C[C@H](N=[N+]=[N-])[C@@H](CO)O2)c(=O)[nH]c1=O",
    "tenofovir": "C[C@H](Cn1cnc2c(N)ncnc12)OCP(O)(O)=O",
    "melatonin": "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
    "furosemide": "NS(=O)(=O)c1cc(C(=O)O)c(NCc2ccco2)cc1Cl",
    "efavirenz": "O=C1Nc2ccc(Cl)cc2[C@@](C#CC2CC2)(C(F)(F)F)O1",
    "letrozole": "N#Cc1ccc(cc1)C(c1ccc(cc1)C#N)n1cncn1",
    "diazepam": "CN1c2ccc(Cl)cc2C(c2ccccc2)=NCC1=O",
    "voriconazole": "C[C@@H](c1ncncc1F)[C@](O)(Cn1cncn1)c1ccc(F)cc1F",
    "fosphenytoin": "O=C1NC(c2ccccc2)(c2ccccc2)C(=O)N1COP(O)(O)=O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "celecoxib": "Cc1ccc(cc1)-c1cc(C(F)(F)F)nn1-c1ccc(cc1)S(N)(=O)=O",
    "sumatriptan": "CNS(=O)(=O)Cc1ccc2[nH]cc(CCN(C)C)c2c1",
    "salbutamol": "CC(C)(C)NC[C@H](O)c1ccc(O)c(CO)c1",
    "morphine": "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "omeprazole": "COc1ccc2[nH]c([S@](=O)Cc3ncc(C)c(OC)c3C)nc2c1",
    "penicillin G": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "artemisinin": "C[C@@H]1CC[C@H]2[C@H](C(=O)O[C@H]3[C@@]24[C@H]1CC[C@](O3)(OO4)C)C",
    "camptothecin": "CC[C@@]1(O)C(=O)OCc2c1cc1-c3nc4ccccc4cc3Cn1c2=O",
    "ciprofloxacin": "OC(=O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O",
    "zearalenone": "C[C@H]1CCCC(=O)CCC/C=C/c2cc(O)cc(O)c2C(=O)O1",
    "ethinylestradiol": "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@]2(O)C#C",
    "haloperidol": "O=C(CCCN1CCC(O)(CC1)c1ccc(Cl)cc1)c1ccc(F)cc1",
    "lorlatinib": "C[C@H]1Oc2cc(cnc2N)-c2c(nn(C)c2C#N)CN(C)C(=O)c2ccc(F)cc12",
    "methotrexate": "CN(Cc1cnc2nc(N)nc(N)c2n1)c1ccc(cc1)C(=O)N[C@@H](CCC(=O)O)C(=O)O",
    "dexamethasone": "C[C@@H]1C[C@H]2[C@@H]3CCC4=CC(=O)C=C[C@]4(C)[C@@]3(F)[C@@H](O)C[C@]2(C)"
    "[C@@]1(O)C(=O)CO",
    "amiodarone": "CCCCc1oc2ccccc2c1C(=O)c1cc(I)c(OCCN(CC)CC)c(I)c1",
    "imatinib": "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(n1)-c1cccnc1",
}
# For networks, of which some were trained after others had been judged on `REPORT`.
UNSEEN = {
    "acetazolamide": "CC(=O)Nc1nnc(s1)S(N)(=O)=O",
    "clonidine": "Clc1cccc(Cl)c1NC1=NCCN1",
    "propofol": "CC(C)c1cccc(C(C)C)c1O",
    "minoxidil": "Nc1cc(N2CCCCC2)nc(N)[n+]1[O-]",
    "ondansetron": "Cc1nccn1CC1CCc2c(C1=O)c1ccccc1n2C",
    "rizatriptan": "CN(C)CCc1c[nH]c2ccc(Cn3cncn3)cc12",
    "mirtazapine": "CN1CCN2C(C1)c1ccccc1Cc1cccnc21",
    "gabapentin": "NCC1(CCCCC1)CC(=O)O",
    "baclofen": "NCC(CC(=O)O)c1ccc(Cl)cc1",
    "pioglitazone": "CCc1ccc(CCOc2ccc(CC3SC(=O)NC3=O)cc2)nc1",
    "tizanidine": "Clc1ccc2nsnc2c1NC1=NCCN1",
    "albendazole": "CCCSc1ccc2[nH]c(NC(=O)OC)nc2c1",
    "zonisamide": "NS(=O)(=O)Cc1noc2ccccc12",
    "lamotrigine": "Nc1nnc(c(N)n1)-c1cccc(Cl)c1Cl",
    "topiramate": "CC1(C)OC2COC3(COS(N)(=O)=O)OC(C)(C)OC3C2O1",
    "ezetimibe": "O=C1C(CCC(O)c2ccc(F)cc2)C(c2ccc(O)cc2)N1c1ccc(F)cc1",
    "nevirapine": "Cc1ccnc2N(C3CC3)c3ncccc3C(=O)Nc12",
    "entecavir": "C=C1C(CO)C(O)CC1n1cnc2c1nc(N)[nH]c2=O",
    "dantrolene": "O=C1CN(N=Cc2ccc(o2)-c2ccc(cc2)[N+](=O)[O-])C(=O)N1",
    "exemestane": "C=C1CC2C3CCC(=O)C3(C)CCC2C2(C)C=CC(=O)C=C12",
    "tamoxifen": "CC/C(=C(\\c1ccccc1)c1ccc(OCCN(C)C)cc1)c1ccccc1",
    "levetiracetam": "CCC(C(N)=O)N1CCCC1=O",
    "pentoxifylline": "CC(=O)CCCCn1c(=O)c2c(ncn2C)n(C)c1=O",
    "primidone": "CCC1(c2ccccc2)C(=O)NCNC1=O",
    "probenecid": "CCCN(CCC)S(=O)(=O)c1ccc(cc1)C(=O)O",
    "riluzole": "Nc1nc2ccc(OC(F)(F)F)cc2s1",
    "tolcapone": "Cc1ccc(cc1)C(=O)c1cc(O)c(O)c(c1)[N+](=O)[O-]",
    "trazodone": "Clc1cccc(c1)N1CCN(CCCn2nc3ccccn3c2=O)CC1",
    "varenicline": "C1C2CNCC1c1cc3nccnc3cc21",
    "vildagliptin": "N#CC1CCCN1C(=O)CNC12CC3CC(CC(O)(C3)C1)C2",
}
# Drugs for networks trained on enumerated molecules; written before any of these was trained.
FRESH = {
    "allopurinol": "O=c1[nH]cnc2[nH]ncc12",
    "busulfan": "CS(=O)(=O)OCCCCOS(C)(=O)=O",
    "carisoprodol": "CCCC(C)(COC(N)=O)COC(=O)NC(C)C",
    "chlorzoxazone": "O=c1[nH]c2cc(Cl)ccc2o1",
    "chloramphenicol": "O=C(NC(CO)C(O)c1ccc(cc1)[N+](=O)[O-])C(Cl)Cl",
    "cytarabine": "Nc1ccn(C2OC(CO)C(O)C2O)c(=O)n1",
    "deferiprone": "Cc1c(O)c(=O)ccn1C",
    "diethylcarbamazine": "CCN(CC)C(=O)N1CCN(C)CC1",
    "disulfiram": "CCN(CC)C(=S)SSC(=S)N(CC)CC",
    "emtricitabine": "Nc1nc(=O)n(cc1F)C1CSC(CO)O1",
    "ethosuximide": "CCC1(C)CC(=O)NC1=O",
    "etomidate": "CCOC(=O)c1cncn1C(C)c1ccccc1",
    "favipiravir": "NC(=O)c1nc(F)c[nH]c1=O",
    "felbamate": "NC(=O)OCC(COC(N)=O)c1ccccc1",
    "guaifenesin": "COc1ccccc1OCC(O)CO",
    "hydralazine": "NNc1nncc2ccccc12",
    "isosorbide dinitrate": "[O-][N+](=O)OC1COC2C1OCC2O[N+](=O)[O-]",
    "lacosamide": "COCC(NC(C)=O)C(=O)NCc1ccccc1",
    "leflunomide": "Cc1oncc1C(=O)Nc1ccc(cc1)C(F)(F)F",
    "milrinone": "Cc1[nH]c(=O)c(C#N)cc1-c1ccncc1",
    "modafinil": "NC(=O)CS(=O)C(c1ccccc1)c1ccccc1",
    "perampanel": "N#Cc1ccccc1-c1cc(-c2ccccn2)cn(-c2ccccc2)c1=O",
    "pomalidomide": "Nc1cccc2C(=O)N(C3CCC(=O)NC3=O)C(=O)c12",
    "pramipexole": "CCCNC1CCc2nc(N)sc2C1",
    "praziquantel": "O=C(C1CCCCC1)N1CC(=O)N2CCc3ccccc3C2C1",
    "ropinirole": "CCCN(CCC)CCc1cccc2NC(=O)Cc12",
    "rufinamide": "NC(=O)c1cn(Cc2c(F)cccc2F)nn1",
    "safinamide": "CC(NCc1ccc(OCc2cccc(F)c2)cc1)C(N)=O",
    "tinidazole": "CCS(=O)(=O)CCn1c(C)ncc1[N+](=O)[O-]",
    "tranexamic acid": "NCC1CCC(CC1)C(=O)O",
}
MOLECULES = TUNING | REPORT | UNSEEN | FRESH
SUBSETS = {"tuning": tuple(TUNING), "report": tuple(REPORT)}
CONFORMERS = 3
SEED = 20261128
STARTS = ("mmff", "etkdg")
ANGSTROM = 0.1  # nm


@dataclass(frozen=True)
class Start:
    """A molecule and the coordinates that a minimization starts from.

    Attributes
    ----------
    name : str
        Of the molecule.
    conformer : int
        1, 2 or 3.
    kind : {"mmff", "etkdg"}
        The minimum of MMFF94, or the conformer as ETKDG made it.
    molecule : rdkit.Chem.Mol
        With hydrogens; its one conformer is the start.
    positions : (N, 3) array
        In nm.
    """

    name: str
    conformer: int
    kind: str
    molecule: Chem.Mol
    positions: np.ndarray

    @property
    def subset(self) -> str:
        """Whether methods were tuned on it, "tuning", or not, "report"."""
        return "tuning" if self.name in TUNING else "report"

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers."""
        return [atom.GetAtomicNum() for atom in self.molecule.GetAtoms()]


@cache
def conformers(name: str, kind: str) -> Chem.Mol:
    """Return a molecule with its conformers; from the same seed always the same."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(MOLECULES[name]))
    settings = AllChem.ETKDGv3()
    settings.randomSeed = SEED
    made = AllChem.EmbedMultipleConfs(molecule, CONFORMERS, settings)
    if len(made) < CONFORMERS:
        raise RuntimeError(f"{name}: ETKDG made {len(made)} of {CONFORMERS} conformers")
    if kind == "mmff":
        ends = AllChem.MMFFOptimizeMoleculeConfs(molecule, maxIters=100_000)
        if any(left for left, _ in ends):
            raise RuntimeError(f"{name}: MMFF94 does not converge")
    return molecule


def start_of(name: str, conformer: int, kind: str) -> Start:
    """Return a start.

    Parameters
    ----------
    name : str
        A key of `MOLECULES`.
    conformer : int
        From 1.
    kind : {"mmff", "etkdg"}
    """
    every = conformers(name, kind)
    molecule = Chem.Mol(every, confId=conformer - 1)
    positions = every.GetConformer(conformer - 1).GetPositions() * ANGSTROM
    return Start(name, conformer, kind, molecule, positions)
