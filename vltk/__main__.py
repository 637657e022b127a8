"""`python -m vltk`: what torchrun starts in each process."""

from vltk.cli import main

main()
