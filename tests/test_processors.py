"""On which processors firsthop runs, and what it says on others."""

from __future__ import annotations

import subprocess
import sys

#: The loader, on a processor without AVX2.
_REFUSED = """
import sys
class Loader:
    def find_spec(self, name, path=None, target=None):
        if name == "firsthop._native":
            raise ImportError("_native.abi3.so: CPU ISA level is lower than required")
sys.meta_path.insert(0, Loader())
import firsthop
"""


def test_an_older_processor_is_refused_with_the_way_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _REFUSED], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "RUSTFLAGS=-Ctarget-cpu=x86-64" in done.stderr.splitlines()[-1]
