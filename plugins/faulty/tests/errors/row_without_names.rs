use tidemill_plugin::prelude::*;

#[derive(Row)]
struct Point(f64, f64);

fn main() {}
