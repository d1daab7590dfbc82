"""What a token costs, in counted instructions: hardly more than before, and nothing for monitors that do not look."""

from tests.engine.token_cost import BAR, CASES, IS_COMPARABLE, per_token


def test_a_token_costs_hardly_more_than_before_and_a_plain_one_the_same_with_monitors() -> None:
    found = {(case.monitors, case.text): per_token(case.monitors, case.text) for case in CASES}
    assert abs(found[0, "no line ends"] - found[3, "no line ends"]) < 2
    assert found[3, "equal lines"] > found[0, "equal lines"] + 60
    assert found[3, "different lines"] > found[3, "equal lines"]
    if IS_COMPARABLE:
        dear = [case.name for case in CASES if found[case.monitors, case.text] > case.before * (1 + BAR)]
        assert not dear, "these cost more than 2 % above what they did: python -m tests.engine.token_cost"
