//! Functions that are none, refused by their names as they were written.

use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};

use super::names::Names;

/// Refuses a call of what is no function of Spark, and of no plugin.
pub(super) fn check(query: &Query, names: &Names) -> Result<()> {
    match query.visit(&mut Check(names)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => {
            let advice = match tidemill_functions::suggestion(&name) {
                Some(nearest) => format!("Did you mean `{nearest}`?"),
                None => "`tidemill functions` lists those there are".to_owned(),
            };
            plan_err!("[UNRESOLVED_ROUTINE] Cannot resolve routine `{name}`. {advice}")
        }
    }
}

struct Check<'a>(&'a Names);

impl Visitor for Check<'_> {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        if let Expr::Function(call) = expr {
            let name = call.name.to_string();
            let name = name.trim_matches('`');
            if tidemill_functions::find(name).is_none() && !self.0.is_plugin_function(name) {
                return ControlFlow::Break(name.to_owned());
            }
        }
        ControlFlow::Continue(())
    }
}
