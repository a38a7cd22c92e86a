from pathlib import Path

from jaxembed.recipes import RECIPES, with_table


def test_the_table_of_recipes_is_the_registry():
    page = (Path(__file__).parents[1] / "README.md").read_text()
    assert page == with_table(page), "write it anew: python -m jaxembed.recipes README.md"
    assert all(f"`{name}`" in page for name in RECIPES)
