//! OVER and WINDOW.

use datafusion::sql::sqlparser::ast::{
    NamedWindowDefinition, NamedWindowExpr, OrderByExpr, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec as ParsedSpec, WindowType,
};

use super::Conversion;
use super::position::{of_span, plain};
use crate::error::refuse;
use crate::spec::{Expression, Frame, FrameBound, FrameUnits, SortOrder, WindowSpec};
use crate::{Error, Result};

/// Expressions that windows with names come to, each as often as it is read.
const WINDOW_PARTS_MAX: usize = 10_000;

/// Whether an expression, or one of its arguments, is over a window.
fn has_window(expression: &Expression) -> bool {
    match expression {
        Expression::Over { .. } => true,
        Expression::Call(call) => call.arguments.iter().any(|a| has_window(&a.value)),
        Expression::Cast { value, .. } => has_window(value),
        Expression::Case { operand, branches, otherwise } => {
            let branches = branches.iter().flat_map(|b| [&b.condition, &b.result]);
            let others = operand.iter().chain(otherwise).map(|other| other.as_ref());
            branches.chain(others).any(has_window)
        }
        _ => false,
    }
}

impl Conversion<'_> {
    /// Takes the names that WINDOW gives; each may be written with those before it.
    pub(super) fn name_windows(&mut self, named: Vec<NamedWindowDefinition>) -> Result<()> {
        self.windows.clear();
        for NamedWindowDefinition(name, window) in named {
            let window = match window {
                NamedWindowExpr::NamedWindow(other) => WindowType::NamedWindow(other),
                NamedWindowExpr::WindowSpec(spec) => WindowType::WindowSpec(spec),
            };
            let window = self.window(window)?;
            let parts = window.partition.iter().chain(window.order.iter().map(|by| &by.value));
            if parts.into_iter().any(has_window) {
                refuse!("a window of WINDOW reads another window; compute it in a query before");
            }
            self.windows.push((plain(name).to_lowercase(), window));
        }
        Ok(())
    }

    /// What stands after OVER.
    pub(super) fn window(&mut self, window: WindowType) -> Result<WindowSpec> {
        let ParsedSpec { window_name, partition_by, order_by, window_frame } = match window {
            WindowType::WindowSpec(spec) => spec,
            WindowType::NamedWindow(name) => ParsedSpec {
                window_name: Some(name),
                partition_by: Vec::new(),
                order_by: Vec::new(),
                window_frame: None,
            },
        };
        let mut spec = match window_name {
            Some(name) => {
                let at = of_span(name.span);
                let name = plain(name);
                let lower = name.to_lowercase();
                match self.windows.iter().rev().find(|(known, _)| *known == lower) {
                    Some((_, spec)) => {
                        // Its expressions are there once more.
                        self.window_parts += spec.partition.len() + spec.order.len();
                        if self.window_parts > WINDOW_PARTS_MAX {
                            refuse!(
                                "the windows of WINDOW are read so often that they come to more than {WINDOW_PARTS_MAX} expressions"
                            );
                        }
                        spec.clone()
                    }
                    None => {
                        let reason = format!(
                            "[MISSING_WINDOW_SPECIFICATION] Window specification is not defined in the WINDOW clause for `{name}`"
                        );
                        return Err(Error::new(reason, at));
                    }
                }
            }
            None => WindowSpec::default(),
        };
        if !partition_by.is_empty() {
            spec.partition = self.expressions(partition_by)?;
        }
        if !order_by.is_empty() {
            spec.order = self.order(order_by)?;
        }
        if let Some(frame) = window_frame {
            spec.frame = Some(self.frame(frame)?);
        }
        Ok(spec)
    }

    fn frame(&mut self, frame: WindowFrame) -> Result<Frame> {
        let units = match frame.units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => {
                refuse!("a frame of GROUPS is not supported; write ROWS or RANGE")
            }
        };
        let start = match frame.start_bound {
            WindowFrameBound::Following(None) => {
                refuse!("a frame cannot start at UNBOUNDED FOLLOWING")
            }
            bound => self.bound(bound)?,
        };
        let end = match frame.end_bound {
            Some(WindowFrameBound::Preceding(None)) => {
                refuse!("a frame cannot end at UNBOUNDED PRECEDING")
            }
            Some(bound) => self.bound(bound)?,
            None => FrameBound::CurrentRow,
        };
        Ok(Frame { units, start, end })
    }

    fn bound(&mut self, bound: WindowFrameBound) -> Result<FrameBound> {
        Ok(match bound {
            WindowFrameBound::CurrentRow => FrameBound::CurrentRow,
            WindowFrameBound::Preceding(None) | WindowFrameBound::Following(None) => {
                FrameBound::Unbounded
            }
            WindowFrameBound::Preceding(Some(value)) => {
                FrameBound::Preceding(Box::new(self.expression(*value)?))
            }
            WindowFrameBound::Following(Some(value)) => {
                FrameBound::Following(Box::new(self.expression(*value)?))
            }
        })
    }

    /// The list of an ORDER BY.
    pub(super) fn order(&mut self, order: Vec<OrderByExpr>) -> Result<Vec<SortOrder>> {
        order.into_iter().map(|one| self.sort_order(one)).collect()
    }

    fn sort_order(&mut self, order: OrderByExpr) -> Result<SortOrder> {
        let OrderByExpr { expr, options, with_fill } = order;
        if with_fill.is_some() {
            refuse!("WITH FILL is not supported");
        }
        Ok(SortOrder {
            value: self.expression(expr)?,
            is_descending: options.asc == Some(false),
            nulls_first: options.nulls_first,
        })
    }
}
