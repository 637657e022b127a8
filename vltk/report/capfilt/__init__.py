"""report.html of a CapFilt job: one self-contained page of what was kept and why, scores, and texts to look at."""

from vltk.report.capfilt.assemble import build as build
