"""Plans: sequences of steps that read and write numbered slots."""
