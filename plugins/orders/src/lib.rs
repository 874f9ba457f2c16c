//! Orders: cleaned, taxed, and delivered to the places that the job grants.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray};
use arrow::compute::filter_record_batch;
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

/// Drops the orders that have no usable amount, and writes the categories in one way.
#[transform(
    input = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP",
    output = "order_id STRING, user_id STRING, amount DOUBLE, category STRING, order_time TIMESTAMP"
)]
fn normalise(orders: RecordBatch, ctx: &BatchContext) -> Result<RecordBatch> {
    let amounts: &Float64Array = orders["amount"].as_primitive();
    let usable = amounts.iter().map(|amount| Some(amount.is_some_and(|amount| amount >= 0.0)));
    let cleaned = filter_record_batch(&orders, &usable.collect())?;
    let dropped = orders.num_rows() - cleaned.num_rows();
    if dropped > 0 {
        log::debug!("dropped {dropped} orders of batch {}", ctx.batch_id);
    }

    let categories = cleaned["category"].as_string::<i32>().iter();
    let categories: StringArray =
        categories.map(|category| Some(category?.trim().to_lowercase())).collect();
    let mut columns = cleaned.columns().to_vec();
    columns[cleaned.schema().index_of("category")?] = Arc::new(categories);
    Ok(RecordBatch::try_new(cleaned.schema(), columns)?)
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
        let cleaned = normalise(orders, &BatchContext::default())?;
        let expected = [order("a", Some(2.5), Some("books")), order("d", Some(0.0), None)];
        assert_eq!(Order::from_batch(&cleaned)?, expected);
        Ok(())
    }
}
