//! GROUP BY.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, GroupByWithModifier};

use super::Conversion;
use crate::Result;
use crate::error::refuse;
use crate::spec::{Expression, Grouping};

/// Expressions of a CUBE.
const CUBE_MAX: usize = 12;

/// Sets that are written out of ROLLUP and CUBE.
const SETS_MAX: usize = 1 << CUBE_MAX;
/// Expressions that the sets of one ROLLUP or CUBE come to.
const SET_EXPRESSIONS_MAX: usize = 100_000;

impl Conversion<'_> {
    /// What a SELECT is grouped by; nothing, if it says nothing of it.
    pub(super) fn grouping(&mut self, group_by: GroupByExpr) -> Result<Option<Grouping>> {
        let (groups, modifiers) = match group_by {
            GroupByExpr::All(modifiers) if modifiers.is_empty() => return Ok(Some(Grouping::All)),
            GroupByExpr::All(_) => refuse!("GROUP BY ALL takes nothing after it"),
            GroupByExpr::Expressions(groups, modifiers) => (groups, modifiers),
        };
        let mut modifiers = modifiers.into_iter();
        // `GROUP BY a, b WITH ROLLUP` is `GROUP BY ROLLUP (a, b)`, and GROUPING SETS after the list
        // are some of its expressions.
        match (modifiers.next(), modifiers.next()) {
            (None, _) if groups.is_empty() => Ok(None),
            (None, _) => self.parts_of(groups).map(Some),
            (Some(GroupByWithModifier::Rollup), None) => {
                Ok(Some(Grouping::Rollup(self.each(groups)?)))
            }
            (Some(GroupByWithModifier::Cube), None) => Ok(Some(Grouping::Cube(self.each(groups)?))),
            (Some(GroupByWithModifier::GroupingSets(Expr::GroupingSets(sets))), None) => {
                Ok(Some(Grouping::Sets(self.all_sets(sets)?)))
            }
            (Some(GroupByWithModifier::Totals), _) => refuse!("WITH TOTALS is not supported"),
            _ => refuse!("GROUP BY takes one of WITH ROLLUP, WITH CUBE and GROUPING SETS"),
        }
    }

    fn parts_of(&mut self, groups: Vec<Expr>) -> Result<Grouping> {
        let mut parts: Vec<Grouping> = Vec::new();
        for group in groups {
            let part = match group {
                Expr::Rollup(sets) => Grouping::Rollup(self.sets(sets)?),
                Expr::Cube(sets) => Grouping::Cube(self.sets(sets)?),
                Expr::GroupingSets(sets) => Grouping::Sets(self.all_sets(sets)?),
                Expr::Tuple(none) if none.is_empty() => Grouping::By(Vec::new()),
                plain => {
                    let plain = self.expression(plain)?;
                    match parts.last_mut() {
                        Some(Grouping::By(list)) => {
                            list.push(plain);
                            continue;
                        }
                        _ => Grouping::By(vec![plain]),
                    }
                }
            };
            parts.push(part);
        }
        Ok(match parts.pop() {
            Some(part) if parts.is_empty() => part,
            Some(last) => {
                parts.push(last);
                Grouping::Several(parts)
            }
            None => Grouping::By(Vec::new()),
        })
    }

    fn sets(&mut self, sets: Vec<Vec<Expr>>) -> Result<Vec<Vec<Expression>>> {
        sets.into_iter().map(|set| self.expressions(set)).collect()
    }

    /// GROUPING SETS, among which ROLLUP and CUBE are all of their sets.
    fn all_sets(&mut self, sets: Vec<Vec<Expr>>) -> Result<Vec<Vec<Expression>>> {
        let mut all: Vec<Vec<Expression>> = Vec::new();
        for mut set in sets {
            let only = if set.len() == 1 { set.pop() } else { None };
            match only {
                Some(Expr::Rollup(parts)) => {
                    let sets = parts.len() + 1;
                    check_sets(all.len() + sets, sets * parts.iter().map(Vec::len).sum::<usize>())?;
                    let parts = self.sets(parts)?;
                    all.extend((0..=parts.len()).rev().map(|count| parts[..count].concat()));
                }
                Some(Expr::Cube(parts)) => {
                    let count = parts.len();
                    if count > CUBE_MAX {
                        refuse!("CUBE takes at most {CUBE_MAX} expressions, and has {count}");
                    }
                    let sets = 1_usize << count;
                    check_sets(all.len() + sets, sets * parts.iter().map(Vec::len).sum::<usize>())?;
                    let parts = self.sets(parts)?;
                    all.extend((0..1_usize << count).rev().map(|bits| {
                        let is_in = |place: &usize| bits & (1 << (count - 1 - place)) != 0;
                        (0..count).filter(is_in).flat_map(|place| parts[place].clone()).collect()
                    }));
                }
                Some(Expr::GroupingSets(inner)) => all.extend(self.all_sets(inner)?),
                Some(other) => all.push(vec![self.expression(other)?]),
                None => all.push(self.expressions(set)?),
            }
            check_sets(all.len(), 0)?;
        }
        Ok(all)
    }

    /// A set of each, or of those in parentheses.
    fn each(&mut self, groups: Vec<Expr>) -> Result<Vec<Vec<Expression>>> {
        groups
            .into_iter()
            .map(|group| match group {
                Expr::Tuple(set) => self.expressions(set),
                one => Ok(vec![self.expression(one)?]),
            })
            .collect()
    }
}

/// Refuses sets that would be too many, or too large together.
fn check_sets(sets: usize, expressions: usize) -> Result<()> {
    if sets > SETS_MAX || expressions > SET_EXPRESSIONS_MAX {
        refuse!("GROUPING SETS come to more than {SETS_MAX} sets; write those that are needed");
    }
    Ok(())
}
