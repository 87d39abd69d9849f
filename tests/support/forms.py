"""That a model is one graph: for torch.compile without a break, and for torch.export."""

import torch


def one_graph(model, x):
    """Assert that both give what the model gives, for a tensor or a list of them."""
    torch._dynamo.reset()
    with torch.no_grad():
        expected = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
        exported = torch.export.export(model, (x,)).module()(x)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(list(exported) if isinstance(expected, list) else exported, expected)
