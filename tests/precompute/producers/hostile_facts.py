"""Statements that look grounded in the lines that they cite, and are wrong or say more than the lines.

Each equation in them holds, so a check of sums passes all of them. They were written by hand, by kind of mistake.
"""

PAY = ("Jo earns 45 dollars a day.", "Jo works 4 days a week.")
SHOP = ("A pen costs 3 dollars.", "A book costs 12 dollars.", "Mia buys 5 pens and 2 books.")
TEAM = ("Ann ran 6 miles on Monday.", "Ben ran 9 miles on Monday.", "Ann ran 4 miles on Tuesday.")
SALE = ("A coat costs 80 dollars.", "In the sale it costs 25% less.")
STOCK = ("The shop has 40 lamps.", "15% of the lamps are broken.", "Each lamp has 3 bulbs.")
TRIP = ("The train leaves at 9:30.", "The trip takes 45 minutes.", "The ticket costs 45 euros.")
YEARS = ("The firm was founded in 1998.", "It had 120 workers in 2005.", "It had 200 workers in 2010.")
TANK = ("The tank holds 300 liters.", "A pump moves 20 liters a minute.")
EGGS = ("The hens lay 16 eggs a day.", "Janet eats 3 eggs for breakfast.", "She sells the rest for 2 dollars each.")
CLASS = ("The class has 30 students.", "18 of the students are girls.", "Half of the girls play tennis.")
DIET = ("Tom may eat at most 2000 calories a day.", "A pizza has 800 calories.", "Tom did not eat the 3 cookies.")
RIDE = ("A taxi costs 4 dollars plus 2 dollars per mile.", "The ride is 7 miles long.")
BOXES = ("There are 6 boxes.", "Each box has 8 bags.", "Each bag has 5 sweets.")
HEIGHT = ("Leo is 150 cm tall.", "Mia is 12 cm taller than Leo.", "Leo weighs 40 kg.")
MIXED = ("Anna has 12 apples and Ben has 45 apples.", "Anna gives Ben 5 apples.")

