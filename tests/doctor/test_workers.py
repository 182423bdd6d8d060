"""Tasks in processes of their own."""

import broken_set
import pytest

from inpaint_ssl.doctor.workers import Failed, run_tasks


def test_order_and_failures() -> None:
    done: list[int] = []
    tasks = ["a", "exit", "b", "abort", "raise", "sleep", "c", "d"]
    results = run_tasks(broken_set.failing_function, "x", tasks, 2, done.append, seconds_per_task=1.0)
    assert [r for r in results if isinstance(r, str)] == ["x/a", "x/b", "x/c", "x/d"]
    failed = {task: result for task, result in zip(tasks, results, strict=True) if isinstance(result, Failed)}
    assert {task: result.kind for task, result in failed.items()} == {
        "exit": "crashed",
        "abort": "crashed",
        "raise": "raised",
        "sleep": "hung",
    }
    assert "exit code 3" in failed["exit"].detail and "SIGABRT" in failed["abort"].detail
    assert "KeyError" in failed["raise"].detail and "broken_set.py" in failed["raise"].detail
    assert done == list(range(1, 9))


@pytest.mark.parametrize("tasks", [[], ["one"]])
def test_few_tasks(tasks: list[str]) -> None:
    assert run_tasks(broken_set.failing_function, "x", tasks, 4) == [f"x/{task}" for task in tasks]
