"""What the kit lists as public is there, and nothing else is."""

import pytest
import testkit


def test_every_public_name_is_there():
    assert testkit._HOMES.keys() == set(testkit.__all__)
    for name in testkit.__all__:
        value = getattr(testkit, name)
        assert getattr(value, "__module__", testkit._HOMES[name]) == testkit._HOMES[name]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Suitcase'"):
        testkit.Suitcase  # noqa: B018