HOSTILE = {
    "the number of another line": [
        ("Jo earns 4 dollars a day.", PAY),
        ("Jo works 45 days a week.", PAY),
        ("A pen costs 12 dollars.", SHOP),
        ("A book costs 3 dollars.", SHOP),
        ("Mia buys 2 pens.", SHOP),
        ("Mia buys 5 books.", SHOP),
        ("The ticket costs 9 euros.", TRIP),
        ("It had 200 workers in 2005.", YEARS),
        ("It had 120 workers in 2010.", YEARS),
        ("Each bag has 8 sweets.", BOXES),
        ("There are 8 boxes.", BOXES),
        ("Leo weighs 150 kg.", HEIGHT),
        ("Leo is 40 cm tall.", HEIGHT),
        ("Janet eats 16 eggs for breakfast.", EGGS),
    ],
    "the number of another person": [
        ("Ann ran 9 miles on Monday.", TEAM),
        ("Ben ran 6 miles on Monday.", TEAM),
        ("Ben ran 4 miles on Tuesday.", TEAM),
        ("Ann ran 6 miles on Tuesday.", TEAM),
        ("Ann ran 6 + 9 = 15 miles.", TEAM),
        ("Ann ran 9 + 4 = 13 miles.", TEAM),
        ("Ben ran 6 + 4 = 10 miles.", TEAM),
        ("Ann has 45 apples.", MIXED),
        ("Anna has 45 apples.", MIXED),
        ("Ben has 12 apples.", MIXED),
        ("Anna has 12 + 5 = 17 apples.", MIXED),
        ("Ben has 45 - 5 = 40 apples.", MIXED),
        ("Mia is 12 cm tall.", HEIGHT),
        ("Mia is 150 cm tall.", HEIGHT),
        ("Leo is 150 + 12 = 162 cm tall.", HEIGHT),
        ("Mia weighs 40 kg.", HEIGHT),
    ],
    "units that do not add": [
        ("Jo earns 45 + 4 = 49 dollars.", PAY),
        ("45 + 4 = 49 days", PAY),
        ("45 - 4 = 41 dollars", PAY),
        ("3 + 5 = 8 pens", SHOP),
        ("3 + 5 = 8 dollars", SHOP),
        ("45 + 45 = 90 euros", TRIP),
        ("45 + 45 = 90 minutes", TRIP),
        ("The tank holds 300 + 20 = 320 liters.", TANK),
        ("300 - 20 = 280 liters", TANK),
        ("150 + 40 = 190 cm", HEIGHT),
        ("6 + 8 = 14 boxes", BOXES),
        ("6 + 8 = 14 bags", BOXES),
        ("8 + 5 = 13 sweets", BOXES),
        ("4 + 2 = 6 dollars", RIDE),
        ("16 - 2 = 14 dollars", EGGS),
    ],
    "the thing counted is another": [
        ("45 * 4 = 180 days", PAY),
        ("5 * 3 = 15 pens", SHOP),
        ("2 * 12 = 24 books", SHOP),
        ("6 * 8 = 48 boxes", BOXES),
        ("6 * 8 = 48 sweets", BOXES),
        ("8 * 5 = 40 bags", BOXES),
        ("40 * 3 = 120 lamps", STOCK),
        ("300 / 20 = 15 liters", TANK),
        ("16 * 2 = 32 eggs", EGGS),
        ("2 * 7 = 14 miles", RIDE),
        ("A pen has 3 dollars.", SHOP),
    ],
    "percent against amount": [
        ("The coat costs 25 dollars.", SALE),
        ("In the sale it costs 25 dollars less.", SALE),
        ("In the sale it costs 80 - 25 = 55 dollars.", SALE),
        ("80 - 25 = 55 dollars", SALE),
        ("80 * 25 = 2000 dollars", SALE),
        ("15 of the lamps are broken.", STOCK),
        ("15 lamps are broken.", STOCK),
        ("40 - 15 = 25 lamps", STOCK),
        ("40 * 15 = 600 lamps", STOCK),
        ("40 + 15 = 55 lamps", STOCK),
        ("The shop has 40% lamps.", STOCK),
    ],
    "a piece against the total": [
        ("The lamps have 3 bulbs.", STOCK),
        ("The shop has 3 bulbs.", STOCK),
        ("The boxes have 8 bags.", BOXES),
        ("There are 5 sweets.", BOXES),
        ("There are 8 bags.", BOXES),
        ("Mia buys pens for 3 dollars.", SHOP),
        ("5 pens costs 3 dollars.", SHOP),
        ("2 books costs 12 dollars.", SHOP),
        ("The taxi ride costs 4 dollars.", RIDE),
        ("The ride costs 2 * 7 = 14 dollars.", RIDE),
        ("She sells the eggs for 2 dollars.", EGGS),
        ("She sells 16 eggs for 16 * 2 = 32 dollars.", EGGS),
        ("The rest: 16 * 2 = 32 dollars.", EGGS),
    ],
    "negations and conditions": [
        ("Tom eat 2000 calories a day.", DIET),
        ("Tom may eat 2000 calories a day.", DIET),
        ("Tom eat the 3 cookies.", DIET),
        ("Tom did eat the 3 cookies.", DIET),
        ("A pizza has not 800 calories.", DIET),
        ("Tom did not eat 800 calories.", DIET),
        ("2000 - 800 = 1200 calories", DIET),
        ("800 + 3 = 803 calories", DIET),
    ],
    "dates and times": [
        ("The firm had 1998 workers.", YEARS),
        ("It had 2005 workers in 2010.", YEARS),
        ("2010 - 1998 = 12 workers", YEARS),
        ("1998 + 120 = 2118 workers", YEARS),
        ("200 + 120 = 320 workers", YEARS),
        ("The firm had 120 + 200 = 320 workers in 2010.", YEARS),
        ("The train leaves at 45.", TRIP),
        ("The trip takes 9 minutes.", TRIP),
        ("9 + 45 = 54 minutes", TRIP),
        ("The trip takes 30 minutes.", TRIP),
        ("The trip takes 30 + 45 = 75 minutes.", TRIP),
    ],
    "parts of other groups": [
        ("18 of the students play tennis.", CLASS),
        ("30 of the girls play tennis.", CLASS),
        ("The class has 18 students.", CLASS),
        ("The class has 30 girls.", CLASS),
        ("30 + 18 = 48 students", CLASS),
        ("30 / 2 = 15 girls", (*CLASS, "The class has 2 rooms.")),
    ],
}

RAN = ("Ann ran 6 miles on Monday.", "Ann ran 4 miles on Tuesday.")
PENS = ("A pen costs 3 dollars.", "Mia buys 5 pens.", "She buys 2 pens.")
BAGS = ("Ben has 2 bags.", "Each bag has 3 apples.", "Ben has 4 apples.")

COUNTED_TWICE = [
    ("Ann ran 10 + 6 = 16 miles.", RAN, "Ann ran 6 + 4 = 10 miles."),
    ("Ann ran 4 + 10 = 14 miles.", RAN, "Ann ran 6 + 4 = 10 miles."),
    ("Ann ran 10 + 6 + 4 = 20 miles.", RAN, "Ann ran 6 + 4 = 10 miles."),
    ("Mia buys 7 + 5 = 12 pens.", PENS, "Mia buys 5 + 2 = 7 pens."),
    ("Mia buys 7 * 3 + 5 * 3 = 36 dollars of pens.", PENS, "Mia buys 5 + 2 = 7 pens."),
    ("10 + 4 = 14 apples", BAGS, "2 * 3 + 4 = 10 apples"),
]
"""Statements, the lines of the text, and an earlier fact with which a number of the text is counted a second time."""
