"""report.html of a run or a stage: one self-contained page of curves, tables and galleries."""

from vltk.report.assemble import build as build
