//! Orders: cleaned, taxed, and delivered to the places that the job grants.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, StringBuilder};
use arrow::compute::prep_null_mask_filter;
use serde::Deserialize;
use tidemill_plugin::prelude::*;

/// The `config` table of this plugin in the job.
#[derive(Deserialize)]
struct Config {
    /// Whether `deliver` also shows the batch on the screen.
    #[serde(default)]
    screen: bool,
}

/// Callable in SQL as `with_tax(amount)`. Written per row, called per batch.
#[scalar]
fn with_tax(amount: f64) -> f64 {
    amount * 1.1
}

/// Drops the orders that have no usable amount, and writes the categories in one way. The other columns
/// go by it.
#[transform(reads = "amount DOUBLE, category STRING", sets = "category STRING")]
fn normalise(orders: RecordBatch, ctx: &BatchContext) -> Result<Selected> {
    let amounts: &Float64Array = orders["amount"].as_primitive();
    // Where there is no amount there is a null, which drops the row as false does.
    let usable = BooleanArray::from_unary(amounts, |amount| amount >= 0.0);
    let usable = match usable.null_count() {
        0 => usable,
        _ => prep_null_mask_filter(&usable),
    };
    let dropped = orders.num_rows() - usable.true_count();
    if dropped > 0 {
        log::debug!(dropped; "dropped {dropped} orders of batch {}", ctx.batch_id);
    }

    let categories = orders["category"].as_string::<i32>();
    let mut written =
        StringBuilder::with_capacity(orders.num_rows(), categories.value_data().len());
    let mut text = String::new();
    for row in usable.values().set_indices() {
        if categories.is_null(row) {
            written.append_null();
            continue;
        }
        // One text for all rows: its memory is asked for once.
        text.clear();
        text.push_str(categories.value(row).trim());
        if text.is_ascii() {
            text.make_ascii_lowercase()
        } else {
            text = text.to_lowercase()
        }
        written.append_value(&text);
    }
    Ok(Selected::kept(usable).set(Arc::new(written.finish())))
}

/// Spark's `foreachBatch(process_batch)`. `batch` is a handle: the rows stay in the host.
#[foreach_batch]
fn deliver(batch: DataFrame, ctx: &BatchContext) -> Result<()> {
    if ctx.is_processed("deliver")? {
        return Ok(());
    }
    if config::<Config>()?.screen {
        batch.write("screen")?;
    }
    // By name: the address and the secret stay in the host. A second run of the batch skips it.
    batch.write("summary")?;
    ctx.mark_processed("deliver")
}

plugin! { with_tax, normalise, deliver }

#[cfg(test)]
mod tests {
    use tidemill_plugin::testing;

    use super::*;

    #[derive(Row, Debug, PartialEq)]
    struct Order {
        order_id: String,
        user_id: String,
        amount: Option<f64>,
        category: Option<String>,
        order_time: Timestamp,
    }

    fn order(id: &str, amount: Option<f64>, category: Option<&str>) -> Order {
        Order {
            order_id: id.to_owned(),
            user_id: "u1".to_owned(),
            amount,
            category: category.map(str::to_owned),
            order_time: Timestamp(0),
        }
    }

    #[test]
    fn unusable_amounts_are_dropped_and_categories_written_in_one_way() -> Result<()> {
        let orders = Order::to_batch(&[
            order("a", Some(2.5), Some("  Books")),
            order("b", Some(-1.0), Some("books")),
            order("c", None, Some("books")),
            order("d", Some(0.0), None),
        ])?;
        let cleaned = testing::transform::<normalise>(&orders, &BatchContext::default())?;
        let expected = [order("a", Some(2.5), Some("books")), order("d", Some(0.0), None)];
        assert_eq!(Order::from_batch(&cleaned)?, expected);
        let whole = [order("a", Some(2.5), Some("books")), order("b", Some(-1.0), Some("books"))];
        let orders = Order::to_batch(&whole)?;
        let cleaned = testing::transform::<normalise>(&orders, &BatchContext::default())?;
        assert_eq!(Order::from_batch(&cleaned)?, whole[..1]);
        Ok(())
    }

    #[test]
    fn a_batch_is_delivered_once() -> Result<()> {
        let orders = [order("a", Some(2.5), Some("books"))];
        let mut job = testing::Job::of(&orders)?.with_config(r#"{"screen": true}"#);
        job.run::<deliver>()?;
        job.run::<deliver>()?;
        assert_eq!(job.written::<Order>("summary")?, orders);
        assert_eq!(job.written::<Order>("screen")?, orders);
        assert!(job.is_marked("deliver"));
        Ok(())
    }
}
