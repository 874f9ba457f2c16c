use tidemill_plugin::prelude::*;

#[transform(reads = "amount DUBLE")]
fn usable(orders: RecordBatch, _ctx: &BatchContext) -> Result<Selected> {
    Ok(Selected::all(&orders))
}

fn main() {}
