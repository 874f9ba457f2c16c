use tidemill_plugin::prelude::*;

#[derive(State)]
struct Visits {
    clicks: ValueState<i64>,
}

#[stateful]
impl Visits {
    fn handle(&mut self, user: String) {}
}

fn main() {}
