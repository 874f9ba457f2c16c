//! The names that Spark gives to columns without an alias: the text of their expressions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Date32Array, TimestampMicrosecondArray};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::Expr;
use tidemill_codec::format_cell;
use tidemill_functions::{Function, Reads, Rows, Shape, find};
use tidemill_time::{UTC, parse_date, parse_timestamp_ntz};
use tidemill_types::WrittenInterval;

use super::calls::in_order;
use super::items::Item;
use super::scope::{Scope, same};
use crate::spec::{
    Branch, Call, Expression, Frame, FrameBound, FrameUnits, Literal, Relation, Sign, SortOrder,
    Subquery, WindowSpec,
};

/// How Spark spells a variable of a lambda.
const VARIABLE: &str = "namedlambdavariable()";

/// What is learnt of parts of a query, by where these are, while their names mean something.
#[derive(Default)]
pub(super) struct Learnt {
    /// The names of the columns around them that queries read.
    pub(super) reads: HashMap<*const Relation, Vec<String>>,
    /// What stands before `[…]` and is a struct.
    pub(super) structs: HashSet<*const Expression>,
    /// Operands of sums and differences that are intervals.
    pub(super) intervals: HashSet<*const Expression>,
    /// Those of them that are whole days, and stand beside a DATE.
    pub(super) days: HashSet<*const Expression>,
}

/// The name of a column: that of a column under a cast, or the text.
pub(super) fn column(
    expression: &Expression,
    scope: &Scope,
    items: &[Item],
    learnt: &Learnt,
) -> String {
    let is_field = |name: &[String]| match scope.find(name) {
        Ok(Some(found)) => !found.fields.is_empty(),
        _ => false,
    };
    match expression {
        Expression::Attribute { name, .. } => return last(name),
        Expression::Cast { value, .. } => {
            if let Expression::Attribute { name, .. } = value.as_ref()
                && !is_field(name)
            {
                return last(name);
            }
        }
        _ => {}
    }
    Names { scope: Some(scope), items, learnt: Some(learnt), variables: Vec::new() }
        .text(expression)
}

/// The text by which Spark names an expression, as far as it is known without the tables.
pub(super) fn text(expression: &Expression) -> String {
    Names::of(None).text(expression)
}

/// An expression of the plan, without the qualifiers that it has there.
pub(super) fn resolved(value: &Expr) -> String {
    match value {
        Expr::ScalarFunction(call) if call.func.name() == get_field().name() => {
            let parts: Vec<String> = call.args.iter().map(resolved).collect();
            parts.join(".")
        }
        Expr::Literal(literal, _) => literal.to_string(),
        other => crate::qualifier::without_qualifiers(&other.to_string()),
    }
}

fn last(name: &[String]) -> String {
    let last = name.last().cloned().unwrap_or_default();
    match window(&last) {
        Some(window) if name.len() == 1 => window.to_owned(),
        _ => last,
    }
}

fn starts_with(text: &str, upper: &str) -> bool {
    text.get(..upper.len()).is_some_and(|start| start.eq_ignore_ascii_case(upper))
}

/// The name of a window over event time, which its column has, too.
fn window(name: &str) -> Option<&'static str> {
    match find(name) {
        Some(Function { name, shape: Shape::Streaming { is_window: true }, .. }) => Some(name),
        _ => None,
    }
}

struct Names<'s> {
    scope: Option<&'s Scope>,
    /// Items of the SELECT before this one.
    items: &'s [Item],
    learnt: Option<&'s Learnt>,
    /// Variables of lambdas around the place that is looked at.
    variables: Vec<String>,
}

impl<'s> Names<'s> {
    fn of(scope: Option<&'s Scope>) -> Names<'s> {
        Names { scope, items: &[], learnt: None, variables: Vec::new() }
    }

    fn all<'e>(&mut self, all: impl IntoIterator<Item = &'e Expression>) -> Vec<String> {
        all.into_iter().map(|expression| self.text(expression)).collect()
    }

