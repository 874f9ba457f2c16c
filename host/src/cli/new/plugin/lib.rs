//! Functions that jobs call: a scalar in SQL, a transform as a step.

use tidemill_plugin::prelude::*;

/// Says whether an amount is small or large. The `Option` asks to see nulls, too.
#[scalar]
fn size_class(amount: Option<f64>) -> &'static str {
    match amount {
        None => "unknown",
        Some(amount) if amount < 10.0 => "small",
        Some(_) => "large",
    }
}

/// A row of `sales`.
#[derive(Row, Clone, PartialEq, Debug)]
struct Sale {
    item: Option<String>,
    amount: Option<f64>,
}

/// Leaves out sales that were taken back, and writes items in one way.
#[transform(input = "item STRING, amount DOUBLE", output = "item STRING, amount DOUBLE")]
fn sales(rows: RecordBatch, ctx: &BatchContext) -> Result<RecordBatch> {
    let mut sales = Sale::from_batch(&rows)?;
    let before = sales.len();
    sales.retain(|sale| sale.amount.is_none_or(|amount| amount >= 0.0));
    if sales.len() < before {
        log::info!("batch {}: left out {}", ctx.batch_id, before - sales.len());
    }
    for sale in &mut sales {
        sale.item = sale.item.as_ref().map(|item| item.trim().to_lowercase());
    }
    Sale::to_batch(&sales)
}

plugin! { size_class, sales }

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(item: &str, amount: Option<f64>) -> Sale {
        Sale { item: Some(item.to_owned()), amount }
    }

    #[test]
    fn amounts_fall_into_classes() {
        assert_eq!(size_class(None), "unknown");
        assert_eq!(size_class(Some(9.99)), "small");
        assert_eq!(size_class(Some(10.0)), "large");
    }

    #[test]
    fn what_was_taken_back_is_left_out_and_items_are_written_in_one_way() -> Result<()> {
        let rows = Sale::to_batch(&[
            sale("  Books", Some(2.5)),
            sale("books", Some(-2.5)),
            sale("Toys ", None),
        ])?;
        let given = sales(rows, &BatchContext::default())?;
        let wanted = [sale("books", Some(2.5)), sale("toys", None)];
        assert_eq!(Sale::from_batch(&given)?, wanted);
        Ok(())
    }
}
