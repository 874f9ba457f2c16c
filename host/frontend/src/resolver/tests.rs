//! What queries mean, through the public door: a text is read and resolved.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, table_scan};

use crate::spec::{Position, Relation};
use crate::{Catalog, CatalogFunction, Error, parse_query, resolve};

/// Tables `orders` and `Items`.
struct Tables;

fn table(name: &str) -> Option<LogicalPlan> {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let place =
        DataType::Struct(vec![field("city", DataType::Utf8), field("Zip", DataType::Int32)].into());
    let fields = match name {
        "orders" => vec![
            field("id", DataType::Int64),
            field("Item", DataType::Utf8),
            field("price", DataType::Int32),
            field("place", place),
        ],
        "Items" => vec![field("item", DataType::Utf8), field("weight", DataType::Float64)],
        _ => return None,
    };
    let scan = table_scan(Some(name), &Schema::new(fields), None).unwrap();
    LogicalPlanBuilder::build(scan).ok()
}

impl Catalog for Tables {
    fn table(&self, name: &str) -> Option<(String, LogicalPlan)> {
        let known = ["orders", "Items"].into_iter().find(|k| k.eq_ignore_ascii_case(name))?;
        Some((known.to_owned(), table(known)?))
    }

    fn tables(&self) -> Vec<String> {
        vec!["orders".to_owned(), "Items".to_owned()]
    }

    fn function(&self, _: &str) -> Option<CatalogFunction> {
        None
    }
}

fn resolved(text: &str) -> Result<LogicalPlan, Error> {
    let parsed = parse_query(text, &())?;
    // What is resolved is what was written down.
    let json = serde_json::to_string(&parsed.relation).unwrap();
    let read: Relation = serde_json::from_str(&json).unwrap();
    assert_eq!(read, parsed.relation, "{text}");
    resolve(&read, &Tables)
}

