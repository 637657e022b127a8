"""Published figures in, published averages out; partial averages beside the references' over the same tasks."""

from __future__ import annotations

import numpy as np
import pytest

from vltk.errors import RecipeError, VltkError
from vltk.eval import task
from vltk.eval.averages import averages, means
from vltk.eval.headline import headlines, protocols
from vltk.eval.references import published, references
from vltk.eval.statistics.intervals import percentiles

PRINTED = {  # language, vision, multimodal, macro
    "flava": (78.19, 79.44, 69.92, 75.85),
    "clip_400m": (50.50, 82.57, 67.29, 66.78),
    "clip_pmd": (46.44, 76.12, 62.02, 61.52),
    "flava_mm": (74.22, 79.35, 69.11, 74.23),
    "flava_c": (64.80, 79.14, 66.25, 70.06),
    "flava_without_init": (75.55, 78.29, 67.32, 73.72),
}


@pytest.mark.parametrize("column", PRINTED)
def test_published_figures_give_published_averages(column: str) -> None:
    found = {one.name: one for one in averages(references()[column].values)}
    rounded = [found[name].value for name in ("language", "vision", "multimodal", "macro")]
    assert rounded == pytest.approx(PRINTED[column], abs=0.0101)  # the paper cuts where it does not round
    assert [(one.tasks, one.of) for one in found.values()] == [(22, 22), (8, 8), (5, 5), (35, 35)]
    assert (
        str(found["macro"]) == f"{found['macro'].value:.2f}"
        and found["macro"].references[column] == found["macro"].value
    )


def test_retrieval_weighs_eight_of_eleven() -> None:
    values = references()["flava"].values
    up = {name: value + (11 if "R@" in name else 0) for name, value in values.items()}
    assert means(up)["multimodal"] - means(values)["multimodal"] == pytest.approx(8)


def test_a_partial_average_says_so_and_stands_beside_the_same_tasks() -> None:
    values = {"imagenet": 60.0, "cifar10": 80.0, "rte": 50.0, "vqav2": 40.0, "flickr30k image_to_text R@1": 99.0}
    vision, language, multimodal, macro = averages(values)
    assert (vision.name, vision.value, str(vision)) == ("vision", 70.0, "70.00 (2 of 22)")
    assert vision.references["flava"] == pytest.approx((75.54 + 92.87) / 2)
    assert vision.references["clip_paper"] == pytest.approx((80.2 + 96.2) / 2) and "bert_base" not in vision.references
    assert language.references["bert_base"] == 62.5 and language.tasks == 1
    assert multimodal.value == 40.0 and multimodal.tasks == 1  # one number of four is not the task
    assert str(macro) == f"{(70 + 50 + 40) / 3:.2f} (4 of 35)" and not macro.complete
    assert macro.references["flava"] == pytest.approx((vision.references["flava"] + 57.76 + 72.49) / 3)


def test_no_macro_without_all_three() -> None:
    assert [one.name for one in averages({"imagenet": 60.0, "rte": 50.0})] == ["vision", "language"]
    assert averages({}) == []


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(VltkError, match="no number 'cifar' in the table; did you mean 'cifar10'"):
        averages({"cifar": 1.0})


def test_averages_of_replicates_are_replicates() -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(value, 1, 2000) for name, value in references()["flava"].values.items()}
    found = means(values)
    assert found["vision"].std() == pytest.approx(22**-0.5, rel=0.05)
    interval = percentiles(found["macro"], "bootstrap")
    assert interval.low < 75.85 < interval.high < interval.low + 1.2


def test_the_table_has_the_tasks_of_the_suite_and_the_headlines_of_the_papers() -> None:
    suite = task.suite("35tasks").tasks
    for protocol in protocols():
        assert sorted(headlines(protocol)) == sorted(name for names in suite.values() for name in names)
    flava, clip = headlines("flava"), headlines("clip")
    assert flava["fgvc_aircraft"].score == ["accuracy"] and clip["fgvc_aircraft"].score == ["mean per-class accuracy"]
    assert clip["imagenet"] == flava["imagenet"]
    assert flava["mrpc"].numbers("mrpc", {"accuracy": 80.0, "F1": 90.0, "other": 1.0}) == {"mrpc": 85.0}
    with pytest.raises(VltkError, match="mrpc: no F1 in its results; have: accuracy"):
        flava["mrpc"].numbers("mrpc", {"accuracy": 80.0})
    with pytest.raises(RecipeError, match="no protocol 'clipp'; did you mean 'clip'"):
        headlines("clipp")


def test_every_published_number_is_one_of_the_table() -> None:
    table = {number for name, headline in headlines().items() for number in headline.parts(name)}
    assert len(table) == 22 + 8 + 11
    for one in references().values():
        assert set(one.values) <= table and {*one.unverified, *one.different} <= set(one.values)


def test_what_may_be_compared() -> None:
    marks = {one.reference: one for one in published("fgvc_aircraft")}
    assert marks["flava"].comparable is True and marks["flava"].value == 47.31
    assert marks["clip_paper"].comparable is False and marks["clip_paper"].memory
    assert marks["clip_paper"].remark == "mean per-class accuracy on test; here accuracy on test"
    by_clip = {one.reference: one.comparable for one in published("fgvc_aircraft", "clip")}
    assert by_clip["flava"] is False and by_clip["clip_paper"] == "unverified"
    folds = {name: {one.reference: one for one in published("stl10", name)} for name in ("flava", "clip")}
    assert folds["flava"]["clip_paper"].comparable is False
    assert folds["flava"]["clip_paper"].remark == "accuracy on test, mean of ten folds; here accuracy on test"
    assert {one.comparable for one in folds["clip"].values()} == {"unverified"}  # FLAVA does not say which it took
    kitti = {one.reference: one.comparable for one in published("kitti_distance")}
    assert kitti["flava"] == "unverified" and kitti["clip_paper"] is False
