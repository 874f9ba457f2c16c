use tidemill_plugin::prelude::*;

fn with_tax(amount: f64) -> f64 {
    amount * 1.1
}

plugin! { with_tax }

fn main() {}
