//! Flights: how late they were.

use tidemill_plugin::prelude::*;

/// Callable in SQL as `delay_class(minutes)`, the delay at arrival. A flight without one never
/// arrived: the `Option` is how a function asks to see nulls.
#[scalar]
fn delay_class(minutes: Option<i64>) -> &'static str {
    match minutes {
        None => "cancelled",
        Some(..=-1) => "early",
        Some(0..15) => "on time",
        Some(15..60) => "late",
        Some(60..) => "very late",
    }
}

plugin! { delay_class }

#[cfg(test)]
mod tests {
    use super::delay_class;

    #[test]
    fn a_flight_without_a_delay_was_cancelled() {
        assert_eq!(delay_class(None), "cancelled");
        assert_eq!(delay_class(Some(-3)), "early");
        assert_eq!(delay_class(Some(14)), "on time");
        assert_eq!(delay_class(Some(15)), "late");
        assert_eq!(delay_class(Some(60)), "very late");
    }
}
