"""Scripts of ``tests/processes`` in processes of their own, started by torchrun.

Once in some thirty runs of all tests, one of two processes was brought down by a signal (SIGSEGV) while both exchanged
tensors through gloo; half a million such exchanges and 28 such trainings in a row did not show it again. A process that
a signal ended is therefore started anew, once, in an empty folder, and a warning keeps what the first one said of its
threads. What a script finds wrong ends it with an exit code, and is never tried again.
"""

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

PROCESSES = Path(__file__).parents[1] / "processes"
_SIGNAL = re.compile(r"exitcode\s*:\s*-(11|6)\b")


def launched(
    script: str, folder: Path | None, *words: object, processes: int = 2, timeout: float = 300, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``tests/processes/<script> [folder] words …`` in so many processes of one thread each.

    ``folder`` is what the script writes into; it is emptied before a second try.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    arguments = [str(PROCESSES / script), *([] if folder is None else [str(folder)]), *map(str, words)]
    command = [sys.executable, *(launcher if processes > 1 else []), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    for last in (False, True):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
        if last or not _SIGNAL.search(done.stdout + done.stderr):
            break
        warnings.warn(f"{script} was ended by a signal and is tried again:\n{done.stderr[-8000:]}", stacklevel=2)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
