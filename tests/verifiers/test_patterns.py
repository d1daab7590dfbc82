"""``regex`` and ``terms``: found wherever the chunks are cut, and never at the price of the stream."""

import time
from dataclasses import replace

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Span, UsageError, load_monitor
from interwhen.registry import PluginError
from interwhen.results import TimedOut
from interwhen.testing import LabelledTrace, ScriptedModel, Turn, recut, try_monitor_sync
from interwhen.testing.complexity import BAITS, assert_linear, assert_quick

from interwhen_verifiers.regex import check as check_regex
from interwhen_verifiers.regex import check_apart, regex
from interwhen_verifiers.terms import check as check_terms
from interwhen_verifiers.terms import terms


def tried(monitor, text, seed=0):
    trace = LabelledTrace(name="t", turns=(Turn(prompt="", text=text),), label="unclear")
    [one] = try_monitor_sync(monitor, [trace], seed=seed)
    return one


def quotes(monitor, text, seed=0):
    return [violation.quote for violation in tried(monitor, text, seed).violations]


class TestTerms:
    @pytest.mark.parametrize("whole_words", [False, True])
    @pytest.mark.parametrize("term", ["", " ", "\u200b", "\u200b \u2060"])
    def test_invisible_term_is_refused(self, term, whole_words):
        with pytest.raises(UsageError, match="each term must have"):
            terms(terms=("ordinary", term), whole_words=whole_words)

    def test_words_match_whole_and_in_any_case(self):
        monitor = terms(terms=("secret", "state of the art", "C++"))
        assert quotes(monitor, "A Secret.\nsecretary\nthe state  of the Art is C++!\nC+++") == [
            "Secret",
            "state  of the Art",
            "C++",
        ]

    def test_terms_may_match_parts_with_exact_case(self):
        assert quotes(terms(terms=("Cat",), whole_words=False, ignore_case=False), "Cats\ncats") == ["Cat"]

    def test_required_term_is_searched_in_whole_answer(self):
        monitor = terms(terms=("in conclusion",), must="present")
        one = tried(monitor, "<think>In conclusion</think>\nNo.\nNone.")
        assert [violation.why for violation in one.violations] == [
            "'in conclusion' must occur in the answer, and does not"
        ]
        assert tried(monitor, "Well.\nIn conclusion, yes.").passed == 1

    @pytest.mark.parametrize("scope", ["line", "sentence", "paragraph", "answer"])
    def test_scope_option_limits_a_match(self, scope):
        matches = quotes(terms(terms=("red fox",), scope=scope), "A red\nfox. Two.\n\nred\n\nfox")
        assert matches == {"line": [], "sentence": [], "paragraph": ["red\nfox"], "answer": ["red\nfox"]}[scope]

    @given(st.integers())
    def test_matches_are_equal_for_any_chunking(self, seed):
        text = "One secret word, and\nno other secrets; a secret\n"
        assert quotes(terms(terms=("secret",)), text, seed) == ["secret", "secret"]

    def test_run_continues_without_the_forbidden_word(self):
        model = ScriptedModel([recut("Well.\nThe secret is out.\n", 5), "It is out.\n"])
        with interwhen.run_sync(model, "", monitors=['terms:terms=["secret"]']) as run:
            result = run.drain()
        assert result.text.startswith("Well.\n")
        assert "The secret" not in result.text
        assert result.text.endswith("It is out.\n")
        assert (result.status, result.ledger.remedies) == ("verified", 1)

    @pytest.mark.parametrize(
        "options", ["terms=[]", 'terms=[" "]', 'terms=["a"],must=perhaps', 'terms=["a"],scope=page']
    )
    def test_invalid_options_are_refused(self, options):
        with pytest.raises(PluginError):
            load_monitor(f"terms:{options}")

    @pytest.mark.parametrize("given_terms", ["word", b"word", (1,), None])
    def test_terms_and_patterns_must_be_text_lists(self, given_terms):
        with pytest.raises(UsageError, match="terms must be a list of texts"):
            terms(terms=given_terms)
        with pytest.raises(UsageError, match="patterns must be a list of texts"):
            regex(patterns=given_terms)

    def test_long_terms_and_long_lists_are_refused(self):
        for given_terms in (("x" * 201,), ("x",) * 1001):
            with pytest.raises(UsageError):
                terms(terms=given_terms)

    def test_matching_is_linear(self):
        monitor = terms(terms=("a b c", "((1", "1 1 1 = 2", "--"))
        assert_linear(monitor)
        assert_quick(monitor, seconds=1.0)


