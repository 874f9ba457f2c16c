use tidemill_plugin::prelude::*;

#[derive(Row)]
struct Order {
    id: String,
    items: std::collections::LinkedList<String>,
}

fn main() {}
