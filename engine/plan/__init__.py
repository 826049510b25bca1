"""Plans: steps with numbered slots."""
