"""The embedded default data set `shapes`: scenes, their drawing, and the English said about them."""
