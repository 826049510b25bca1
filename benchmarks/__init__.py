"""How fast gradd is, beside what a user would take instead: `make bench`. Not installed with the package."""
