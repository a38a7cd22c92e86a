import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_arrows_run_one_way_through_the_places_of_contributing():
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("\n## ")[0]
    order = [place.replace("/", ".") for place in re.findall(r"`(jaxembed/[\w/]+?)(?:\.py|/)`", page)]
    places = lambda name: [(len(at), i) for i, at in enumerate(order) if f"{name}.".startswith(f"{at}.")]
    layer = lambda name: max(places(name), default=(0, -1))[1]  # the most special place is meant
    for file in set(ROOT.glob("jaxembed/**/*.py")) - {ROOT / "jaxembed/__init__.py"}:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        assert layer(name) >= 0, f"CONTRIBUTING has no place for {name}"
        for node in ast.walk(ast.parse(file.read_text())):
            names = [] if not isinstance(node, ast.Import | ast.ImportFrom) else [alias.name for alias in node.names]
            for target in [f"{node.module}.{one}" if isinstance(node, ast.ImportFrom) else one for one in names]:
                assert not target.startswith("experiments"), name
                assert layer(target) <= layer(name), f"{name} imports {target}, which stands below it"
