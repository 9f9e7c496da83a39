"""`python -m tests.fuzz.fuzzing TARGET FOLDER -runs=N -seed=N`: one target under Atheris, in a
process of its own, since Atheris ends it. FOLDER holds the inputs that it starts from.
"""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["knowgate", "services.api", "services.http"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    logging.disable()  # a segment that is damaged is logged
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.reads_or_refuses)
    atheris.Fuzz()
