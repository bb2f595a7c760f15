"""`control-plane`: its commands, each a module of `control_plane.commands`."""

from shared import command_line

COMMANDS = {
    "serve": "Run the centre: ingest, fleet service, console, repositories and inference.",
    "ingest": "Take the sites' records from Kafka into the lake and the other sinks, each once.",
    "dlq": "Dead letters: list what could not be read, and replay it.",
    "broker": "Serve Kafka's protocol from memory, for evaluation only.",
    "dataset": "Build the training table from the lake, CSV or Parquet.",
    "train": "Train, measure on units held out, export to ONNX, register with MLflow.",
    "benchmark": "Train and judge on public data under a protocol that is printed with the numbers.",
    "validate": "Judge a registered model on other data, with pictures.",
    "compare": "Versions or runs in one table; --promote makes one the champion.",
    "tune": "Search settings with Optuna; writes the best config.yaml.",
    "export": "Write a registered model as ONNX and TorchScript; --benchmark times both.",
    "keys": "Signing keys: approvers', the online role's, a site director's.",
    "release": "Propose, approve, publish; the sites' director repositories.",
    "rollout": "Bring published releases to sites.",
    "site": "Tokens and certificates of the sites: enrol, list, revoke.",
    "account": "Accounts of the console and API: add, list, disable, password.",
    "token": "Bearer tokens of programs, for the API or for predictions: add, list, remove.",
    "import": "Take the records of signed bundles that sites exported.",
    "query": "Ask the lake in SQL.",
    "maintain": "Join the lake's small files and remove replaced ones.",
    "completeness": "What each site produced, what arrived, which gaps are explained and which are not.",
    "alerts": "The operator's alarm list: what needs someone, and acknowledging it.",
    "dashboards": "Grafana: all dashboards as one JSON; a simulated plant's faults as marks.",
    "predict": "Ask the inference server about one window in a CSV file.",
    "audit": "Query, verify and replay the sites' audit logs.",
}


def main() -> None:
    """Run the command line."""
    command_line.run(
        "control_plane.commands",
        COMMANDS,
        "The centre: trains, registers, signs and rolls out models; keeps history and audit trail.",
    )
