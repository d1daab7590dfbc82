"""Tells whether a pronoun may mean somebody else than the one name of a text.

A text with one name may be about more persons: "Ann has 2 apples. He gets 3 apples." The tables have common English
names that usually belong to one gender.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FEMALE = _set(
    "abigail ada agnes alice alicia amanda amelia amy ana angela anita ann anna anne annie aria audrey "
    "ava barbara bea beatrice becky bella beth bethany betty brenda bridget camila carla carmen carol "
    "caroline catherine cathy cecilia celia charlotte chloe christina cindy claire clara cora cynthia "
    "daisy deborah debra denise diana diane donna dora doris dorothy edith elena eliza elizabeth ella "
    "ellen emily emma erica esther eva eve evelyn fatima fiona flora florence frances gina gloria grace "
    "greta hannah hazel heather heidi helen helena ida ines irene iris isabel isabella ivy jane janet "
    "janice jasmine jennifer jenny jessica joan joanna josephine joyce judith judy julia julie juliet "
    "karen kate katherine kathleen katie kayla laura lauren leah lena lila lily linda lisa lois lola "
    "lucia lucy lydia maggie maya margaret maria marie marta martha mary matilda megan melanie melissa "
    "mia michelle mila molly monica nadia nancy naomi natalie nicole nina nora olga olivia pamela "
    "patricia paula penny phoebe pia priya rachel rebecca rita rosa rose rosie ruby ruth sally samantha "
    "sandra sara sarah sharon sheila sofia sonia sophia sophie stella stephanie susan susie sylvia tanya "
    "tara teresa theresa tina uma ursula valerie vanessa vera veronica victoria violet virginia vivian "
    "wendy yasmin yvonne zoe zoey"
)
MALE = _set(
    "aaron abdul abraham adam ahmed alan albert alexander ali allan andrew anthony antonio arthur austin "
    "barry ben benjamin bernard bill billy bob bobby brad brandon brian bruce bryan calvin carl carlos "
    "charles christopher cid colin craig daniel dave david dean dennis derek diego dimitri dominic donald "
    "doug douglas dylan earl ed eddie edgar edward edwin eli elias emil enrique eric ernest ethan eugene "
    "felix fernando frank fred freddie frederick gabriel gary geoff george gerald gilbert gordon graham "
    "greg gregory gus guy hans harold harry harvey hector henry herbert howard hugh hugo ian igor isaac "
    "ivan jack jackson jacob jake james jared jason javier jeff jeffrey jeremy jerome jerry jim jimmy joe "
    "joel john johnny jonathan jorge jose joseph joshua juan julian justin karl keith ken kenneth kevin "
    "kurt kyle larry lars lawrence leo leon leonard liam louis lucas luis luke malcolm marco marcus mario "
    "mark martin marvin mateo matt matthew max michael miguel mike mohamed mohammed nathan ned neil "
    "nicholas nick nigel noah norman oliver omar oscar otto owen pablo patrick paul pedro pete peter phil "
    "philip rafael ralph ramon raymond richard rick rob robert roberto rodney roger roland ron ronald roy "
    "russell ryan samuel santiago scott sean sebastian sergio seth simon stanley stephen steve steven "
    "stuart ted theodore thomas tim timothy tobias todd tom tommy tony travis trevor tyler victor vincent "
    "walter warren wayne will william zachary"
)
_HE = frozenset(("he", "him", "his", "himself"))
_SHE = frozenset(("she", "her", "hers", "herself"))
_IT = frozenset(("it", "its", "itself"))
_SEVERAL = frozenset(("i", "me", "my", "we", "us", "our", "you", "your", "they", "them", "their", "themselves"))
"""Pronouns for people that are not, or not only, the one who is named."""
_MEN = _set("boy man father dad brother son uncle grandfather grandpa grandson husband nephew king prince waiter")
_WOMEN = _set("girl woman mother mom mum sister daughter aunt grandmother grandma wife niece queen princess waitress")
_OTHERS = _set(
    "teacher farmer baker friend neighbor neighbour doctor nurse clerk seller customer boss cousin baby "
    "child kid student pupil worker driver owner manager chef cook gardener dog cat horse visitor guest "
    "stranger thief person player coach captain parent colleague partner roommate classmate somebody "
    "someone"
)
"""Words for one person or animal that is not named."""


def may_be_another(pronouns: Iterable[str], name: str, unnamed: Sequence[str]) -> bool:
    """Return whether one of *pronouns* may mean somebody else than *name*, the only name in the text.

    *unnamed* are words of the text between the name and the pronoun, such as "teacher". All words are in lower case.
    """
    said = set(pronouns)
    if said & _SEVERAL or (said & _IT and name in FEMALE | MALE):
        return True
    if (said & _HE and name in FEMALE) or (said & _SHE and name in MALE):
        return True
    people = set(unnamed)
    return bool((said & _HE and people & (_MEN | _OTHERS)) or (said & _SHE and people & (_WOMEN | _OTHERS)))
