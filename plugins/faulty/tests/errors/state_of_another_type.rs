use tidemill_plugin::prelude::*;

#[derive(State)]
struct Visits {
    clicks: ValueState<i64>,
    last: Option<String>,
}

fn main() {}
