"""A study's folder as one HTML page that needs nothing else."""
