"""The folder of a load test's results: nothing of the last test stays in it, and everything else does."""

from __future__ import annotations

import pytest

from eyestream_load.__main__ import load


def test_only_results_of_an_earlier_test_are_removed(tmp_path):
    old = ("report.html", "locust.html", "summary.json", "pictures-a1.csv", "locust_stats.csv", "locust-worker-1.log")
    ours = ("notes.txt", "pictures/eye.jpg", "pictures.csv")
    for name in (*old, *ours):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of an earlier day")
    with pytest.raises(SystemExit, match="no model"):
        load("clinic-morning", out=tmp_path, state=tmp_path / "state", model_repository=tmp_path / "none")
    assert not any((tmp_path / name).exists() for name in old)
    assert all((tmp_path / name).exists() for name in ours)
