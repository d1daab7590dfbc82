"""The names of prepared contexts in options, and the stores that all clients of a process share."""

import gc

import pytest
from interwhen import UsageError
from interwhen.clients._named_context import NamedContext, open_source, read_context, vet_context
from interwhen.precompute import open_store


class Served:
    """What a run asks of a context."""

    def serve(self, model, prompt):
        raise NotImplementedError

    def begin(self):
        pass

    def end(self):
        pass


def test_names_mappings_and_objects_can_describe_a_context(tmp_path):
    store = str(tmp_path / "s.db")
    named = read_context({"name": "wages", "store": store})
    assert named == NamedContext("wages", open_source(store, None))
    assert read_context("more", named.source) == NamedContext("more", named.source)
    assert read_context(named) is named
    ready = Served()
    assert read_context(ready) is ready
    assert read_context(None) is read_context(False) is None


@pytest.mark.parametrize(
    "wanted", ["", 7, {}, {"name": ""}, {"name": "a", "place": "b"}, {"name": "a", "store": 7}, True]
)
def test_anything_else_is_an_error(wanted):
    with pytest.raises(UsageError, match="context must be"):
        read_context(wanted)


def test_passages_are_a_number_of_characters():
    with pytest.raises(UsageError, match="context must be"):
        read_context({"name": "a", "passages": -1})
    assert read_context({"name": "a", "passages": 9}).source is not read_context("a").source


def test_a_shared_store_closes_with_its_last_client(tmp_path):
    store = str(tmp_path / "s.db")
    first, second = open_source(store, None), open_source(store, None)
    assert first is second
    assert open_source(store, tmp_path / "key") is not first
    with pytest.raises(UsageError, match="must exist"):
        vet_context(NamedContext("wages", first))
    # A store that is left open would warn when it is collected.
    open_store(store).close()
    with pytest.raises(UsageError, match="context 'wages' must be in the store"):
        vet_context(NamedContext("wages", first))
    shelf = first.opened_store().shelf
    del first, second
    gc.collect()
    assert shelf._connection is None
