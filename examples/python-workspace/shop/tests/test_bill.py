import unittest

import trees
from shop.bill import total_cents


class Bill(unittest.TestCase):
    def test_it_adds_up(self) -> None:
        assert total_cents(["lime", "lovage", "lovage"]) == 1850 + 2 * 390

    def test_nothing_is_free(self) -> None:
        assert all(total_cents([name]) > 0 for name in trees.PRICES)