/// The names of a query's columns.
#[track_caller]
fn columns(text: &str) -> Vec<String> {
    let plan = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    plan.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[track_caller]
fn refused(text: &str) -> Error {
    resolved(text).err().unwrap_or_else(|| panic!("{text} has a meaning"))
}

fn nodes(plan: &LogicalPlan, is_it: impl Fn(&LogicalPlan) -> bool) -> usize {
    let mut count = 0;
    plan.apply(|node| {
        count += usize::from(is_it(node));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    count
}

#[test]
fn names_are_found_in_any_case_and_columns_are_called_as_they_are_written() {
    assert_eq!(columns("SELECT ID, o.iTeM FROM ORDERS O"), ["ID", "iTeM"]);
    assert_eq!(
        columns("SELECT Place.CITY, place.zip + 1 FROM orders"),
        ["CITY", "(place.zip + 1)"]
    );
    assert_eq!(columns("SELECT orders.place.Zip FROM orders"), ["Zip"]);
    assert_eq!(columns("SELECT place.* FROM orders"), ["city", "Zip"]);
    assert_eq!(columns("SELECT x FROM (SELECT ID AS X FROM orders)"), ["x"]);
}

#[test]
fn what_a_name_cannot_mean_is_told_with_its_place() {
    let error = refused("SELECT id,\n  prise FROM orders");
    assert_eq!(error.class(), Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"));
    assert_eq!(error.sqlstate(), Some("42703"));
    assert_eq!(error.position(), Some(Position { line: 2, column: 3 }));
    assert!(error.reason().contains("[`price`"), "{error}");
    let error = refused("SELECT item FROM orders, items");
    assert_eq!(error.class(), Some("AMBIGUOUS_REFERENCE"));
    assert!(error.reason().contains("`orders`.`Item`"), "{error}");
    assert_eq!(refused("SELECT place.street FROM orders").class(), Some("FIELD_NOT_FOUND"));
    assert_eq!(refused("SELECT 1 FROM order").class(), Some("TABLE_OR_VIEW_NOT_FOUND"));
    assert_eq!(refused("SELECT frob(id) FROM orders").class(), Some("UNRESOLVED_ROUTINE"));
    assert_eq!(
        refused("SELECT id, count(*) FROM orders GROUP BY item").class(),
        Some("MISSING_AGGREGATION")
    );
    assert_eq!(refused("SELECT 1 AS a, 2 AS A").class(), Some("COLUMN_ALREADY_EXISTS"));
}

#[test]
fn errors_show_no_name_that_nobody_wrote() {
    for text in [
        "SELECT id = place FROM orders",
        "SELECT id[0] FROM orders",
        "SELECT sum(item) + place FROM orders",
        "SELECT transform(array(1), x -> x || place) FROM orders",
        "SELECT id AS a, a AND place FROM orders",
    ] {
        let error = refused(text).to_string();
        assert!(!error.contains('#') && !error.contains('λ'), "{text}: {error}");
    }
}

#[test]
fn a_key_of_using_is_one_column_and_first() {
    assert_eq!(
        columns("SELECT * FROM orders JOIN items USING (ITEM)"),
        ["Item", "id", "price", "place", "weight"]
    );
    assert_eq!(
        columns(
            "SELECT item, orders.item AS a, items.item AS b FROM orders NATURAL FULL JOIN items"
        ),
        ["item", "a", "b"]
    );
    let over_with =
        "WITH w AS (SELECT item, weight FROM items) SELECT * FROM orders NATURAL JOIN w";
    assert_eq!(columns(over_with).len(), 5);
    assert_eq!(
        refused("SELECT 1 FROM orders JOIN items USING (id)").class(),
        Some("UNRESOLVED_USING_COLUMN_FOR_JOIN")
    );
}

#[test]
fn a_table_may_be_read_twice_beside_itself() {
    let text =
        "SELECT a.id, b.price FROM orders a JOIN orders b ON a.id = b.id AND a.price < b.price";
    assert_eq!(columns(text), ["id", "price"]);
    let with = "WITH w AS (SELECT id, price AS p FROM orders) SELECT x.p + y.p AS s FROM w x, w y WHERE x.id = y.id";
    assert_eq!(columns(with), ["s"]);
}

#[test]
fn items_that_name_items_before_them_are_computed_once() {
    let chain: Vec<String> = (1..60).map(|n| format!("c{0} + c{0} AS c{n}", n - 1)).collect();
    for from in ["price AS c0", "sum(price) AS c0"] {
        let plan = resolved(&format!("SELECT {from}, {} FROM orders", chain.join(", "))).unwrap();
        assert!(plan.display_indent().to_string().len() < 400_000);
        assert_eq!(plan.schema().fields().len(), 60);
    }
    // A column goes before an item.
    let plan = resolved("SELECT id + 1 AS price, price AS p FROM orders").unwrap();
    assert_eq!(plan.schema().field(1).data_type(), &DataType::Int32);
}

#[test]
fn what_having_and_order_by_name_is_aggregated_once() {
    let text = "SELECT item, sum(price) AS total FROM orders GROUP BY item HAVING total > 1 AND sum(price) < 9 ORDER BY sum(price), total, max(price)";
    let plan = resolved(text).unwrap();
    let sums = nodes(&plan, |node| match node {
        LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.len() == 2,
        _ => false,
    });
    assert_eq!(sums, 1, "{}", plan.display_indent());
    assert_eq!(columns(text), ["item", "total"]);
}

#[test]
fn having_reads_the_value_of_an_item_and_does_not_compute_it_again() {
    let chain: Vec<String> = (1..40).map(|n| format!("c{0} + c{0} AS c{n}", n - 1)).collect();
    let text = format!(
        "SELECT item, sum(price) AS c0, {} FROM orders GROUP BY item HAVING c39 > 1 ORDER BY c38",
        chain.join(", ")
    );
    assert_eq!(columns(&text).len(), 41);
    let error = refused(&format!(
        "SELECT price AS c0, {}, count(*) FROM orders GROUP BY ALL",
        chain.join(", ")
    ));
    assert!(error.reason().contains("a step of their own"), "{error}");
}

#[test]
fn grouping_takes_aliases_numbers_and_all() {
    for by in ["u", "1", "upper(item)", "ALL"] {
        let text = format!("SELECT upper(item) AS u, count(*) FROM orders GROUP BY {by}");
        assert_eq!(columns(&text), ["u", "count(1)"]);
    }
    let error = refused("SELECT item FROM orders GROUP BY 2");
    assert_eq!(error.class(), Some("GROUP_BY_POS_OUT_OF_RANGE"));
}

#[test]
fn a_query_within_a_query_sees_the_one_around_it() {
    assert_eq!(
        columns(
            "SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.item = o.ITEM)"
        ),
        ["id"]
    );
    assert_eq!(
        columns(
            "SELECT id, (SELECT max(weight) FROM items WHERE item = orders.item) AS w FROM orders"
        ),
        ["id", "w"]
    );
    assert_eq!(
        columns("SELECT id FROM orders WHERE (item, price) IN (SELECT item, 1 FROM items)"),
        ["id"]
    );
}

#[test]
fn generators_stand_beside_columns_and_over_joins() {
    assert_eq!(columns("SELECT id, posexplode(array(price)) FROM orders"), ["id", "pos", "col"]);
    assert_eq!(
        columns(
            "SELECT o.id, v.x FROM orders o JOIN items i ON o.item = i.item LATERAL VIEW explode(array(o.price)) v AS x"
        ),
        ["id", "x"]
    );
    assert_eq!(
        refused("SELECT 1 + explode(array(1)) FROM orders").class(),
        Some("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS")
    );
    assert_eq!(
        refused("SELECT 1 FROM orders WHERE explode(array(1)) = 1").class(),
        Some("UNSUPPORTED_GENERATOR.OUTSIDE_SELECT")
    );
}

#[test]
fn pipes_go_from_one_step_to_the_next() {
    assert_eq!(
        columns("FROM orders |> WHERE price > 1 |> EXTEND price * 2 AS twice |> SELECT id, twice"),
        ["id", "twice"]
    );
    assert_eq!(
        columns("FROM orders |> AGGREGATE sum(price) AS total GROUP BY item |> WHERE total > 1"),
        ["item", "total"]
    );
}

#[test]
fn a_stream_s_relation_is_refused_where_there_are_no_streams() {
    let read = Relation::Read { name: "orders".to_owned(), at: None };
    let transform = Relation::PluginTransform {
        input: Box::new(read),
        plugin: "p".to_owned(),
        function: "f".to_owned(),
    };
    let error = resolve(&transform, &Tables).unwrap_err();
    assert!(error.to_string().contains("streaming queries"), "{error}");
}

#[test]
fn a_query_of_many_tables_is_read_as_it_is_written() {
    let tables: Arc<[String]> =
        (0..20).map(|n| format!("(SELECT id AS i{n} FROM orders) t{n}")).collect();
    let text = format!("SELECT * FROM {}", tables.join(", "));
    assert_eq!(columns(&text).len(), 20);
}

#[test]
fn lateral_view_outer_takes_any_generator() {
    for generator in
        ["stack(2, o.id, o.price)", "explode_outer(array(o.id))", "json_tuple(o.item, 'a')"]
    {
        let text = format!("SELECT v.* FROM orders o LATERAL VIEW OUTER {generator} v AS x");
        assert_eq!(columns(&text), ["x"], "{generator}");
    }
}
