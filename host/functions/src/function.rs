//! What is known of a function: everything that asks about one asks its descriptor.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, WindowUDF};

use crate::call::Call;
use crate::generator::Generated;
use crate::parameters::Parameter;

/// A function of Spark: its names, what it takes and gives, and how it is built.
#[derive(Debug)]
pub struct Function {
    /// Spark's name, in lower case.
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: &'static [&'static str],
    /// What it gives, in a sentence.
    pub usage: &'static str,
    /// Its arguments, in order.
    pub parameters: &'static [Parameter],
    /// What it is, and how it is built.
    pub shape: Shape,
    /// What it makes of a null.
    pub nulls: Nulls,
    /// Whether equal arguments give equal results.
    pub determinism: Determinism,
    /// How Spark spells a column without an alias, where that is not the call as it is written.
    pub spelled: Option<Spelled>,
    /// Whether it gives intervals with all fields, whichever those of its arguments are: a mean of
    /// INTERVAL DAY is INTERVAL DAY TO SECOND.
    pub gives_all_interval_fields: bool,
    /// What an aggregate reads of its call.
    pub reads: Reads,
    /// What it is where its second argument is a lambda, of a function that is called without, too.
    pub with_lambda: Option<MakeHigherOrder>,
    /// Whether its conditions may not be within one another without a bound.
    pub chooses: Chooses,
    /// A query, and the cell of its one row.
    pub example: Option<(&'static str, &'static str)>,
}

/// The text of a call, by the name that was written and the texts of its arguments.
pub type Spelled = fn(&str, Vec<String>) -> String;

/// How a call becomes an expression.
pub type Build = fn(&mut Call) -> Result<Expr>;

/// How a call of a generator becomes rows.
pub type Generate = fn(&mut Call) -> Result<Generated>;

/// A function that takes a lambda, as DataFusion calls it.
pub type MakeHigherOrder = fn() -> Arc<HigherOrderUDF>;

/// What an aggregate is in terms of another: that one, and its arguments.
pub type Rewrite = fn(Vec<(Expr, DataType)>) -> Result<(&'static Function, Vec<Expr>)>;

/// What a function is.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A value for each row.
    Scalar(Build),
    /// A value for each group.
    Aggregate(fn() -> Arc<AggregateUDF>),
    /// A value for each group, which another aggregate computes.
    Rewritten(Rewrite),
    /// A value for each row of a window of rows; batch SQL alone has such windows.
    Window(Rows, fn() -> Arc<WindowUDF>),
    /// A value for each row, by a function of values within it.
    HigherOrder(MakeHigherOrder),
    /// Several rows for each row.
    Generator(Generate),
    /// Rows in FROM: a column `id` of whole numbers, from the first argument to the second.
    Numbers,
    /// A struct, whose fields have the names that its arguments are written with.
    Struct,
    /// What the plan itself makes of a call: a window over event time, or what is read of one.
    Streaming {
        /// Whether it is a window, whose column has the function's name.
        is_window: bool,
    },
    /// Nothing: Spark has it, and a call is refused for this reason.
    LeftOut(&'static str),
}

/// Which rows of its window a function over a window of rows looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those of the frame that is written, counted from 1: it needs no order.
    Frame,
    /// Those that are not after a row, with those that are equal to it.
    Peers,
    /// Those up to the row, whatever frame is written.
    UpToThis,
    /// One so many rows before, whatever frame is written.
    Before,
    /// One so many rows after, whatever frame is written.
    After,
}

/// What an aggregate reads of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The values of its arguments.
    Values,
    /// Rows: `*` is all of them, and several arguments are those that have them all.
    Rows,
    /// Values as Spark compares them.
    Extreme {
        /// Whether it is for the largest.
        is_max: bool,
    },
    /// Values; that nulls are passed over may be a second argument.
    NullTreatment,
    /// What WITHIN GROUP orders by goes before the arguments, and its direction behind them.
    Ordered,
    /// The same; a second argument asks for the order that there is.
    MostFrequent,
    /// What WITHIN GROUP orders by goes behind the arguments, with its direction.
    Listed,
    /// Whether columns are left out of the grouping set.
    Grouping,
    /// Which of all columns that are grouped by are left out of the grouping set.
    GroupingId,
}

/// Whether DataFusion looks at what a call tests again for what it gives: that takes twice as long
/// with each such call within another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooses {
    /// It does not.
    Never,
    /// It does where the call is a condition.
    Conditions,
    /// It always does.
    Always,
}

