"""SANA-FE on network files: ``sanafe_run.py STEPS NET.yaml …`` prints a JSON line a network: energies in J, counts.

Run by the interpreter of `.venv-sanafe` and by nothing else: SANA-FE is GPL-3 and stays in a process of its own.
"""

import json
import sys

import sanafe

steps, *paths = sys.argv[1:]
architecture = sanafe.load_loihi()
for path in paths:
    chip = sanafe.SpikingChip(architecture)
    chip.load(sanafe.load_net(path, architecture))
    found = chip.sim(int(steps), timing_model="simple", spike_trace=True)
    kept = {key: found[key] for key in ("energy", "spikes", "packets_sent", "neurons_updated", "neurons_fired")}
    print("\n" + json.dumps({**kept, "per_step": [len(step) for step in found["spike_trace"]]}))
