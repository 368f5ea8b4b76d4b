"""Builds the compiled core and the C++ plugin with CMake; all else is declared in pyproject.toml.

The core, openmm_reparam._core, is a part of the package. The plugin goes into OpenMM's plugin
folder, so that OpenMM loads it by itself. Where it cannot be built, the package is installed
without it, unless OPENMM_REPARAM_PLUGIN=require is set; OPENMM_REPARAM_PLUGIN=skip does not try.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# What is built for Python 3.12 is for all later ones, too.
LIMITED_API = sys.version_info >= (3, 12)
# Where a wheel's files lie in site-packages is where OpenMM's wheel keeps its plugins.
PLUGINS = Path("OpenMM.libs", "lib", "plugins")


def cmake_program():
    """Return the path of CMake: pip's build environment, this Python's, or the system's."""
    try:
        from cmake import CMAKE_BIN_DIR
    except ImportError:
        return shutil.which("cmake", path=os.path.dirname(sys.executable)) or "cmake"
    return str(Path(CMAKE_BIN_DIR, "cmake"))


def reason(error):
    """Return in words why a command failed, a line long."""
    if isinstance(error, subprocess.CalledProcessError):
        return "CMake ended with an error, see its output above"
    return f"{error.filename} was not found" if error.filename else str(error)


class BuildWithCMake(build_ext):
    """Runs CMake in place of a compiler."""

    def run(self):
        """Build and install the core and the plugin, or say what is missing."""
        wanted = os.environ.get("OPENMM_REPARAM_PLUGIN", "try")
        if wanted not in ("try", "require", "skip"):
            raise SystemExit(
                f"OPENMM_REPARAM_PLUGIN is {wanted!r}; it must be 'try', 'require' or 'skip'"
            )
        self.require_build_packages()
        shutil.rmtree(self.folder(), ignore_errors=True)
        try:
            self.build(plugin=False)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"The compiled core could not be built: {reason(error)}. It needs a C++17 compiler "
                "(Debian, Ubuntu: apt install g++; macOS: xcode-select --install), Python's "
                "headers, CMake 3.18 or newer (pip install cmake) and OpenMM (pip install openmm). "
                "Install these and try again, or install a wheel of openmm-reparam for this "
                "Python, which needs none of them."
            ) from error
        if wanted == "skip":
            return
        try:
            self.build(plugin=True)
        except (OSError, subprocess.CalledProcessError) as error:
            message = (
                f"The C++ plugin could not be built: {reason(error)}. It needs torch in this "
                "Python (pip install torch). "
            )
            if wanted == "require":
                raise SystemExit(message) from error
            print(message + "The package is installed without it.", file=sys.stderr)

    def require_build_packages(self):
        """Refuse to build without what pip's build isolation would have installed."""
        # Without setuptools-scm the version would be 0.0.0; a build in place has none.
        needed = ["nanobind"] if self.inplace else ["nanobind", "setuptools_scm"]
        missing = [name.replace("_", "-") for name in needed if find_spec(name) is None]
        if missing:
            raise SystemExit(
                f"To build openmm-reparam, {' and '.join(missing)} must be installed: run pip "
                "without --no-build-isolation, or first "
                "'pip install \"setuptools>=69\" setuptools-scm nanobind cmeel-eigen cmake'."
            )

    def folder(self):
        """Return the folder that CMake builds in."""
        if self.inplace:
            # Kept, so that the C++ tests need not compile it again.
            return ROOT / "build" / "plugin"
        return Path(self.build_temp).resolve() / "plugin"

    def build(self, *, plugin):
        """Configure, build, install."""
        import nanobind

        build, cmake = self.folder(), cmake_program()
        packages = Path(nanobind.__file__).parents[1]
        configure = [
            *(cmake, "-S", str(ROOT), "-B", str(build), "-DBUILD_TESTING=OFF"),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DTORCH_PLUGIN={'ON' if plugin else 'OFF'}",
            # Those of pip's own environment, where this Python has none.
            f"-DBUILD_PACKAGES={packages}",
        ]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        # An editable install has no files of its own in site-packages: CMake knows the folders.
        library = Path(self.build_lib).resolve()
        if not self.inplace:
            configure += [f"-DCORE_DIR={library / 'openmm_reparam'}"]
        if not self.editable_mode:
            configure += [f"-DPLUGIN_DIR={library / PLUGINS}"]
        # pip's build isolation hides what is installed (openmm, torch) by PYTHONPATH.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        for command in (
            configure,
            [cmake, "--build", str(build)],
            [cmake, "--install", str(build)],
        ):
            subprocess.run(command, check=True, env=environment)
        if LIMITED_API and not self.inplace:
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
