"""`xaibench bench store`: real results with made-up content, in a store that the other commands understand."""

import pandas as pd

from xaibench import archive
from xaibench.cli import bench_store
from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.planning import plan
from xaibench.store import Store
from xaibench.tables.longtable import Results

FEW = ["explainer=gradient,random,grad_cam", "metric=deletion,sparseness"]
GRID = ["dataset=digits", "model=linear", "explain_on.count=20", "seed=0,1"]


def test_the_table_counts_cells_and_seconds(tmp_path):
    assert bench_store.main([*FEW, "--seeds", "1,2", "--place", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    found = pd.read_csv(tmp_path / "out" / "store.csv")
    assert found["cells"].tolist() == [4, 8]  # a linear network has no Grad-CAM
    assert found["results"].tolist() == [4 + 2 + 2, 8 + 4 + 4]
    assert (found[["write", "files", "list", "plan", "read", "tables", "verify"]] > 0).all(axis=None)
    assert "| 2 | 8 | 16 |" in (tmp_path / "out" / "store.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_made_up_results_are_those_of_the_grid(tmp_path):
    grid, _ = composed(Request([*GRID, *FEW]))
    store = Store(tmp_path)
    bench_store.fill(grid, store)
    assert {item.status for item in plan(grid, store)} == {"cached", "skipped"}
    assert not [one for one in archive.results(store) if store.damage(*one)]
    assert len(Results(grid, store).scores()) == 8 * 20
    assert set(Results(grid, store).curves()["metric"]) == {"deletion"}
