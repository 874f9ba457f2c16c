//! Calls of functions.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, NullTreatment,
};

use super::Conversion;
use super::position::{joined, of_expression, of_name, parts, plain};
use crate::Result;
use crate::error::refuse;
use crate::spec::{Argument, Call, Expression};

impl Conversion<'_> {
    /// A call, over a window or not.
    pub(super) fn function(&mut self, function: Function) -> Result<Expression> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            filter,
            null_treatment,
            over,
            within_group,
        } = function;
        let at = of_name(&name);
        let name = joined(name)?;
        if uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            refuse!("{name}() takes one list of arguments; write {name}(…)");
        }
        let mut call = Call::new(name, Vec::new(), at);
        call.ignores_nulls = null_treatment.map(ignores);
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) => {
                refuse!("{}() of a query is not supported; write collect_list(…) in it", call.name)
            }
            FunctionArguments::List(list) => self.take_arguments(&mut call, list)?,
        }
        call.filter = match filter {
            Some(filter) => Some(self.expression(*filter)?),
            None => None,
        };
        call.within_group = self.order(within_group)?;
        Ok(match over {
            Some(window) => Expression::Over { call: Box::new(call), window: self.window(window)? },
            None => Expression::Call(Box::new(call)),
        })
    }

    fn take_arguments(&mut self, call: &mut Call, list: FunctionArgumentList) -> Result<()> {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        call.is_distinct = duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if call.at.is_none()
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = args.first()
        {
            call.at = of_expression(first);
        }
        for clause in clauses {
            let (what, instead) = match clause {
                FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => {
                    call.ignores_nulls = Some(ignores(treatment));
                    continue;
                }
                FunctionArgumentClause::OrderBy(_) => {
                    ("ORDER BY", "; write WITHIN GROUP (ORDER BY …) where the function has it")
                }
                FunctionArgumentClause::Limit(_) => ("LIMIT", ""),
                FunctionArgumentClause::OnOverflow(_) => ("ON OVERFLOW", ""),
                FunctionArgumentClause::Having(_) => ("HAVING", "; write FILTER (WHERE …)"),
                FunctionArgumentClause::Separator(_) => {
                    ("SEPARATOR", "; write the separator as an argument")
                }
                FunctionArgumentClause::JsonNullClause(_) => ("NULL ON NULL", ""),
                FunctionArgumentClause::JsonReturningClause(_) => ("RETURNING", ""),
            };
            refuse!("{what} among the arguments of {}() is not supported{instead}", call.name);
        }
        for argument in args {
            let argument = self.argument(argument)?;
            call.arguments.push(argument);
        }
        Ok(())
    }

    pub(super) fn argument(&mut self, argument: FunctionArg) -> Result<Argument> {
        Ok(match argument {
            FunctionArg::Named { name, arg, operator: FunctionArgOperator::RightArrow } => {
                Argument { name: Some(plain(name)), value: self.argument_value(arg)? }
            }
            FunctionArg::Unnamed(arg) => Argument { name: None, value: self.argument_value(arg)? },
            other => {
                refuse!("the argument {other} is not supported; by its name it is name => value")
            }
        })
    }

    fn argument_value(&mut self, value: FunctionArgExpr) -> Result<Expression> {
        match value {
            FunctionArgExpr::Expr(expr) => self.expression(expr),
            FunctionArgExpr::Wildcard => {
                Ok(Expression::Star { qualifier: Vec::new(), except: Vec::new(), at: None })
            }
            FunctionArgExpr::QualifiedWildcard(name) => {
                let at = of_name(&name);
                Ok(Expression::Star { qualifier: parts(name)?, except: Vec::new(), at })
            }
            FunctionArgExpr::WildcardWithOptions(options) => {
                super::select::star(Vec::new(), options, None)
            }
        }
    }

    /// A call of what the parser has a syntax of its own for. It stands where its first operand does.
    pub(super) fn call_of(&mut self, name: &str, operands: Vec<Expr>) -> Result<Expression> {
        let at = operands.first().and_then(of_expression);
        let operands = self.expressions(operands)?;
        Ok(Expression::Call(Box::new(Call::new(name, operands, at))))
    }
}

fn ignores(treatment: NullTreatment) -> bool {
    matches!(treatment, NullTreatment::IgnoreNulls)
}
