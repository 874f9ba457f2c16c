//! Functions that jobs call: a scalar in SQL, a transform as a step.

use std::sync::Arc;

use arrow::array::StringArray;
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

/// A row of the columns that `sales` reads.
#[derive(Row, Clone, PartialEq, Debug)]
struct Sale {
    item: Option<String>,
    amount: Option<f64>,
}

/// Leaves out sales that were taken back, and writes items in one way. It gets the columns that it
/// reads, and sets one of them; all others go by it.
#[transform(reads = "item STRING, amount DOUBLE", sets = "item STRING")]
fn sales(rows: RecordBatch, ctx: &BatchContext) -> Result<Selected> {
    let sales = Sale::from_batch(&rows)?;
    let stays = |sale: &Sale| sale.amount.is_none_or(|amount| amount >= 0.0);
    let kept: Vec<bool> = sales.iter().map(stays).collect();
    let left_out = kept.iter().filter(|kept| !**kept).count();
    if left_out > 0 {
        log::info!(left_out; "batch {}", ctx.batch_id);
    }
    let items = sales.iter().filter(|sale| stays(sale));
    let items: StringArray =
        items.map(|sale| Some(sale.item.as_ref()?.trim().to_lowercase())).collect();
    Ok(Selected::kept(kept.into()).set(Arc::new(items)))
}

plugin! { size_class, sales }

#[cfg(test)]
mod tests {
    use tidemill_plugin::testing;

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
        let given = testing::transform::<sales>(&rows, &BatchContext::default())?;
        let wanted = [sale("books", Some(2.5)), sale("toys", None)];
        assert_eq!(Sale::from_batch(&given)?, wanted);
        Ok(())
    }
}
