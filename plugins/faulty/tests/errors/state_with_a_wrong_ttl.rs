use tidemill_plugin::prelude::*;

#[derive(State)]
struct Visits {
    #[state(ttl = "soon")]
    clicks: ValueState<i64>,
}

fn main() {}
