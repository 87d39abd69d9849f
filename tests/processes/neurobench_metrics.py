"""NeuroBench's metrics of small snnTorch networks, as one JSON line: ``neurobench_metrics.py NAME/INPUT/ZEROS …``.

A process of its own, with NeuroBench's folder on its path; see ``scripts/make_energy_peers.sh``.
"""

import json
import sys

import torch
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
from neurobench.models import SNNTorchModel
from support.snntorch_networks import frames, network


def measured(name: str, kind: str, zeros: str) -> dict[str, object]:
    """Run the network once; what each metric says."""
    model = SNNTorchModel(network(name, float(zeros)))
    footprint = Footprint()(model)  # before the run, which leaves the states of a whole batch in buffers
    model.register_hooks()
    data = frames(name, kind).transpose(0, 1)
    with torch.no_grad():
        predictions = model(data)
    batch = (data, torch.zeros(len(data)))
    return {
        "footprint": footprint,
        "footprint_after": Footprint()(model),
        "parameters": ParameterCount()(model),
        "connection_sparsity": ConnectionSparsity()(model),
        "activation_sparsity": ActivationSparsity()(model, predictions, batch),
        "membrane_updates": MembraneUpdates()(model, predictions, batch),
        "synaptic_operations": SynapticOperations()(model, predictions, batch),
    }


if __name__ == "__main__":
    print(json.dumps({case: measured(*case.split("/")) for case in sys.argv[1:]}))
