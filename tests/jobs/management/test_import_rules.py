"""import_rules: job classes of cc-backend as rules; those that no search says are named and leave the others alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Tag
from jobs.records import FootprintMetric, TagRule
from tests.support.commands import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def classes(archive_root: Path, tmp_path: Path) -> Path:
    """Return a folder with parameters, on a server of two clusters; the second has other thresholds in a subcluster."""
    for name, alert in (("one", 5), ("two", 20)):
        metrics = [
            {"name": "flops_any", "unit": {"base": "F/s"}, "scope": "node", "aggregation": "sum", "timestep": 60}
            | {"peak": 100, "normal": 50, "caution": 20, "alert": 5},
            {"name": "mem_used", "unit": {"base": "B"}, "scope": "node", "aggregation": "sum", "timestep": 60}
            | {"peak": 200, "normal": 100, "caution": 50, "alert": 150}
            | {"subClusters": [{"name": "b", "peak": 400, "normal": 100, "caution": 50, "alert": alert * 4}]},
        ]
        parts = [{"name": part, "nodes": f"{part}[1-4]", "topology": {"node": [0]}} for part in ("a", "b")]
        path = archive_root / name / "cluster.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"name": name, "metricConfig": metrics, "subClusters": parts}))
    folder = tmp_path / "classes"
    folder.mkdir()
    (folder / "parameters.json").write_text(json.dumps({"share": 0.3, "shortest": 600.0}))
    return folder


def put(folder: Path, name: str, rule: str, **further: Any) -> None:
    """Write a class."""
    document = {"name": name, "tag": name, "parameters": [], "metrics": ["flops_any"], "rule": rule, **further}
    (folder / f"{name}.json").write_text(json.dumps(document))


def test_thresholds_become_shares_of_the_peak_and_requirements_words(classes: Path, run: Run) -> None:
    put(
        classes,
        "low",
        "limit > flops_any.avg",
        requirements=['job.shared == "none"', "job.duration >= shortest && job.numNodes > 1", "job.numAcc == 0"],
        variables=[{"name": "limit", "expr": "flops_any.limits.peak * (share + 0.1)"}],
    )

    outcome = run("import_rules", str(classes))

    search = "shared:none duration:>=600s nodes:>1 gpus:=0 flops_any:<40%"
    assert outcome.status == 0
    assert outcome.lines == [f"jobClass:low  {search}", "1 rule translated, 1 added."]
    assert TagRule.objects.get().words == search
    assert str(Tag.objects.get()) == "jobClass:low"
    assert run("import_rules", str(classes)).lines[-1] == "1 rule translated, 0 added."


def test_other_thresholds_on_some_subclusters_make_rules_of_their_own(classes: Path, run: Run) -> None:
    put(classes, "full", "mem_used.max > mem_used.limits.alert", metrics=["mem_used"])

    outcome = run("import_rules", str(classes), "--dry-run")

    assert outcome.lines[:-1] == [
        'jobClass:full  cluster:"one" subcluster:a mem_used.max:>75%',
        'jobClass:full  cluster:"two" subcluster:a mem_used.max:>75%',
        'jobClass:full  cluster:"one" subcluster:b mem_used.max:>5%',
        'jobClass:full  cluster:"two" subcluster:b mem_used.max:>20%',
    ]
    assert not TagRule.objects.exists()
    assert not Tag.objects.exists()
    assert not FootprintMetric.objects.exists()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("flops_any.avg < 3 || job.numNodes > 4", "conditions that all hold"),
        ("!(flops_any.avg < 3)", "conditions that all hold"),
        ("flops_any.avg", "expected a comparison"),
        ("flops_any.min < 3", "a search has no such value"),
        ("job.smt == 1", "a search has no such value"),
        ("flops_any.avg < unheard_of", "no number that parameters"),
        ("flops_any.avg < flops_any.max * 2", "no number that parameters"),
        ("flops_any.avg < 3 / 0", "divides by zero"),
        ("flops_any.avg < -3", "below zero"),
        ("flops_any.avg <", "is not understood"),
        ("__import__('os').system('true') > 0", "a search has no such value"),
        ("", "`$.rule`"),
        ("flops_any.avg < 1" + 400 * "0", "too large"),
        ("job.jobState == 'failed user:x'", "expected one word"),
    ],
)
def test_what_no_search_says_is_named_and_the_others_are_added(rule: str, reason: str, classes: Path, run: Run) -> None:
    put(classes, "odd", rule)
    put(classes, "good", "flops_any.avg < 20")

    outcome = run("import_rules", str(classes))

    assert outcome.status == 1
    assert any(line.startswith("odd.json: ") for line in outcome.lines)
    assert reason in "\n".join(outcome.lines)
    assert "1 file not translated." in outcome.err
    assert TagRule.objects.get().words == "flops_any:<20%"


def test_a_metric_that_no_cluster_has_and_broken_files_are_named(classes: Path, run: Run) -> None:
    put(classes, "gpu", "acc_power.avg < 3", metrics=["acc_power"])
    (classes / "broken.json").write_text("{")
    (classes / "list.json").write_text("[]")
    odd: dict[str, Any] = {"tag": "x", "rule": "job.duration > 9"}
    shapes: dict[str, dict[str, Any]] = {
        "nulls": {"metrics": None, "requirements": None, "variables": None},
        "variables": {"variables": [{"expr": "1"}]},
        "text": {"variables": "abc"},
        "numbers": {"requirements": [1]},
    }
    for name, more in shapes.items():
        (classes / f"{name}.json").write_text(json.dumps(odd | more))

    found = json.loads(run("import_rules", str(classes), "--json").out)

    assert found["added"] == 1
    problems = {each["file"]: each["problem"] for each in found["rules"]}
    assert problems["nulls.json"] == ""
    assert "`$.variables[0]`" in problems["variables.json"]
    assert "`$.variables`" in problems["text.json"]
    assert "`$.requirements[0]`" in problems["numbers.json"]
    assert problems["gpu.json"] == "no subcluster of cluster.json has the metrics acc_power"
    assert problems["list.json"] == "Expected `object`, got `array`"
    assert "broken.json" in problems


def test_a_small_number_does_not_become_zero(classes: Path, run: Run) -> None:
    put(classes, "idle", "flops_any.avg < flops_any.limits.peak * 0.0000012345678")
    assert "flops_any:<0.0001235%" in run("import_rules", str(classes), "--dry-run").out


def test_a_folder_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    outcome = run("import_rules", str(tmp_path / "nothing"))
    assert outcome.status == 2
    assert "is no directory" in outcome.err
