"""`lungapp rounds`: listing, showing how a round was judged, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_refused, run, run_json
from conftest import PhantomProject
from made_up_scores import add_round, case_scores, many_scores, usual_dices
from networks import lungmask_file

from datastore.round_records import RoundState
from infers.manifest import WEIGHTS
from infers.model_store import ModelStore
from infers.publishing import publish_round
from infers.unet import UNet
from infers.weights import load_weights, save_weights
from lungapp.app import LungApp
from lungapp.project import Project, init_project
from lungapp.settings import Settings
from trainers.decision import Decision
from trainers.gate import GateRules, decide

TAGS = [("effusion",)] * 9 + [("fibrosis",)] * 3


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path / "study")


@pytest.fixture
def decision() -> Decision:
    before = usual_dices(12)
    champion, candidate = many_scores(before, TAGS, model="unet-old"), many_scores(before + 0.01, TAGS)
    candidate[4] = case_scores(5, 0.9, 0.0, tags=("effusion",))
    return decide(champion, candidate)


def add_judged_round(project: Project, decision: Decision, **how: object) -> int:
    registry = project.registry()
    values = {
        "champion": "R231",
        "candidate": "round-0001",
        "decision": decision.reason,
        "metrics": {"judging": decision.to_plain()},
        **how,
    }
    number = add_round(registry, **values)
    registry.close()
    return number


def test_rounds_are_listed_with_the_one_that_is_served(project: Project, decision: Decision, tmp_path: Path) -> None:
    assert (
        run("rounds", "list", "-p", project.folder).output
        == "0 rounds; 0 new corrections, 25 start the next one; bootstrap, which comes with lungapp, is served\n"
    )
    add_judged_round(project, decision, state=RoundState.HELD_BACK)
    add_judged_round(project, decision, candidate="round-0002", trigger="by hand")
    lungmask_file(tmp_path / "x.pth")
    save_weights(load_weights(tmp_path / "x.pth").network, tmp_path / WEIGHTS)
    ModelStore(project.models).add_trained(tmp_path / WEIGHTS, "round-0002", 2, "# card", {})
    run("models", "publish", "round-0002", "-p", project.folder)
    lines = run("rounds", "list", "-p", project.folder).output.splitlines()
    assert lines[0].startswith("   1  held back    ") and lines[0].endswith("round-0001    25 corrections")
    assert lines[1].startswith("   2  published    ") and lines[1].endswith("round-0002    by hand  served")
    assert lines[2] == "2 rounds; 0 new corrections, 25 start the next one; round-0002 is served"
    plain = run_json("rounds", "list", "-p", project.folder)
    assert [(item["number"], item["state"], item["served"]) for item in plain] == [
        (1, "held back", False),
        (2, "published", True),
    ]


def test_a_round_is_shown_with_the_table_of_its_judging(project: Project, decision: Decision) -> None:
    add_judged_round(project, decision, state=RoundState.HELD_BACK)
    output = run("rounds", "show", "1", "-p", project.folder).output
    for words in (
        "state       held back",
        "trigger     25 corrections",
        "champion    R231",
        f"decision    {decision.reason}",
        "judged on 12 locked cases",
        "all, both lungs ",
        "all, left lung  ",
        "the 10 worst of 12 locked cases",
        "  0005  Dice 0.",
        "misses left_lung  effusion",
    ):
        assert words in output
    overall = next(row for row in decision.table if (row.tag, row.lung, row.metric) == ("", "", "dice"))
    (line,) = [line for line in output.splitlines() if line.startswith("  all, both lungs")]
    assert (
        f"12 cases  Dice {overall.champion:.3f} -> {overall.candidate:.3f}  {overall.difference:+.4f} "
        f"({overall.low:+.4f} to {overall.high:+.4f})"
    ) in line
    assert "HD95 5.0 -> 5.0 mm of 11  MSD 1.00 -> 1.00 mm" in line
    effusion, fibrosis = (next(x for x in output.splitlines() if x.startswith(f"  {tag}")) for tag in ("effu", "fibr"))
    assert fibrosis.endswith("too few to decide") and "too few" not in effusion


def test_the_newest_round_is_shown_if_none_is_named(project: Project, decision: Decision) -> None:
    add_judged_round(project, decision)
    add_judged_round(project, decision, candidate="round-0002", seed=11)
    assert "round 2\n" in run("rounds", "show", "-p", project.folder).output
    plain = run_json("rounds", "show", "-p", project.folder)
    assert (plain["number"], plain["seed"], plain["candidate"]) == (2, 11, "round-0002")
    assert Decision.from_plain(plain["metrics"]["judging"]) == decision


def test_a_round_that_was_not_judged_yet_is_shown(project: Project) -> None:
    registry = project.registry()
    add_round(registry, RoundState.RUNNING, ended_at=None)
    registry.close()
    output = run("rounds", "show", "1", "-p", project.folder).output
    assert "state       running" in output and "decision" not in output and "masks       not settled yet" in output
    assert "ended" not in output and "judged on" not in output


def test_a_round_without_champion_is_shown(project: Project) -> None:
    decision = decide(None, many_scores([0.8, 0.9]))
    add_judged_round(project, decision, champion=None)
    output = run("rounds", "show", "-p", project.folder).output
    assert "champion    none" in output
    assert "2 cases  Dice 0.850 " in output and "->" not in output.split("interval)")[1]


def test_a_round_that_is_not_there_is_refused(project: Project, decision: Decision) -> None:
    assert_refused(run("rounds", "show", "-p", project.folder), "no round: there are none yet")
    add_judged_round(project, decision)
    assert_refused(run("rounds", "show", "9", "-p", project.folder), "no round 9: there are rounds 1 to 1")
    assert run("rounds", "show", "x", "-p", project.folder).exit_code == 2


def test_the_way_back_is_one_command(project: Project, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two"), start=1):
        run("models", "import", lungmask_file(tmp_path / f"{name}.pth", seed=seed), "-p", project.folder, "--publish")
    output = run("rounds", "rollback", "--by", "mia", "-p", project.folder).output
    assert output.startswith("one  unet-") and output.endswith("is served again; taken back: two\n")
    assert (project.models / "current").read_text() == "one\n"
    shipped = "bootstrap, which comes with lungapp, is served again; taken back: one\n"
    assert run("rounds", "rollback", "-p", project.folder).output == shipped
    assert not (project.models / "current").exists()
    assert_refused(run("rounds", "rollback", "-p", project.folder), "no model was ever published here")
    assert run("models", "publish", "one", "-p", project.folder).exit_code == 0
    assert run("models", "publish", "two", "--by", "ann", "-p", project.folder).exit_code == 0
    plain = run_json("rounds", "rollback", "-p", project.folder)
    assert (plain["name"], plain["before"], plain["served"]) == ("one", "two", True)
    registry = project.registry()
    changes = [(event.actor, event.action) for event in registry.events() if event.action != "model.added"]
    registry.close()
    assert ("mia", "model.rolled_back") in changes and ("ann", "model.published") in changes


def test_there_is_nothing_to_go_back_to_in_a_new_project(project: Project) -> None:
    assert_refused(run("rounds", "rollback", "-p", project.folder), "no model was ever published here")


def test_a_model_of_a_round_is_shown_as_trained(project: Project, tmp_path: Path) -> None:
    registry, weights = project.registry(), tmp_path / WEIGHTS
    number = add_round(registry)
    save_weights(UNet(base_channels=2), weights)
    publish_round(registry, ModelStore(project.models), weights, "round-0001", number, "# card\n", {}, champion=None)
    registry.close()
    output = run("models", "show", "round-0001", "-p", project.folder).output
    assert "trained in round 1 of its project" in output
    assert "  trained   20" in output and "imported" not in output
    assert run_json("models", "show", "round-0001", "-p", project.folder)["round"] == 1
    assert run("doctor", "-p", project.folder).exit_code == 0


def test_what_the_gate_held_back_is_published_by_hand_with_a_note(
    project: Project, decision: Decision, tmp_path: Path
) -> None:
    add_judged_round(project, decision, state=RoundState.HELD_BACK)
    save_weights(UNet(base_channels=2), tmp_path / WEIGHTS)
    ModelStore(project.models).add_trained(tmp_path / WEIGHTS, "round-0001", 1, "# card", {})
    output = run("models", "publish", "round-0001", "-p", project.folder).output
    assert f"note: its round did not publish it: {decision.reason}" in output and "is served now" in output
    shipped = run("models", "publish", "Bootstrap", "-p", project.folder).output
    assert shipped == "bootstrap, which comes with lungapp, is served now; before: round-0001\n"
    assert run_json("models", "publish", "bootstrap", "-p", project.folder) == {
        "name": "bootstrap",
        "served": True,
        "before": None,
    }


def test_a_running_app_serves_the_model_of_a_round_and_then_the_one_before(
    make_project: Callable[..., PhantomProject], tmp_path: Path
) -> None:
    project = make_project(1, shape=(4, 16, 16), spacing_mm=(40.0, 24.0, 24.0)).project
    app = LungApp("", str(project.folder), {})
    run("models", "import", lungmask_file(tmp_path / "one.pth"), "-p", project.folder, "--publish")
    first = app.model_named("unet")
    save_weights(UNet(base_channels=2), tmp_path / WEIGHTS)
    number = add_round(app.registry)
    store = ModelStore(project.models)
    publish_round(app.registry, store, tmp_path / WEIGHTS, "round-0001", number, "# card\n", {}, champion="one")
    assert app.model_named("unet").version == store.model("round-0001").version
    hu = np.zeros((2, 16, 16), np.int16)
    assert first.predict(hu, (5.0, 1.0, 1.0)).shape == hu.shape  # whoever has the old one goes on with it
    run("rounds", "rollback", "-p", project.folder)
    assert app.model_named("unet").version == first.version
    app.registry.close()


def test_the_settings_of_the_gate_are_its_rules() -> None:
    assert GateRules(**Settings().gate.model_dump()) == GateRules()


@pytest.mark.parametrize("value", ["nan", "inf", "-0.1", "2"])
def test_a_margin_without_sense_is_refused(project: Project, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGAPP_GATE__DICE_MARGIN", value)
    assert_refused(run("rounds", "list", "-p", project.folder), "gate.dice_margin")
