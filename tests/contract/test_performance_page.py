"""docs/performance.md: what is calculated there is what the server calculates."""

from benchmarks.gpu.calculated import table
from tests.support import ROOT


def test_the_calculated_table_is_the_one_that_the_server_calculates() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    calculated = list(table())
    begins = rows.index(calculated[0])
    assert rows[begins : begins + len(calculated)] == calculated, "python -m benchmarks.gpu.calculated prints it"
