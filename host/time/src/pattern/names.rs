//! The names of fields in English.

use super::Field;

const MONTHS: [(&str, &str); 12] = [
    ("Jan", "January"),
    ("Feb", "February"),
    ("Mar", "March"),
    ("Apr", "April"),
    ("May", "May"),
    ("Jun", "June"),
    ("Jul", "July"),
    ("Aug", "August"),
    ("Sep", "September"),
    ("Oct", "October"),
    ("Nov", "November"),
    ("Dec", "December"),
];

const WEEKDAYS: [(&str, &str); 7] = [
    ("Mon", "Monday"),
    ("Tue", "Tuesday"),
    ("Wed", "Wednesday"),
    ("Thu", "Thursday"),
    ("Fri", "Friday"),
    ("Sat", "Saturday"),
    ("Sun", "Sunday"),
];

const QUARTERS: [(&str, &str); 4] =
    [("Q1", "1st quarter"), ("Q2", "2nd quarter"), ("Q3", "3rd quarter"), ("Q4", "4th quarter")];

const ERAS: [(&str, &str); 2] = [("BC", "Before Christ"), ("AD", "Anno Domini")];

const HALVES: [(&str, &str); 2] = [("AM", "AM"), ("PM", "PM")];

/// The short and the full names of a field, from its least value on, and that value.
pub(super) fn of(field: Field) -> (i64, &'static [(&'static str, &'static str)]) {
    match field {
        Field::Month => (1, &MONTHS),
        Field::Weekday => (1, &WEEKDAYS),
        Field::Quarter => (1, &QUARTERS),
        Field::Era => (0, &ERAS),
        Field::HalfDay => (0, &HALVES),
        _ => (0, &[]),
    }
}

/// The English name of a field's value: a month's and a weekday's count from 1.
#[must_use]
pub fn of_value(field: Field, value: i64, is_full: bool) -> Option<&'static str> {
    let (least, names) = of(field);
    let (short, full) = names.get(usize::try_from(value - least).ok()?)?;
    Some(if is_full { full } else { short })
}
