"""`control-plane tune`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.commands.options import ExperimentOption, FleetOption, Json, TrackingUri, component_of
from control_plane.registry.mlflow_client import EXPERIMENT, DatasetRef, MlflowClient, RunRecord

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

PARENT_RUN = "mlflow_run"  # where the study keeps the run that its trials are nested in
TRIAL_RUN = "mlflow_run_of_"  # and each trial's own, by number: a search that goes on logs none twice


def tune(
    component_type: Annotated[str, typer.Option(help="for example coolant_pump")],
    data: Annotated[Path, typer.Option(help="table of `edge-agent simulate` or a built data set")],
    space: Annotated[
        Path, typer.Option(help="YAML: `setting: {low, high, log}` or `setting: {choices: [...]}`")
    ],
    tracking_uri: TrackingUri,
    output: Annotated[Path, typer.Option(help="where the best config.yaml goes")] = Path("config.yaml"),
    config: Annotated[Path | None, typer.Option(help="YAML with the settings that are not searched")] = None,
    trials: Annotated[int, typer.Option(min=1, help="complete trials in the study, earlier ones too")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="processes, each with a trial at a time")] = 1,
    storage: Annotated[
        str, typer.Option(help="Optuna's; a search goes on where it stopped")
    ] = "sqlite:///tune.db",
    study: Annotated[str | None, typer.Option(help="its name in the storage; left out: the type's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the search")] = 0,
    experiment: ExperimentOption = EXPERIMENT,
    fleet: FleetOption = None,
    as_json: Json = False,
) -> None:
    """Search settings: each trial a nested run in MLflow; the best ones become a config.yaml.

    Trials are compared on units that the network did not train on, never on those on which
    `control-plane train` judges it. Ctrl-C and a second call go on where it stopped; more workers, on
    other machines too, may join by the same --storage.

    Example: control-plane tune --component-type coolant_pump --data pumps.parquet --space space.yaml
    --trials 40 --workers 2 --output config.yaml --tracking-uri sqlite:///data/mlflow.db
    """
    from control_plane.training.search import Search, run
    from control_plane.training.search_space import read_space
    from control_plane.training.settings import read_settings, read_values
    from control_plane.training.tune import TrialTraining

    read_settings(config, {})
    wanted = read_space(space)
    component, base = component_of(component_type, fleet), read_values(config) if config else {}
    objective = TrialTraining(component_type, component.tags, data, base, component.operating)
    objective.check(wanted, str(space))
    search = Search(storage, study or component_type, wanted, objective.fingerprint(wanted))
    journal = _Journal(MlflowClient(tracking_uri, experiment), search.study(), data, trials, quiet=as_json)
    found = run(search, objective, trials, workers, seed, journal.log)
    best = found.best_trial
    text = objective.settings(best.params).as_yaml()
    output.write_text(f"# trial {best.number} of {search.name}: RMSE {best.value:.4g} cycles\n{text}")
    journal.end(best, output)
    if as_json:
        done = {
            "trials": journal.done,
            "best": best.number,
            "rmse_cycles": best.value,
            "settings": best.params,
        }
        print(json.dumps(done | {"config": str(output), "run": journal.parent}))
        return
    print(
        f"best of {journal.done}: trial {best.number}, RMSE {best.value:.4g} cycles, {_settings(best.params)}"
    )
    print(f"written to {output}; train with --config {output}")


class _Journal:
    """Each trial to MLflow, once, and to the person who waits."""

    def __init__(
        self, runs: MlflowClient, study: "optuna.Study", data: Path, trials: int, *, quiet: bool
    ) -> None:
        from control_plane.training.histories import data_version

        self._runs, self._study, self._trials, self._quiet = runs, study, trials, quiet
        self._dataset = DatasetRef(str(data), data_version(data))
        self.done = 0
        self.parent: str = study.user_attrs.get(PARENT_RUN) or self._begin()

    def _begin(self) -> str:
        record = RunRecord(
            f"tune {self._study.study_name}", {"study": self._study.study_name}, dataset=self._dataset,
            tags={"kind": "search"},
        )  # fmt: skip
        run_id = self._runs.start(record)
        self._study.set_user_attr(PARENT_RUN, run_id)
        return run_id

    def log(self, trial: "FrozenTrial") -> None:
        self.done += 1
        key = f"{TRIAL_RUN}{trial.number}"
        if key in self._study.user_attrs:
            return
        record = RunRecord(
            f"trial {trial.number}", trial.params, trial.user_attrs["metrics"], trial.user_attrs["curves"],
            self._dataset, tags={"kind": "trial"}, parent=self.parent,
        )  # fmt: skip
        self._study.set_user_attr(key, self._runs.log_run(record))
        if not self._quiet:
            best = self._study.best_value
            print(
                f"{self.done}/{self._trials} trial {trial.number}: RMSE {trial.value:.4g} cycles "
                f"(best {best:.4g}), {_settings(trial.params)}",
                flush=True,
            )

    def end(self, best: "FrozenTrial", config: Path) -> None:
        record = RunRecord(self._study.study_name, artifacts=[config])
        self._runs.finish(self.parent, record)
        self._runs.log_metrics(self.parent, {"best_rmse_cycles": float(best.value or 0.0)})


def _settings(chosen: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in chosen.items()
    )
