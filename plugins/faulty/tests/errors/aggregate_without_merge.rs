use tidemill_plugin::prelude::*;

#[derive(Row, Default)]
struct Mean {
    sum: f64,
}

#[aggregate]
impl Mean {
    fn update(&mut self, x: f64) {
        self.sum += x;
    }

    fn finish(&self) -> f64 {
        self.sum
    }
}

fn main() {}
