//! How Spark spells an interval that is written out: `INTERVAL '1 02' DAY TO HOUR`
//! (IntervalUtils.toDayTimeIntervalString and toYearMonthIntervalString).

const MICROS: [i128; 4] = [86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000];
const UNITS: [&str; 4] = ["DAY", "HOUR", "MINUTE", "SECOND"];

/// The text of an interval by the text of its units; none where it is of months and of days, or of
/// none.
pub(super) fn spelled(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace().peekable();
    words.next_if_eq(&"interval");
    let (mut months, mut micros) = (0_i128, 0_i128);
    let (mut years, mut days): (Option<[usize; 2]>, Option<[usize; 2]>) = (None, None);
    let told = |fields: &mut Option<[usize; 2]>, place: usize| {
        let [first, last] = fields.unwrap_or([place, place]);
        *fields = Some([first.min(place), last.max(place)]);
    };
    while let Some(number) = words.next() {
        let unit = words.next()?;
        match unit.strip_suffix('s').unwrap_or(unit) {
            "year" => {
                months += number.parse::<i128>().ok()?.checked_mul(12)?;
                told(&mut years, 0);
            }
            "month" => {
                months += number.parse::<i128>().ok()?;
                told(&mut years, 1);
            }
            unit => {
                let (place, scale) = match unit {
                    "week" => (0, 7 * MICROS[0]),
                    "day" => (0, MICROS[0]),
                    "hour" => (1, MICROS[1]),
                    "minute" => (2, MICROS[2]),
                    "second" => (3, MICROS[3]),
                    "millisecond" => (3, 1_000),
                    "microsecond" => (3, 1),
                    _ => return None,
                };
                micros += of_units(number, scale)?;
                told(&mut days, place);
            }
        }
    }
    match (years, days) {
        (Some(fields), None) => Some(of_months(months, fields)),
        (None, Some(fields)) => Some(of_micros(micros, fields)),
        _ => None,
    }
}

/// A number, maybe with a point, of units of so many microseconds.
fn of_units(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_negative = whole.starts_with('-');
    let whole: i128 = if matches!(whole, "" | "-" | "+") { 0 } else { whole.parse().ok()? };
    let part = match fraction.len() {
        0 => 0,
        1..=9 => fraction.parse::<i128>().ok()? * scale / 10_i128.pow(fraction.len() as u32),
        _ => return None,
    };
    let whole = whole.checked_mul(scale)?;
    Some(if is_negative { whole - part } else { whole + part })
}

fn of_months(months: i128, fields: [usize; 2]) -> String {
    let (sign, size) = (if months < 0 { "-" } else { "" }, months.abs());
    match fields {
        [0, 0] => format!("INTERVAL '{sign}{}' YEAR", size / 12),
        [1, 1] => format!("INTERVAL '{sign}{size}' MONTH"),
        _ => format!("INTERVAL '{sign}{}-{}' YEAR TO MONTH", size / 12, size % 12),
    }
}

fn of_micros(micros: i128, [first, last]: [usize; 2]) -> String {
    let (sign, mut rest) = (if micros < 0 { "-" } else { "" }, micros.abs());
    let mut text = String::new();
    for (place, scale) in MICROS.into_iter().enumerate().take(last + 1).skip(first) {
        text.push_str(match place {
            _ if place == first => "",
            1 => " ",
            _ => ":",
        });
        let count = rest / scale;
        rest %= scale;
        text += &if place == 0 { count.to_string() } else { format!("{count:02}") };
    }
    if last == 3 && rest != 0 {
        text += &format!(".{}", format!("{rest:06}").trim_end_matches('0'));
    }
    let fields = match first == last {
        true => UNITS[first].to_owned(),
        false => format!("{} TO {}", UNITS[first], UNITS[last]),
    };
    format!("INTERVAL '{sign}{text}' {fields}")
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn intervals_are_spelled_by_their_fields() {
        for (text, name) in [
            ("1 DAY 2 HOURS", "INTERVAL '1 02' DAY TO HOUR"),
            ("90 MINUTES", "INTERVAL '90' MINUTE"),
            ("1.5 SECONDS", "INTERVAL '01.5' SECOND"),
            ("3 WEEKS", "INTERVAL '21' DAY"),
            ("-3 DAYS", "INTERVAL '-3' DAY"),
            ("1 YEAR 2 MONTHS", "INTERVAL '1-2' YEAR TO MONTH"),
            ("100 MILLISECONDS", "INTERVAL '00.1' SECOND"),
            ("1 DAY 2 HOUR 3 MINUTE 4.5 SECOND", "INTERVAL '1 02:03:04.5' DAY TO SECOND"),
        ] {
            assert_eq!(spelled(text).as_deref(), Some(name));
        }
        assert_eq!(spelled("1 MONTH 1 DAY"), None);
    }
}