class TestRegex:
    def test_pattern_matches_are_violations_at_their_spans(self):
        one = tried(regex(patterns=(r"\d{3}-\d{4}", "^TODO")), "call 555-1234 now\nTODO: x\nnot TODO")
        assert [(violation.span, violation.why) for violation in one.violations] == [
            (Span(5, 13), r"'\\d{3}-\\d{4}' must not occur here"),
            (Span(18, 22), "'^TODO' must not occur here"),
        ]

    def test_regex_options_set_case_and_presence(self):
        assert quotes(regex(patterns=("todo",), ignore_case=True), "ToDo") == ["ToDo"]
        assert tried(regex(patterns=(r"\\boxed\{", "Answer:"), must="present"), r"So \boxed{3}").passed == 1

    def test_exploding_pattern_times_out_without_stalling_stream(self):
        text = "a" * 40 + "!\n"
        begun = time.monotonic()
        monitor = load_monitor({"name": "regex", "patterns": ("(?=a)(a+)+$",), "deadline": 0.3})
        with interwhen.run_sync(ScriptedModel([text + "done\n"]), "", monitors=[monitor]) as run:
            result = run.drain()
        assert time.monotonic() - begun < 60
        assert result.status == "unverified"
        assert [type(check.outcome) for check in result.checks][:1] == [TimedOut]
        assert result.text.endswith("done\n")

    @pytest.mark.parametrize("pattern", ["(", "[z-a]", "a{2,1}", "(?P<x>a)(?P<x>b)"])
    def test_invalid_pattern_is_refused(self, pattern):
        with pytest.raises(UsageError, match="must be a regular expression"):
            regex(patterns=(pattern,))

    def test_empty_or_oversized_pattern_list_is_refused(self):
        for patterns in ((), ("a",) * 65):
            with pytest.raises(UsageError, match="pattern"):
                regex(patterns=patterns)

    def test_extraction_is_linear(self):
        monitor = regex(patterns=("x",))
        assert_linear(lambda text: claims_in(monitor, ["first", text]), baits=BAITS[:10])


def _segment(text, start=0):
    return interwhen.Segment(text=text, span=Span(start, start + len(text)), phase="answer")


def claims_in(monitor, lines):
    state, line_claims, at = monitor.extractor.start(None), [], 0
    for line in lines:
        state, claims = monitor.extractor.step(state, _segment(line, at))
        line_claims.append(list(claims))
        at += len(line) + 1
    return line_claims


LIKE_WORDS = st.text(
    st.sampled_from("secrtSE \n.-_0135|!@$\u200b\u0301\u0435\u0455\u212a\u017f\u0130\u0131\x00\uff53é"), max_size=16
)


class TestFewClaims:
    """A claim is made of the first text, and of each text in which a pattern may occur."""

    MONITORS = (
        lambda: terms(terms=("secret", "red fox", "C++")),
        lambda: regex(patterns=("secret", r"\d{3}-\d{4}")),
        lambda: regex(patterns=(r"\bsecret\b", "(?i)todo")),
    )

    @pytest.mark.parametrize("make", MONITORS)
    def test_clean_lines_need_one_claim(self, make):
        line_claims = claims_in(make(), ["A plain line."] * 50)
        assert [len(claims) for claims in line_claims] == [1, *[0] * 49]

    @pytest.mark.parametrize("make", MONITORS)
    def test_a_clean_text_is_verified(self, make):
        with interwhen.run_sync(ScriptedModel(["A plain line.\n" * 9]), "", monitors=[make()]) as run:
            result = run.drain()
        assert (result.status, len(result.checks)) == ("verified", 1)

    @pytest.mark.parametrize("make", MONITORS)
    def test_match_after_clean_lines_is_a_violation(self, make):
        assert quotes(make(), "A plain line.\n" * 9 + "the secret is\n") == ["secret"]

    @pytest.mark.parametrize("make", MONITORS)
    def test_a_gate_shows_no_match_after_clean_lines(self, make):
        monitor, shown = replace(make(), delivery="gate"), ""
        with interwhen.run_sync(ScriptedModel(["plain\nplain\na secret\n", "plain\n"]), "", monitors=[monitor]) as run:
            for event in run:
                shown += getattr(event, "text", "") if isinstance(event, interwhen.Delta) else ""
        assert "a secret" not in shown

    @pytest.mark.parametrize("make", MONITORS)
    def test_long_text_makes_one_claim(self, make):
        assert [len(claims) for claims in claims_in(make(), ["plain", "x " * 100_000])] == [1, 1]

    @given(
        before=LIKE_WORDS,
        text=LIKE_WORDS,
        words=st.lists(
            st.sampled_from(["secret", "se", "red", "3", "s.s", "S-", "é", "\u0131s"]), min_size=1, max_size=3
        ),
        whole=st.booleans(),
        same=st.booleans(),
    )
    def test_terms_without_a_claim_pass(self, before, text, words, whole, same):
        monitor = terms(terms=tuple(words), whole_words=whole, ignore_case=not same)
        [[claim]] = claims_in(monitor, [text])
        if not claims_in(monitor, [before, text])[1]:
            assert isinstance(check_terms.check(replace(claim, before=f"\n{before}")), interwhen.Pass)

    @given(
        text=LIKE_WORDS,
        patterns=st.lists(
            st.sampled_from(["secret", r"\bs", r"s\b", r"\Bt", "(?i)SE", "[^a-z]s", "^t", "e$", "(?i)k|i"]),
            min_size=1,
            max_size=3,
        ),
        same=st.booleans(),
    )
    def test_patterns_without_a_claim_pass(self, text, patterns, same):
        monitor = regex(patterns=tuple(patterns), ignore_case=same)
        [[claim]] = claims_in(monitor, [text])
        if not claims_in(monitor, ["", text])[1]:
            assert isinstance(check_apart.check(claim), interwhen.Pass)
            if monitor.verifier is check_regex:
                assert isinstance(check_regex.check(claim), interwhen.Pass)
