use tidemill_plugin::prelude::*;

#[scalar]
fn shout(text: std::rc::Rc<str>) -> String {
    text.to_uppercase()
}

fn main() {}
