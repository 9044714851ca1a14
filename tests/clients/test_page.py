"""The table of clients, the functions that call them, and ``docs/clients.md`` belong together."""

import ast
import re

from tests.clients.calling import Outcome
from tests.clients.page import PAGE, counted, matrix, page
from tests.clients.replayed import read_replayed
from tests.clients.table import HERE, Client, Program, Row, read_clients, read_programs

CLIENTS, PROGRAMS = read_clients(), read_programs()
ALL: list[Client | Program] = [*CLIENTS, *PROGRAMS]


def functions(client: Client) -> set[str]:
    """Names of the tasks that a client's module has."""
    if client.runs_on_node:
        text = (HERE / client.module).read_text(encoding="utf-8")
        return set(re.findall(r"^export async function (\w+)\(\)", text, flags=re.MULTILINE))
    tree = ast.parse((HERE / f"{client.module}.py").read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in found if not node.args.args and ast.unparse(node.returns or node) == "None"}


def test_each_row_of_the_table_has_its_function_and_each_function_its_row() -> None:
    listed = {client.module: set(client.tasks) for client in CLIENTS}
    assert {client.module: functions(client) for client in CLIENTS} == listed


def test_each_request_that_is_replayed_is_of_a_client_of_the_table() -> None:
    assert all(program.requests for program in PROGRAMS)
    known = {each.name for each in ALL}
    assert {row.client for row in read_replayed()} <= known


def test_the_page_is_the_table_with_everything_working() -> None:
    outcomes = [Outcome(row) for each in ALL for row in each.rows]
    assert page(CLIENTS, PROGRAMS, outcomes) == PAGE.read_text(encoding="utf-8"), "python -m tests.clients write"


def test_what_fails_is_told_with_its_reason() -> None:
    painted, edited, listed = (Row("A client", task, "a picture") for task in ("paint", "edit", "list"))
    outcomes = [Outcome(painted), Outcome(edited, failed="Error: 500\nagain"), Outcome(listed, skipped="no node")]
    told = ["A client", "  ✓ paint", "  ✗ edit             Error: 500 again", "  – list             skipped: no node"]
    assert matrix(outcomes).splitlines() == told
    assert counted(outcomes) == "1 passed, 1 failed, 1 skipped"


def test_what_node_installs_is_named_without_the_host_it_came_from() -> None:
    assert '"resolved"' not in (HERE / "node/package-lock.json").read_text(encoding="utf-8")
