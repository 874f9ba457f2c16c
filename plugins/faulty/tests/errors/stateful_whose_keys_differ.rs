use tidemill_plugin::prelude::*;

#[derive(Row)]
struct Click {
    page: String,
}

#[derive(State)]
struct Visits {
    clicks: ValueState<i64>,
}

#[stateful]
impl Visits {
    fn rows(&mut self, user: String, clicks: Vec<Click>) -> Vec<Click> {
        clicks
    }

    fn timer(&mut self, user: i64, due: Timestamp) -> Option<Click> {
        None
    }
}

fn main() {}
