"""`make dashboards`: write every generated file, and remove dashboards that are no longer made."""

import sys
from pathlib import Path

from dashboards.written import GRAFANA, generated
from shared.reactor_config import load_fleet

ROOT = Path(__file__).parents[1]


def main() -> None:
    """From the configuration named, or that of the repository."""
    made = generated(load_fleet(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "reactor_config.yaml"))
    for path in (ROOT / GRAFANA).rglob("*.json"):
        if path.relative_to(ROOT) not in made:
            path.unlink()
    for relative, text in made.items():
        (ROOT / relative).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / relative).write_text(text)
    print(f"{len(made)} files written")


if __name__ == "__main__":
    main()