    fn text(&mut self, expression: &Expression) -> String {
        match expression {
            Expression::Literal(literal) => spelled(literal),
            Expression::Attribute { name, .. } => self.attribute(name),
            Expression::Star { .. } => "*".to_owned(),
            Expression::Call(call) => self.call(call),
            Expression::Lambda { parameters, body } => {
                let before = self.variables.len();
                self.variables.extend(parameters.iter().cloned());
                let body = self.text(body);
                self.variables.truncate(before);
                let variables = vec![VARIABLE; parameters.len()].join(", ");
                format!("lambdafunction({body}, {variables})")
            }
            Expression::Alias { value, names } => {
                format!("{} AS {}", self.text(value), names.join(", "))
            }
            Expression::Cast { value, kind, is_try, .. } => {
                // There is no text for such a cast in Hive's SQL, Spark says.
                if ["ARRAY<", "MAP<", "STRUCT<"].iter().any(|nested| starts_with(kind, nested)) {
                    return self.text(value);
                }
                let function = if *is_try { "TRY_CAST" } else { "CAST" };
                format!("{function}({} AS {})", self.text(value), kind.to_uppercase())
            }
            Expression::Extract { value, key, is_field } => {
                // A field of a window is named like one of the column that the window becomes.
                let of = match value.as_ref() {
                    Expression::Call(call) if window(&call.name).is_some() => {
                        window(&call.name).unwrap_or_default().to_owned()
                    }
                    other => self.text(other),
                };
                let key = self.text(key);
                let is_struct =
                    |learnt: &Learnt| learnt.structs.contains(&std::ptr::from_ref(value.as_ref()));
                match *is_field || self.learnt.is_some_and(is_struct) {
                    true => format!("{of}.{key}"),
                    false => format!("{of}[{key}]"),
                }
            }
            Expression::Case { operand, branches, otherwise } => {
                let operand = operand.as_deref().map(|operand| self.text(operand));
                let mut text = "CASE".to_owned();
                for Branch { condition, result } in branches {
                    let condition = self.text(condition);
                    let condition = match &operand {
                        Some(operand) => format!("({operand} = {condition})"),
                        None => condition,
                    };
                    text += &format!(" WHEN {condition} THEN {}", self.text(result));
                }
                if let Some(otherwise) = otherwise {
                    text += &format!(" ELSE {}", self.text(otherwise));
                }
                text + " END"
            }
            Expression::Over { call, window } => {
                let fixed = self.fixed_frame(call);
                let call = self.call(call);
                format!("{call} OVER ({})", self.window(window, fixed))
            }
            Expression::Subquery { kind, query, .. } => {
                let query = std::ptr::from_ref(query.as_ref());
                let read = self.learnt.and_then(|learnt| learnt.reads.get(&query));
                let read = read.map(|names| names.join(", ")).unwrap_or_default();
                match kind {
                    Subquery::Scalar => format!("scalarsubquery({read})"),
                    Subquery::Exists => format!("exists({read})"),
                    Subquery::In(values) => {
                        format!("({} IN (listquery({read})))", self.in_values(values))
                    }
                }
            }
            Expression::Tuple(values) => {
                let fields = values.iter().enumerate().map(|(place, value)| match value {
                    Expression::Attribute { name, .. } => {
                        format!("{}, {}", last(name), self.text(value))
                    }
                    _ => format!("col{}, {}", place + 1, self.text(value)),
                });
                format!("named_struct({})", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// What is looked for among the rows of a query.
    fn in_values(&mut self, values: &[Expression]) -> String {
        if let [only] = values {
            return self.text(only);
        }
        let fields = values.iter().enumerate().map(|(place, value)| match value {
            Expression::Attribute { name, .. } => format!("'{}', {}", last(name), self.text(value)),
            _ => format!("'col{}', {}", place + 1, self.text(value)),
        });
        format!("named_struct({})", fields.collect::<Vec<_>>().join(", "))
    }

    fn attribute(&self, name: &[String]) -> String {
        let is_variable = |first: &String| self.variables.iter().any(|v| same(v, first));
        match name {
            [first] if is_variable(first) => VARIABLE.to_owned(),
            [first, rest @ ..] if is_variable(first) => format!("{VARIABLE}.{}", rest.join(".")),
            [first, rest @ ..]
                if !rest.is_empty() && self.scope.is_none_or(|scope| scope.has_relation(first)) =>
            {
                rest.join(".")
            }
            [only] if self.is_alias(only) => format!("lateralAliasReference({only})"),
            name => name.join("."),
        }
    }

    /// Whether a name is that of an item, and of no column.
    fn is_alias(&self, name: &String) -> bool {
        let is_column = |scope: &Scope| !matches!(scope.find(std::slice::from_ref(name)), Ok(None));
        self.items.iter().any(|item| item.is_named && same(&item.name, name))
            && !self.scope.is_some_and(is_column)
    }

    fn call(&mut self, call: &Call) -> String {
        let name = call.name.to_ascii_lowercase();
        if let Some(window) = window(&name) {
            return window.to_owned();
        }
        let values: Vec<&Expression> = call.arguments.iter().map(|a| &a.value).collect();
        let sign = Sign::named(&name);
        if let Some(operator) = sign.and_then(|sign| self.operator(sign, &values)) {
            return operator;
        }
        let found = find(&name);
        let counts_rows = found.is_some_and(|function| function.reads == Reads::Rows);
        let in_order = found.and_then(|function| in_order(call, function).ok());
        let values = in_order.unwrap_or(values);
        let mut arguments = Vec::with_capacity(values.len());
        for value in values {
            arguments.push(match value {
                // That is what `count(*)` counts.
                Expression::Star { .. } if counts_rows => "1".to_owned(),
                Expression::Star { qualifier, except, .. } => self.star(qualifier, except),
                other => self.text(other),
            });
        }
        if let Some(Sign::LikeAny | Sign::LikeAll | Sign::ILikeAny | Sign::ILikeAll) = sign {
            // The patterns do not show.
            arguments.truncate(1);
        }
        if let (true, Some(first)) = (call.is_distinct, arguments.first_mut()) {
            *first = format!("DISTINCT {first}");
        }
        let mut text = match found.and_then(|function| function.spelled) {
            Some(spelled) => spelled(&name, arguments),
            None => format!("{name}({})", arguments.join(", ")),
        };
        if let [order] = call.within_group.as_slice() {
            let direction = if order.is_descending { " DESC" } else { "" };
            text += &format!(" WITHIN GROUP (ORDER BY {}{direction})", self.text(&order.value));
        }
        if let Some(filter) = &call.filter {
            text += &format!(" FILTER (WHERE {})", self.text(filter));
        }
        text
    }

    /// The columns that a star stands for.
    fn star(&self, qualifier: &[String], except: &[String]) -> String {
        let Some(scope) = self.scope else { return "*".to_owned() };
        let is_in = |relation: &Option<String>| match qualifier.last() {
            None => true,
            Some(wanted) => relation.as_ref().is_some_and(|relation| same(relation, wanted)),
        };
        let columns = scope.shown().filter(|column| is_in(&column.relation));
        let names = columns.map(|column| column.name.as_str());
        names
            .filter(|name| !except.iter().any(|other| same(other, name)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The frame that a function has, whatever is written.
    fn fixed_frame(&mut self, call: &Call) -> Option<String> {
        let Some(Function { shape: Shape::Window(rows, _), .. }) = find(&call.name) else {
            return None;
        };
        let offset = match rows {
            Rows::Frame | Rows::Peers => return None,
            Rows::UpToThis => {
                return Some("ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned());
            }
            Rows::Before | Rows::After => match call.arguments.get(1) {
                Some(offset) => self.text(&offset.value),
                None => "1".to_owned(),
            },
        };
        let offset = match (rows, offset.strip_prefix('-')) {
            (Rows::After, _) => offset,
            (_, Some(positive)) => positive.to_owned(),
            (_, None) => format!("-{offset}"),
        };
        Some(format!("ROWS BETWEEN {offset} FOLLOWING AND {offset} FOLLOWING"))
    }

    /// A time and what it is moved by: a DATE by whole days is another function to Spark.
    fn moved(&mut self, time: &Expression, sign: Sign, interval: &Expression) -> String {
        let is_days = self.learnt.is_some_and(|l| l.days.contains(&std::ptr::from_ref(interval)));
        let (time, interval) = (self.text(time), self.text(interval));
        match (is_days, sign) {
            (false, _) => format!("{time} {} {interval}", sign.name()),
            (true, Sign::Plus) => format!("date_add({time}, extractansiintervaldays({interval}))"),
            (true, _) => format!("date_add({time}, (- extractansiintervaldays({interval})))"),
        }
    }

    /// Whether an expression that meets an interval is a date or a time.
    fn is_other(&self, expression: &Expression) -> bool {
        !self.is_interval(expression) && !matches!(expression, Expression::Literal(Literal::Null))
    }

    /// Whether an operand of a sum is an interval, as far as its text and its type tell.
    fn is_interval(&self, expression: &Expression) -> bool {
        let learnt = self.learnt.map(|learnt| &learnt.intervals);
        learnt.is_some_and(|intervals| intervals.contains(&std::ptr::from_ref(expression)))
            || matches!(expression, Expression::Literal(Literal::Interval(_)))
    }

    fn operator(&mut self, sign: Sign, values: &[&Expression]) -> Option<String> {
        let name = sign.name();
        Some(match (sign, values) {
            (Sign::And | Sign::Or, [first, rest @ ..]) => {
                let word = name.to_uppercase();
                let mut text = self.text(first);
                for operand in rest {
                    text = format!("({text} {word} {})", self.text(operand));
                }
                text
            }
            (Sign::Not, [operand]) => format!("(NOT {})", self.text(operand)),
            (Sign::NotEqual, [left, right]) => {
                format!("(NOT ({} = {}))", self.text(left), self.text(right))
            }
            // A time and an interval.
            (Sign::Plus | Sign::Minus, [time, interval])
                if self.is_interval(interval) && self.is_other(time) =>
            {
                self.moved(time, sign, interval)
            }
            (Sign::Plus, [interval, time]) if self.is_interval(interval) && self.is_other(time) => {
                self.moved(time, sign, interval)
            }
            (Sign::Concat, [left, right]) => {
                format!("concat({}, {})", self.text(left), self.text(right))
            }
            (
                Sign::Equal
                | Sign::Less
                | Sign::LessOrEqual
                | Sign::Greater
                | Sign::GreaterOrEqual
                | Sign::Same
                | Sign::Plus
                | Sign::Minus
                | Sign::Times
                | Sign::Divide
                | Sign::DivideWhole
                | Sign::Remainder
                | Sign::BitAnd
                | Sign::BitOr
                | Sign::BitXor
                | Sign::ShiftLeft
                | Sign::ShiftRight
                | Sign::ShiftRightUnsigned,
                [left, right],
            ) => format!("({} {name} {})", self.text(left), self.text(right)),
            (
                Sign::Minus,
                [operand @ Expression::Literal(Literal::Number(_) | Literal::TypedNumber { .. })],
            ) => {
                let number = self.text(operand);
                let is_zero = number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
                // A double alone has a zero below zero.
                match is_zero && !is_double(operand) {
                    true => number,
                    false => format!("-{number}"),
                }
            }
            (Sign::Minus | Sign::Plus, [operand]) => format!("({name} {})", self.text(operand)),
            (Sign::BitNot, [operand]) => format!("~{}", self.text(operand)),
            (Sign::In, [value, list @ ..]) => {
                let value = self.text(value);
                format!("({value} IN ({}))", self.all(list.iter().copied()).join(", "))
            }
            _ => return None,
        })
    }

    fn window(&mut self, window: &WindowSpec, fixed: Option<String>) -> String {
        let mut parts = Vec::new();
        if !window.partition.is_empty() {
            parts.push(format!("PARTITION BY {}", self.all(&window.partition).join(", ")));
        }
        if !window.order.is_empty() {
            let order: Vec<String> = window.order.iter().map(|by| self.order(by)).collect();
            parts.push(format!("ORDER BY {}", order.join(", ")));
        }
        parts.push(match &window.frame {
            _ if fixed.is_some() => fixed.unwrap_or_default(),
            Some(frame) => self.frame(frame),
            None if window.order.is_empty() => {
                "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING".to_owned()
            }
            None => "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
        });
        parts.join(" ")
    }

    fn order(&mut self, by: &SortOrder) -> String {
        let direction = if by.is_descending { "DESC" } else { "ASC" };
        let nulls = match by.has_nulls_first() {
            true => "FIRST",
            false => "LAST",
        };
        format!("{} {direction} NULLS {nulls}", self.text(&by.value))
    }

    fn frame(&mut self, frame: &Frame) -> String {
        let units = match frame.units {
            FrameUnits::Rows => "ROWS",
            FrameUnits::Range => "RANGE",
        };
        let mut bound = |bound: &FrameBound, unbounded: &str| match bound {
            FrameBound::Unbounded => format!("UNBOUNDED {unbounded}"),
            FrameBound::CurrentRow => "CURRENT ROW".to_owned(),
            FrameBound::Preceding(value) => format!("{} PRECEDING", self.text(value)),
            FrameBound::Following(value) => format!("{} FOLLOWING", self.text(value)),
        };
        let start = bound(&frame.start, "PRECEDING");
        format!("{units} BETWEEN {start} AND {}", bound(&frame.end, "FOLLOWING"))
    }
}

/// A number as Java writes it.
fn double(digits: &str) -> String {
    let Ok(number) = digits.parse::<f64>() else { return digits.to_owned() };
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// A date or time as CAST writes it. One with a zone of its own stays as it is: what it shows is the
/// session's.
fn shown(kind: &str, text: &str) -> String {
    let column: ArrayRef = match kind {
        "DATE" => Arc::new(Date32Array::from(vec![parse_date(text)])),
        _ => Arc::new(TimestampMicrosecondArray::from(vec![parse_timestamp_ntz(text)])),
    };
    match column.is_valid(0) {
        true => format_cell(&column, 0, UTC),
        false => text.to_owned(),
    }
}

fn is_double(number: &Expression) -> bool {
    match number {
        Expression::Literal(Literal::Number(digits)) => digits.contains(['e', 'E']),
        Expression::Literal(Literal::TypedNumber { kind, .. }) => {
            matches!(kind.as_str(), "DOUBLE" | "FLOAT")
        }
        _ => false,
    }
}

/// `01.5` is 1.5, `.5` is 0.5, and `5.` is 5.
fn without_zeros(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

fn spelled(literal: &Literal) -> String {
    match literal {
        Literal::Null => "NULL".to_owned(),
        Literal::Boolean(value) => value.to_string(),
        Literal::Number(digits) if digits.contains(['e', 'E']) => double(digits),
        Literal::TypedNumber { digits, kind } if kind == "DOUBLE" => double(digits),
        Literal::TypedNumber { digits, kind } if kind == "FLOAT" => match digits.parse::<f32>() {
            Ok(number) => double(&number.to_string()),
            Err(_) => digits.clone(),
        },
        Literal::Number(digits) | Literal::TypedNumber { digits, .. } => without_zeros(digits),
        Literal::String(text) => text.clone(),
        Literal::Binary(digits) => {
            let odd = if digits.len() % 2 == 1 { "0" } else { "" };
            format!("X'{odd}{}'", digits.to_uppercase())
        }
        Literal::Typed { kind, text } => format!("{kind} '{}'", shown(kind, text)),
        Literal::Interval(text) => {
            spelled_interval(text).unwrap_or_else(|| format!("INTERVAL '{text}'"))
        }
    }
}

/// `INTERVAL '1 02' DAY TO HOUR`; none where the text is of months and of days, or no interval.
fn spelled_interval(text: &str) -> Option<String> {
    let (range, count) = text.parse::<WrittenInterval>().ok()?.count()?;
    let mut spelled = Vec::new();
    range.write(count, &mut spelled);
    String::from_utf8(spelled).ok()
}
