use tidemill_plugin::prelude::*;

#[scalar]
async fn rate(currency: &str) -> f64 {
    currency.len() as f64
}

fn main() {}
