"""The 22 vision data sets by name: what writes a tiny one in the official layout and gives the label of each key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.official import arrays, folders, lists, scenes

WRITERS: dict[str, Callable[[Path], dict[str, int]]] = {
    "imagenet": folders.imagenet,
    "food101": lists.food101,
    "cifar10": arrays.cifar10,
    "cifar100": arrays.cifar100,
    "stanford_cars": lists.stanford_cars,
    "fgvc_aircraft": lists.fgvc_aircraft,
    "dtd": lists.dtd,
    "oxford_pets": lists.oxford_pets,
    "caltech101": folders.caltech101,
    "flowers102": lists.flowers102,
    "mnist": arrays.mnist,
    "stl10": arrays.stl10,
    "eurosat": folders.eurosat,
    "gtsrb": folders.gtsrb,
    "kitti_distance": scenes.kitti_distance,
    "pcam": arrays.pcam,
    "ucf101": scenes.ucf101,
    "clevr_counts": scenes.clevr_counts,
    "fer2013": arrays.fer2013,
    "sun397": lists.sun397,
    "rendered_sst2": folders.rendered_sst2,
    "country211": folders.country211,
}
