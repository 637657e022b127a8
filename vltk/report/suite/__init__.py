"""The report of an evaluation: one self-contained page of one or several runs, and the tables beside it."""

from vltk.report.suite.assemble import build as build
