"""scikit-learn's 1,797 handwritten digits of 8 x 8: installed with it, no files to find."""

import numpy as np

from snntha.data.idx import Images
from snntha.data.stratified import Strata, complement, stratified_sample

_WHITE = 16  # the largest grey value
_SPLIT_SEED = 1797  # of the test set, the same in every run so that runs compare
_TEST_SHARE = 0.2


def read() -> list[Images]:
    """Training and test images, split by class with a fixed seed; grey values 0..16."""
    from sklearn.datasets import load_digits

    pixels, labels_B = load_digits(return_X_y=True)
    images_BHW = pixels.reshape(-1, 8, 8).astype(np.uint8)
    labels_B = labels_B.astype(np.int64)
    rng = np.random.default_rng(_SPLIT_SEED)
    test = stratified_sample(Strata(labels_B), round(_TEST_SHARE * len(labels_B)), rng)
    parts = complement(test, len(labels_B)), test
    return [Images(images_BHW[part], labels_B[part], _WHITE) for part in parts]
