//! The public holidays of some countries, as data: one row a holiday.
//!
//! Sources: the laws themselves as their governments publish them (US: 5 U.S.C. 6103 and the District of Columbia; DE: laws
//! of the states; GB: bank holidays of England and Wales; FR: Code du travail L3133-1; likewise CA, federal, AT, IT and PL). Proclaimed one-off holidays are
//! included up to 2023.

use jiff::civil::Weekday::{Monday, Thursday, Wednesday};

use super::holidays::{Day, HolidayRule, Observed};

/// Rules by ISO 3166 code.
pub(super) const COUNTRIES: &[(&str, &[HolidayRule<'static>])] =
    &[("US", US), ("CA", CA), ("DE", DE), ("AT", AT), ("GB", GB), ("FR", FR), ("IT", IT), ("PL", PL)];

const EVER: (i16, i16) = (1583, i16::MAX);

const fn rule(name: &'static str, day: Day, observed: Observed) -> HolidayRule<'static> {
    HolidayRule { name, day, observed, years: EVER, except: &[], regions: &[] }
}

const fn fixed(name: &'static str, month: i8, day: i8, observed: Observed) -> HolidayRule<'static> {
    rule(name, Day::Fixed { month, day }, observed)
}

const fn easter(name: &'static str, days: i16) -> HolidayRule<'static> {
    rule(name, Day::Easter { days }, Observed::SameDay)
}

const fn nth(name: &'static str, nth: i8, weekday: jiff::civil::Weekday, month: i8) -> HolidayRule<'static> {
    rule(name, Day::Nth { month, weekday, nth }, Observed::SameDay)
}

const fn between(rule: HolidayRule<'static>, first: i16, last: i16) -> HolidayRule<'static> {
    HolidayRule { years: (first, last), ..rule }
}

const fn since(rule: HolidayRule<'static>, first: i16) -> HolidayRule<'static> {
    between(rule, first, i16::MAX)
}

const fn not_in(rule: HolidayRule<'static>, except: &'static [i16]) -> HolidayRule<'static> {
    HolidayRule { except, ..rule }
}

const fn only(rule: HolidayRule<'static>, regions: &'static [&'static str]) -> HolidayRule<'static> {
    HolidayRule { regions, ..rule }
}

const NEAREST: Observed = Observed::NearestWeekday;
const NEXT: Observed = Observed::NextWeekday;
const SAME: Observed = Observed::SameDay;

/// Federal holidays; `US-DC` also has Emancipation Day.
const US: &[HolidayRule<'static>] = &[
    fixed("New Year's Day", 1, 1, NEAREST),
    since(nth("Martin Luther King Jr. Day", 3, Monday, 1), 1986),
    nth("Washington's Birthday", 3, Monday, 2),
    only(since(fixed("Emancipation Day", 4, 16, NEAREST), 2005), &["DC"]),
    nth("Memorial Day", -1, Monday, 5),
    since(fixed("Juneteenth", 6, 19, NEAREST), 2021),
    fixed("Independence Day", 7, 4, NEAREST),
    nth("Labor Day", 1, Monday, 9),
    nth("Columbus Day", 2, Monday, 10),
    fixed("Veterans Day", 11, 11, NEAREST),
    nth("Thanksgiving Day", 4, Thursday, 11),
    fixed("Christmas Day", 12, 25, NEAREST),
];

/// Nationwide, and those of the states (`DE-BY`).
const DE: &[HolidayRule<'static>] = &[
    fixed("Neujahr", 1, 1, SAME),
    only(fixed("Heilige Drei Könige", 1, 6, SAME), &["BW", "BY", "ST"]),
    only(since(fixed("Internationaler Frauentag", 3, 8, SAME), 2019), &["BE"]),
    only(since(fixed("Internationaler Frauentag", 3, 8, SAME), 2023), &["MV"]),
    easter("Karfreitag", -2),
    only(easter("Ostersonntag", 0), &["BB"]),
    easter("Ostermontag", 1),
    fixed("Tag der Arbeit", 5, 1, SAME),
    easter("Christi Himmelfahrt", 39),
    only(easter("Pfingstsonntag", 49), &["BB"]),
    easter("Pfingstmontag", 50),
    only(easter("Fronleichnam", 60), &["BW", "BY", "HE", "NW", "RP", "SL"]),
    only(fixed("Mariä Himmelfahrt", 8, 15, SAME), &["BY", "SL"]),
    only(since(fixed("Weltkindertag", 9, 20, SAME), 2019), &["TH"]),
    since(fixed("Tag der Deutschen Einheit", 10, 3, SAME), 1990),
    between(fixed("Reformationstag", 10, 31, SAME), 2017, 2017),
    only(not_in(fixed("Reformationstag", 10, 31, SAME), &[2017]), &["BB", "MV", "SN", "ST", "TH"]),
    only(since(fixed("Reformationstag", 10, 31, SAME), 2018), &["HB", "HH", "NI", "SH"]),
    only(fixed("Allerheiligen", 11, 1, SAME), &["BW", "BY", "NW", "RP", "SL"]),
    only(rule("Buß- und Bettag", Day::Before { month: 11, day: 23, weekday: Wednesday }, SAME), &["SN"]),
    fixed("1. Weihnachtstag", 12, 25, SAME),
    fixed("2. Weihnachtstag", 12, 26, SAME),
];

/// Bank holidays of England and Wales.
const GB: &[HolidayRule<'static>] = &[
    fixed("New Year's Day", 1, 1, NEXT),
    easter("Good Friday", -2),
    easter("Easter Monday", 1),
    not_in(since(nth("Early May bank holiday", 1, Monday, 5), 1978), &[1995, 2020]),
    between(fixed("Early May bank holiday", 5, 8, SAME), 1995, 1995),
    between(fixed("Early May bank holiday", 5, 8, SAME), 2020, 2020),
    not_in(since(nth("Spring bank holiday", -1, Monday, 5), 1971), &[2002, 2012, 2022]),
    between(fixed("Spring bank holiday", 6, 4, SAME), 2002, 2002),
    between(fixed("Spring bank holiday", 6, 4, SAME), 2012, 2012),
    between(fixed("Spring bank holiday", 6, 2, SAME), 2022, 2022),
    since(nth("Summer bank holiday", -1, Monday, 8), 1971),
    fixed("Christmas Day", 12, 25, NEXT),
    fixed("Boxing Day", 12, 26, NEXT),
    between(fixed("Millennium", 12, 31, SAME), 1999, 1999),
    between(fixed("Golden Jubilee", 6, 3, SAME), 2002, 2002),
    between(fixed("Royal wedding", 4, 29, SAME), 2011, 2011),
    between(fixed("Diamond Jubilee", 6, 5, SAME), 2012, 2012),
    between(fixed("Platinum Jubilee", 6, 3, SAME), 2022, 2022),
    between(fixed("State funeral", 9, 19, SAME), 2022, 2022),
    between(fixed("Coronation", 5, 8, SAME), 2023, 2023),
];

const FR: &[HolidayRule<'static>] = &[
    fixed("Jour de l'an", 1, 1, SAME),
    only(easter("Vendredi saint", -2), &["57", "67", "68"]),
    easter("Lundi de Pâques", 1),
    fixed("Fête du Travail", 5, 1, SAME),
    fixed("Victoire 1945", 5, 8, SAME),
    easter("Ascension", 39),
    easter("Lundi de Pentecôte", 50),
    fixed("Fête nationale", 7, 14, SAME),
    fixed("Assomption", 8, 15, SAME),
    fixed("Toussaint", 11, 1, SAME),
    fixed("Armistice 1918", 11, 11, SAME),
    fixed("Noël", 12, 25, SAME),
    only(fixed("Saint-Étienne", 12, 26, SAME), &["57", "67", "68"]),
];

/// Federal holidays.
const CA: &[HolidayRule<'static>] = &[
    fixed("New Year's Day", 1, 1, NEXT),
    easter("Good Friday", -2),
    rule("Victoria Day", Day::Before { month: 5, day: 25, weekday: Monday }, SAME),
    fixed("Canada Day", 7, 1, NEXT),
    nth("Labour Day", 1, Monday, 9),
    since(fixed("National Day for Truth and Reconciliation", 9, 30, NEXT), 2021),
    nth("Thanksgiving", 2, Monday, 10),
    fixed("Remembrance Day", 11, 11, NEXT),
    fixed("Christmas Day", 12, 25, NEXT),
    fixed("Boxing Day", 12, 26, NEXT),
];

const AT: &[HolidayRule<'static>] = &[
    fixed("Neujahr", 1, 1, SAME),
    fixed("Heilige Drei Könige", 1, 6, SAME),
    easter("Ostermontag", 1),
    fixed("Staatsfeiertag", 5, 1, SAME),
    easter("Christi Himmelfahrt", 39),
    easter("Pfingstmontag", 50),
    easter("Fronleichnam", 60),
    fixed("Mariä Himmelfahrt", 8, 15, SAME),
    since(fixed("Nationalfeiertag", 10, 26, SAME), 1967),
    fixed("Allerheiligen", 11, 1, SAME),
    fixed("Mariä Empfängnis", 12, 8, SAME),
    fixed("Christtag", 12, 25, SAME),
    fixed("Stefanitag", 12, 26, SAME),
];

const IT: &[HolidayRule<'static>] = &[
    fixed("Capodanno", 1, 1, SAME),
    fixed("Epifania", 1, 6, SAME),
    easter("Pasqua", 0),
    easter("Lunedì dell'Angelo", 1),
    fixed("Festa della Liberazione", 4, 25, SAME),
    fixed("Festa del Lavoro", 5, 1, SAME),
    fixed("Festa della Repubblica", 6, 2, SAME),
    fixed("Ferragosto", 8, 15, SAME),
    fixed("Ognissanti", 11, 1, SAME),
    fixed("Immacolata Concezione", 12, 8, SAME),
    fixed("Natale", 12, 25, SAME),
    fixed("Santo Stefano", 12, 26, SAME),
];

const PL: &[HolidayRule<'static>] = &[
    fixed("Nowy Rok", 1, 1, SAME),
    since(fixed("Święto Trzech Króli", 1, 6, SAME), 2011),
    easter("Wielkanoc", 0),
    easter("Poniedziałek Wielkanocny", 1),
    fixed("Święto Pracy", 5, 1, SAME),
    fixed("Święto Konstytucji 3 Maja", 5, 3, SAME),
    easter("Zielone Świątki", 49),
    easter("Boże Ciało", 60),
    fixed("Wniebowzięcie NMP", 8, 15, SAME),
    fixed("Wszystkich Świętych", 11, 1, SAME),
    fixed("Święto Niepodległości", 11, 11, SAME),
    since(fixed("Wigilia", 12, 24, SAME), 2025),
    fixed("Boże Narodzenie", 12, 25, SAME),
    fixed("Drugi dzień Bożego Narodzenia", 12, 26, SAME),
];
