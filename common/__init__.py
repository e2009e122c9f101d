"""What every part may use: start-up, command lines, files written whole, safe reading. Imports nothing else."""
