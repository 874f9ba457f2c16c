//! The variables of lambdas: each gets a name that nothing else in the query has, so that no column,
//! alias or other lambda is taken for it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OneOrManyWithParens, Query, VisitMut, VisitorMut,
};

use super::tree;

/// What such names begin with.
const PREFIX: &str = "λ";

/// Names all variables anew.
pub(super) fn name_variables(query: &mut Query) {
    let _ = query.visit(&mut Rename::default());
}

/// Whether a name is one of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The name as it was written.
pub(super) fn written(name: &str) -> &str {
    let variable = name.strip_prefix(PREFIX).and_then(|name| name.split_once('_'));
    variable.map_or(name, |(_, name)| name)
}

#[derive(Default)]
struct Rename {
    /// Variables that are in sight, the innermost last: as they are written, and anew.
    scopes: Vec<Vec<(String, String)>>,
    count: usize,
}

impl Rename {
    fn of(&self, ident: &Ident) -> Option<Ident> {
        let all = self.scopes.iter().rev().flatten();
        let known = all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&ident.value));
        known.map(|(_, name)| Ident::with_quote('`', name))
    }
}

impl VisitorMut for Rename {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Lambda(lambda) => {
                let mut scope = Vec::new();
                let parameters = match &mut lambda.params {
                    OneOrManyWithParens::One(parameter) => std::slice::from_mut(parameter),
                    OneOrManyWithParens::Many(parameters) => parameters.as_mut_slice(),
                };
                for parameter in parameters {
                    self.count += 1;
                    let name = format!("{PREFIX}{}_{}", self.count, parameter.name.value);
                    scope.push((parameter.name.value.clone(), name.clone()));
                    parameter.name = Ident::with_quote('`', name);
                }
                self.scopes.push(scope);
            }
            Expr::Identifier(ident) => {
                if let Some(name) = self.of(ident) {
                    *ident = name;
                }
            }
            Expr::CompoundIdentifier(idents) => {
                if let Some((first, fields)) = idents.split_first()
                    && let Some(name) = self.of(first)
                {
                    let field = |of, field: &Ident| tree::field(of, &field.value);
                    *expr = fields.iter().fold(Expr::Identifier(name), field);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Lambda(_)) {
            self.scopes.pop();
        }
        ControlFlow::Continue(())
    }
}
