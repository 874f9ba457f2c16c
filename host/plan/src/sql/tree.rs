//! Small syntax trees. What is rewritten is built of the user's own trees: printed and parsed again,
//! a text in them would change on its way (a quote in it, or a backslash).

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, UnaryOperator, Value,
};

use tidemill_functions::CAST;

/// `name(arguments)`.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Function {
    call_of(Ident::new(name), arguments)
}

/// A call of a function whose arguments are as they have to be: quoted, a name is not looked at
/// again.
pub(super) fn quoted_call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Function(call_of(Ident::with_quote('`', name), arguments))
}

fn call_of(name: Ident, arguments: Vec<Expr>) -> Function {
    Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

pub(super) fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

/// A cast to the type of that name.
pub(super) fn cast(expr: Expr, kind: &str) -> Expr {
    Expr::Function(call(CAST, vec![expr, text(kind)]))
}

/// A field of a struct.
pub(super) fn field(of: Expr, name: &str) -> Expr {
    Expr::Function(call("get_field", vec![of, text(name)]))
}

pub(super) fn text(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_owned()))
}

pub(super) fn boolean(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

pub(super) fn whole(value: i32) -> Expr {
    let digits = Expr::value(Value::Number(value.unsigned_abs().to_string(), false));
    match value < 0 {
        true => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(digits) },
        false => digits,
    }
}

/// `CASE WHEN condition THEN result END`.
pub(super) fn case_when(condition: Expr, result: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: None,
    }
}

pub(super) fn is_not_null(expr: Expr) -> Expr {
    Expr::IsNotNull(nested(expr))
}

pub(super) fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// An expression in parentheses.
pub(super) fn nested(expr: Expr) -> Box<Expr> {
    Box::new(Expr::Nested(Box::new(expr)))
}

/// All of them, by AND or by OR; nothing, if there are none. The tree is as flat as it can be: who
/// goes down in it does not go deep.
pub(super) fn joined(operands: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    let mut level = operands;
    while level.len() > 1 {
        let mut pairs = Vec::with_capacity(level.len().div_ceil(2));
        let mut operands = level.into_iter();
        while let Some(left) = operands.next() {
            pairs.push(match operands.next() {
                Some(right) => binary(left, op.clone(), right),
                None => left,
            });
        }
        level = pairs;
    }
    level.pop()
}

/// The arguments of a call that has nothing but expressions.
pub(super) fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn set_arguments(function: &mut Function, arguments: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = arguments.into_iter().map(unnamed).collect();
    }
}

pub(super) fn as_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn as_boolean(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Value(value) => match value.value {
            Value::Boolean(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}
