"""Items for tests of the store, which holds whatever it is given."""

from interwhen.precompute import Payload
from interwhen.precompute._items import Cost, Input, Item, ItemKey, Proof, digest


def item(number=0, text="1+1=2"):
    return Item(
        key=ItemKey(
            kind="answers",
            producer="p",
            version="1",
            model="m",
            tokenizer="",
            judges=digest("j"),
            step=digest(str(number)),
            inputs=(Input("piece", "a", digest("a text")),),
        ),
        status="accepted",
        payload=Payload(text),
        proof=Proof(basis="judged", verifiers=(("v", "1"),), text_sha256=digest("x")),
        cost=Cost(5, 6, 1),
        created=float(number),
        step="p::s",
    )
