"""Classes as sets of label values."""

import numpy as np
import pytest

from inpaint_ssl.data import class_map
from inpaint_ssl.errors import InputError

LABELS = {"patellar": 1, "tibial medial": 3, "tibial lateral": 4, "meniscus": 200}


def test_every_label_is_a_class_of_its_own() -> None:
    classes = class_map((), LABELS)
    assert classes.names == ("patellar", "tibial medial", "tibial lateral", "meniscus")
    table = classes.membership()
    assert table.shape == (256, 4)
    assert [tuple(int(i) for i in at) for at in np.argwhere(table)] == [(1, 0), (3, 1), (4, 2), (200, 3)]


def test_classes_join_labels_by_name_or_value_and_may_overlap() -> None:
    classes = class_map(("tibial = tibial medial + 4", "cartilage=patellar+3+4", "meniscus"), LABELS)
    assert classes.names == ("tibial", "cartilage", "meniscus")
    assert classes.members == ((3, 4), (1, 3, 4), (200,))
    labels = np.array([[0, 1, 3], [4, 200, 0]], np.uint8)
    assert classes.membership()[labels].sum(axis=(0, 1)).tolist() == [2, 3, 1]


def test_regions_of_the_data_set_are_classes_with_their_members() -> None:
    regions = {"whole tumour": (1, 2, 3), "core": (2, 3), "enhancing": 3}
    assert class_map((), regions).members == ((1, 2, 3), (2, 3), (3,))
    assert class_map(("rim=1",), regions).members == ((1,),)
    assert class_map(("all=core+1",), regions).members == ((1, 2, 3),)


@pytest.mark.parametrize(
    ("specification", "said"),
    [
        (("a=femoral",), "no label 'femoral'.*patellar.*200"),
        (("a=0",), "no label '0'"),
        (("a=",), "no label ''"),
        (("a=patellar+",), "no label ''"),
        (("=patellar",), "name of '=patellar'"),
        (("a=patellar", "a=4"), "used twice"),
        ("a=patellar", "tuple of texts"),
    ],
)
def test_a_class_that_cannot_be_formed_is_refused(specification: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        class_map(specification, LABELS)
