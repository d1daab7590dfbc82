"""What a token costs, in counted instructions: hardly more than recorded, and nothing for monitors that do not look."""

from tests.engine.token_cost import BAR, CASES, IS_COMPARABLE, RECORDED, costs, per_token


def test_cost_per_token_stays_within_recorded_limits() -> None:
    cost = dict(costs())
    assert abs(cost["no monitor, no line ends"] - cost["3 monitors on lines, no line ends"]) < 2
    lines = cost["3 monitors on lines, equal lines of 12 tokens"]
    assert lines > cost["no monitor, a line every 12 tokens"] + 60
    assert cost["3 monitors on lines, different lines of 12 tokens"] > lines
    assert RECORDED.keys() == CASES.keys()
    if IS_COMPARABLE:
        limits = {name: recorded * (1 + BAR) for name, recorded in RECORDED.items()}
        # What other tests left in this process can only add, so a second count decides.
        dear = [name for name, now in cost.items() if now > limits[name] < per_token(CASES[name])]
        assert not dear, "these cost more than recorded: python -m tests.engine.token_cost"
