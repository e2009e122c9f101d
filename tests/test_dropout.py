import numpy as np
import pytest

from training.dropout import Dropout


def test_what_is_kept_is_scaled_up_and_the_rest_is_nothing():
    keep = Dropout(0.25, (1000,), seed=1).keep(step=3, first_row=0, num_rows=8).numpy()
    assert np.unique(keep).tolist() == [0.0, pytest.approx(4 / 3)]
    assert (keep == 0).mean() == pytest.approx(0.25, abs=0.02) and keep.mean() == pytest.approx(1, abs=0.03)


def test_it_depends_on_seed_and_step_and_two_ranks_have_the_rows_of_one():
    dropout = Dropout(0.5, (16,), seed=1)
    whole = dropout.keep(2, 0, 6).numpy()
    parts = [dropout.keep(2, 0, 4).numpy(), dropout.keep(2, 4, 2).numpy()]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(dropout.keep(3, 0, 6).numpy(), whole)
    assert not np.array_equal(Dropout(0.5, (16,), seed=2).keep(2, 0, 6).numpy(), whole)
