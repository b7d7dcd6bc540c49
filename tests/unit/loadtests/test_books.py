"""The books: percentiles within their promised error, and the same whether kept by one process or merged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream_load.books import PERCENTILES, WIDTH, Book, Books

TIMES = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=300)


def book_of(times):
    book = Book()
    for seconds in times:
        book.add(seconds)
    return book


@given(TIMES)
def test_a_percentile_is_never_too_low_and_at_most_a_bucket_too_high(times):
    book = book_of(times)
    for percent in PERCENTILES:
        exact = np.percentile(times, percent, method="inverted_cdf")
        assert exact * (1 - 1e-9) <= book.percentile(percent) <= exact * (1 + WIDTH) * (1 + 1e-9)


@given(TIMES, TIMES)
def test_books_of_two_processes_merge_to_the_books_of_one(some, more):
    merged, whole = book_of(some), book_of(some + more)
    merged.merge(book_of(more))
    assert merged.buckets == whole.buckets
    assert merged.longest_s == whole.longest_s
    assert merged.sum_s == pytest.approx(whole.sum_s)


def test_nothing_has_no_percentile_and_less_than_nothing_is_nothing():
    assert math.isnan(Book().percentile(50))
    assert book_of([-3.0]).percentile(99) == 0.0


def test_a_message_between_processes_loses_nothing():
    books = Books()
    books.took("decode", 0.25)
    books.took("decode", 4.0)
    books.counts["readable"] += 2
    books.banks["ab"] += 1
    books.happened("read", 100.0)
    books.happened("read", 90.0)
    books.faults.append("something")
    assert Books.from_message(json.loads(json.dumps(books.to_message()))) == books


def test_of_moments_the_first_and_the_latest_are_kept_over_all_processes():
    one, other = Books(), Books()
    one.happened("read", 5.0)
    other.happened("read", 3.0)
    other.happened("read", 9.0)
    one.merge(other)
    assert one.moments["read"] == 9.0
    assert one.firsts["read"] == 3.0
