"""A search over settings: Optuna, several workers on one storage, going on where an earlier one stopped.

What is searched is a function from settings to an outcome; nothing here knows what it trains.
"""

import multiprocessing
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from control_plane.training.search_space import SearchSpace
from shared.errors import ConfigError, Retryable

HEARTBEAT_S = 60  # a worker that was silent for twice this is dead, and its trial failed
POLL_S = 1.0  # between looks at what the workers have finished
FINGERPRINT = "fingerprint"  # of what is searched: the space, the fixed settings, the data


class Outcome(NamedTuple):
    """What a trial came to: the number to make small, further metrics, and curves by epoch."""

    value: float
    metrics: dict[str, float]
    curves: dict[str, list[float]]


Objective = Callable[[dict[str, Any]], Outcome]
Finished = Callable[[FrozenTrial], None]


class Search(NamedTuple):
    """A study by its storage (`sqlite:///tune.db`, PostgreSQL for many machines) and name."""

    storage: str
    name: str
    space: SearchSpace
    fingerprint: str

    def study(self, seed: int = 0) -> optuna.Study:
        """The study, made where it is not there; ConfigError when it searched something else."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
            study = optuna.create_study(
                storage=optuna.storages.RDBStorage(self.storage, heartbeat_interval=HEARTBEAT_S),
                sampler=optuna.samplers.TPESampler(seed=seed),
                study_name=self.name,
                load_if_exists=True,
            )
        found = study.user_attrs.get(FINGERPRINT)
        if found is None:
            study.set_user_attr(FINGERPRINT, self.fingerprint)
        elif found != self.fingerprint:
            raise ConfigError(
                "--study",
                [f"{self.name!r} at {self.storage} searched another space or other data; give a new name"],
            )
        return study


def run(
    search: Search, objective: Objective, trials: int, workers: int, seed: int, finished: Finished
) -> optuna.Study:
    """Go on until `trials` are complete (workers that end together may add theirs); the study.

    `finished` gets each completed trial once, in this process. Retryable when the workers died before.
    """
    study = search.study(seed)
    told: set[int] = set()
    if workers == 1:
        work(search, objective, trials, seed, lambda: _tell(study, told, finished))
    else:
        _run_beside(search, objective, trials, workers, seed, lambda: _tell(study, told, finished))
    _tell(study, told, finished)
    if len(told) < trials:
        raise Retryable(f"{len(told)} of {trials} trials are done and every worker has ended; run it again")
    return study


def work(
    search: Search, objective: Objective, trials: int, seed: int, after: Callable[[], None] | None = None
) -> None:
    """One worker: trial after trial, until the study has enough."""
    study = search.study(seed)
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) >= trials:
        return

    def evaluate(trial: optuna.Trial) -> float:
        chosen = {name: each.suggest(trial, name) for name, each in search.space.items()}
        outcome = objective(chosen)
        trial.set_user_attr("metrics", outcome.metrics)
        trial.set_user_attr("curves", outcome.curves)
        return outcome.value

    enough = optuna.study.MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))
    study.optimize(evaluate, callbacks=[enough, lambda _study, _trial: after()] if after else [enough])


def _run_beside(
    search: Search, objective: Objective, trials: int, workers: int, seed: int, look: Callable[[], None]
) -> None:
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its threads
    processes = [
        context.Process(target=work, args=(search, objective, trials, seed + number))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(POLL_S / workers)
            look()
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _tell(study: optuna.Study, told: set[int], finished: Finished) -> None:
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        if trial.number not in told:
            told.add(trial.number)
            finished(trial)
