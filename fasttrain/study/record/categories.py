"""What records are kept of. No torch in here: a wrong flag must answer at once."""

from __future__ import annotations

from dataclasses import dataclass

from fasttrain.checks import choice


@dataclass(frozen=True)
class Category:
    """A race. seeds: the fewest that a record needs.

    target: validation top-1 in percent that a record reaches at the least cost; None where a record is the highest
    top-1 within `epochs` epochs that cost no more than `full_epochs` epochs at full size.
    """

    name: str
    seeds: int
    target: float | None = None
    epochs: int | None = None
    full_epochs: int | None = None

    @property
    def rule(self) -> str:
        """What wins, in words."""
        if self.target is None:
            return f"the highest top-1 within {self.epochs} epochs and the cost of {self.full_epochs} at full size"
        return f"{self.target:g} % top-1 at the least cost"


CATEGORIES = {one.name: one for one in (
    Category("original", 5, target=34.87),  # where the original study's resnet18 ended after 80 epochs
    Category("half", 3, target=50.0),
    Category("30-epochs", 3, epochs=30, full_epochs=15),
)}


def category(name: str) -> Category:
    """Returns the category of that name; ConfigError for another name."""
    return CATEGORIES[choice(CATEGORIES)("CATEGORY", name)]
