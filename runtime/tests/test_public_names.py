"""`import knowgate` costs numpy and safetensors and nothing else, and every public name
is there.
"""

import json
import subprocess
import sys

import knowgate

LOADED = """
import json, sys
before = set(sys.modules)
import knowgate
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by_import() -> set[str]:
    answer = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_importing_loads_nothing_beyond_numpy_and_safetensors() -> None:
    roots = {name.partition(".")[0] for name in loaded_by_import()}
    assert {"numpy", "safetensors"} <= roots
    assert roots - set(sys.stdlib_module_names) <= {"knowgate", "numpy", "safetensors"}


def test_importing_opens_no_way_to_the_network() -> None:
    assert not {"ssl", "_ssl", "http.client", "urllib.request", "socket"} & loaded_by_import()


def test_every_public_name_is_there_and_sorted() -> None:
    constants_first = sorted(knowgate.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert knowgate.__all__ == constants_first
    assert len(set(knowgate.__all__)) == len(knowgate.__all__)
    for name in knowgate.__all__:
        assert getattr(knowgate, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(knowgate, "nothing_of_that_name")


def test_a_name_that_is_imported_on_first_use_is_its_modules() -> None:
    from knowgate._shipping.spool import Spool

    assert knowgate.Spool is Spool
    assert "Spool" in dir(knowgate)
