"""1,797 handwritten digits of 8 x 8, which come with snntha: no files to find.

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine
Learning Repository, CC BY 4.0), in the file that scikit-learn's `load_digits` reads; importing that takes seconds.
"""

from pathlib import Path

import numpy as np

from snntha.data.idx import Images
from snntha.data.stratified import Strata, complement, stratified_sample

_FILE = Path(__file__).with_name("digits.csv.gz")
_WHITE = 16  # the largest grey value
_SPLIT_SEED = 1797  # of the test set, the same in every run so that runs compare
_TEST_SHARE = 0.2


def read() -> list[Images]:
    """Training and test images, split by class with a fixed seed; grey values 0..16."""
    rows = np.loadtxt(_FILE, np.uint8, delimiter=",")  # 64 grey values and the label
    images_BHW, labels_B = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    rng = np.random.default_rng(_SPLIT_SEED)
    test = stratified_sample(Strata(labels_B), round(_TEST_SHARE * len(labels_B)), rng)
    parts = complement(test, len(labels_B)), test
    return [Images(images_BHW[part], labels_B[part], _WHITE) for part in parts]
