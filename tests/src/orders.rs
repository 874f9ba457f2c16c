//! Generated orders.

use std::fmt::Write;

use crate::Workbench;

const CATEGORIES: [&str; 5] = ["books", "toys", "food", "games", " Music"];

/// Writes `files` files of `rows` orders each into `input/`, in order of time, up to a minute out
/// of order, some of them unusable. The same for the same arguments.
pub fn write_orders(bench: &Workbench, first_file: u64, files: u64, rows: u64) {
    for file in first_file..first_file + files {
        let mut text = String::new();
        for row in 0..rows {
            let number = file * rows + row;
            // A fixed scatter: what a generator of random numbers would give, without one.
            let scatter = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            let seconds = number * 2 + 600 - scatter % 60;
            let category = CATEGORIES[(scatter / 7 % 5) as usize];
            let amount = match scatter % 50 {
                0 => "null".to_owned(),
                1 => "-3.5".to_owned(),
                _ => format!("{:.2}", (scatter % 50_000) as f64 / 100.0),
            };
            writeln!(
                text,
                "{{\"order_id\":\"o{number:08}\",\"user_id\":\"u{:04}\",\"amount\":{amount},\"category\":\"{category}\",\"order_time\":\"2026-01-01T{:02}:{:02}:{:02}.000Z\"}}",
                scatter % 1_000,
                seconds / 3_600 % 24,
                seconds / 60 % 60,
                seconds % 60,
            )
            .expect("writing to a string succeeds");
        }
        bench.write_input(&format!("input/{file:04}.json"), file as i64, text);
    }
}
