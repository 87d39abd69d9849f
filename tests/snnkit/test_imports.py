"""No module of snnkit imports, directly or by way of others, a module that imports it.

Would break it: an import inside of a function, or for type checkers alone, that closes a circle.
"""

from graphlib import CycleError, TopologicalSorter

import grimp


def test_imports_have_no_circles():
    graph = grimp.build_graph("snnkit", cache_dir=None)
    # Run as a script, a module is called __main__, and may import itself by its name.
    imports = {module: graph.find_modules_directly_imported_by(module) - {module} for module in graph.modules}
    assert len(imports) > 200
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(reversed(error.args[1]))) from None
