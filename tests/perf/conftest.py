"""What tests of charts share."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, in order; they are written as well."""
    seen, write = [], Figure.savefig

    def savefig(self, *arguments, **settings):
        seen.append(self)
        write(self, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return seen
