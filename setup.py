"""Builds the compiled core and the C++ plugin with CMake; all else is declared in pyproject.toml.

The core, openmm_reparam._core, is a part of the package. The plugin goes into OpenMM's plugin
folder, so that OpenMM loads it by itself. Where it cannot be built, the package is installed
without it, unless OPENMM_REPARAM_PLUGIN=require is set; OPENMM_REPARAM_PLUGIN=skip does not try.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nanobind
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# What is built for Python 3.12 is for all later ones, too.
LIMITED_API = sys.version_info >= (3, 12)
# Where a wheel's files lie in site-packages is where OpenMM's wheel keeps its plugins.
PLUGINS = Path("OpenMM.libs", "lib", "plugins")


NEEDED = "a C++17 compiler, Python's headers, CMake 3.18 or newer, and openmm in this Python"


class BuildWithCMake(build_ext):
    """Runs CMake in place of a compiler."""

    def run(self):
        """Build and install the core and the plugin, or say what is missing."""
        wanted = os.environ.get("OPENMM_REPARAM_PLUGIN", "try")
        if wanted not in ("try", "require", "skip"):
            raise SystemExit(
                f"OPENMM_REPARAM_PLUGIN is {wanted!r}; it must be 'try', 'require' or 'skip'"
            )
        if wanted != "skip":
            try:
                return self.build(plugin=True)
            except (OSError, subprocess.CalledProcessError) as error:
                message = (
                    f"The C++ plugin could not be built ({error}). It needs {NEEDED}, and torch; "
                    "see the output above. "
                )
                if wanted == "require":
                    raise SystemExit(message) from error
                print(message + "The package is installed without it.", file=sys.stderr)
        try:
            return self.build(plugin=False)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"The compiled core could not be built ({error}). It needs {NEEDED}; see the "
                "output above. Install these, or a wheel of openmm-reparam for this Python."
            ) from error

    def build(self, *, plugin):
        """Configure, build, install."""
        cmake = shutil.which("cmake", path=os.path.dirname(sys.executable)) or "cmake"
        build = Path(self.build_temp).resolve() / "plugin"
        if self.editable_mode:
            # Kept, so that the C++ tests need not compile it again.
            build = ROOT / "build" / "plugin"
        shutil.rmtree(build, ignore_errors=True)
        configure = [
            *(cmake, "-S", str(ROOT), "-B", str(build), "-DBUILD_TESTING=OFF"),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_PLUGIN={'ON' if plugin else 'OFF'}",
            # Those of pip's own environment, where this Python has none.
            f"-DNANOBIND_DIR={Path(nanobind.cmake_dir()).parent}",
            f"-DCMEEL_DIR={Path(nanobind.cmake_dir()).parents[1] / 'cmeel.prefix'}",
        ]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        # An editable install has no files of its own in site-packages: CMake knows the folders.
        if not self.editable_mode:
            library = Path(self.build_lib).resolve()
            configure += [f"-DPLUGIN_DIR={library / PLUGINS}"]
            configure += [f"-DCORE_DIR={library / 'openmm_reparam'}"]
        # pip's build isolation hides what is installed (torch, CMake itself) by PYTHONPATH.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        for command in (
            configure,
            [cmake, "--build", str(build)],
            [cmake, "--install", str(build)],
        ):
            subprocess.run(command, check=True, env=environment)
        if LIMITED_API and not self.editable_mode:
            self.require_limited_api()

    def require_limited_api(self):
        """Refuse a core for one Python in a wheel that says it is for many."""
        if not list(Path(self.build_lib, "openmm_reparam").glob("_core.abi3.*")):
            raise SystemExit("CMake 3.26 or newer is needed: pip install cmake")

    def get_outputs(self):
        """List the files of an ordinary extension: none."""
        return []


setup(
    ext_modules=[Extension("OpenMMReparam", [], py_limited_api=LIMITED_API)],
    cmdclass={"build_ext": BuildWithCMake},
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if LIMITED_API else {},
)