/// What a function makes of a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Any null argument gives null, and Spark's planner knows it (NullIntolerant): it infers that
    /// columns are not null in joins.
    Intolerant,
    /// A rule of its own.
    Own,
}

/// Whether equal arguments give equal results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Determinism {
    /// Always.
    Immutable,
    /// In one batch: the batch's time.
    OfBatch,
    /// Never: two calls give two values.
    Volatile,
}

/// A name is that of one function.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Function {
    const fn new(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        shape: Shape,
    ) -> Function {
        Function {
            name,
            aliases: &[],
            usage,
            parameters,
            shape,
            nulls: Nulls::Own,
            determinism: Determinism::Immutable,
            spelled: None,
            gives_all_interval_fields: false,
            reads: Reads::Values,
            with_lambda: None,
            chooses: Chooses::Never,
            example: None,
        }
    }

    /// A function of each row.
    pub(crate) const fn scalar(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        build: Build,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Scalar(build))
    }

    /// A function that takes a lambda.
    pub(crate) const fn higher_order(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        make: MakeHigherOrder,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::HigherOrder(make))
    }

    /// A function that gives rows.
    pub(crate) const fn generator(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        generate: Generate,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Generator(generate))
    }

    /// A function of a group.
    pub(crate) const fn aggregate(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        make: fn() -> Arc<AggregateUDF>,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Aggregate(make))
    }

    /// A function of a group that another one computes.
    pub(crate) const fn rewritten(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        rewrite: Rewrite,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Rewritten(rewrite))
    }

    /// A function over a window of rows.
    pub(crate) const fn window(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
        rows: Rows,
        make: fn() -> Arc<WindowUDF>,
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Window(rows, make))
    }

    /// A function that makes a struct.
    pub(crate) const fn structure(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Struct)
    }

    /// A function in FROM that gives whole numbers.
    pub(crate) const fn numbers(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Numbers)
    }

    /// A window over event time, which the plan makes.
    pub(crate) const fn event_window(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Streaming { is_window: true })
    }

    /// What is read of a window over event time.
    pub(crate) const fn of_event_window(
        name: &'static str,
        usage: &'static str,
        parameters: &'static [Parameter],
    ) -> Function {
        Function::new(name, usage, parameters, Shape::Streaming { is_window: false })
    }

    /// A function that a call of is refused.
    pub(crate) const fn left_out(
        name: &'static str,
        usage: &'static str,
        reason: &'static str,
    ) -> Function {
        Function::new(name, usage, &[], Shape::LeftOut(reason))
    }

    pub(crate) const fn with_all_interval_fields(self) -> Function {
        Function { gives_all_interval_fields: true, ..self }
    }

    pub(crate) const fn reading(self, reads: Reads) -> Function {
        Function { reads, ..self }
    }

    pub(crate) const fn with_lambda(self, make: MakeHigherOrder) -> Function {
        Function { with_lambda: Some(make), ..self }
    }

    pub(crate) const fn choosing(self, chooses: Chooses) -> Function {
        Function { chooses, ..self }
    }

    pub(crate) const fn called(self, aliases: &'static [&'static str]) -> Function {
        Function { aliases, ..self }
    }

    pub(crate) const fn null_intolerant(self) -> Function {
        Function { nulls: Nulls::Intolerant, ..self }
    }

    pub(crate) const fn determined(self, determinism: Determinism) -> Function {
        Function { determinism, ..self }
    }

    pub(crate) const fn spelled(self, spelled: Spelled) -> Function {
        Function { spelled: Some(spelled), ..self }
    }

    pub(crate) const fn example(self, query: &'static str, cell: &'static str) -> Function {
        Function { example: Some((query, cell)), ..self }
    }

    /// Whether it gives a value for a group.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        matches!(self.shape, Shape::Aggregate(_) | Shape::Rewritten(_))
    }

    /// Whether Spark alone has it.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        matches!(self.shape, Shape::LeftOut(_))
    }

    /// Its call as a text: `lpad(str, len[, pad])`.
    #[must_use]
    pub fn synopsis(&self) -> String {
        let (mut text, mut open) = (format!("{}(", self.name), 0);
        for (place, parameter) in self.parameters.iter().enumerate() {
            if !parameter.is_required() {
                text.push('[');
                open += 1;
            }
            if place > 0 {
                text.push_str(", ");
            }
            text.push_str(parameter.name);
            if parameter.is_repeated() {
                text.push_str(", …");
            }
        }
        text + &"]".repeat(open) + ")"
    }
}
