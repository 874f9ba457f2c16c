//! In which form a checkpoint has the state of an operator, and whether a plan can go on with it.
//!
//! A form is texts, so that it can stand in a checkpoint and be compared by whoever reads it. Two differ where
//! a job was changed; then the plan is refused, but where a plugin's function kept other things before, and
//! takes them over. The operator does that in the first batch that runs on the plan.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use serde::{Deserialize, Serialize};
use tidemill_core::{OperatorId, Variable, VariableShape};
use tidemill_frontend::without_qualifiers;
use tidemill_types::format_schema;

use super::stateful::StatefulOperator;

/// Name of what a checkpoint fixes of the stateful operators.
pub const FORMS: &str = "stateful_operators";

/// What a checkpoint knows of a stateful operator, beside its place in the order from the sink's side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorForm {
    /// Spark's name for it.
    pub name: String,
    /// What else must stay as it is. May be empty.
    pub details: String,
    /// The columns of its keys, as DDL.
    pub key: String,
    /// The columns of its values, as DDL.
    pub value: String,
    /// What the values are that a plugin's stateful function keeps, by the columns' order. Others have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptForm>,
}

/// A variable of a stateful function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptForm {
    /// Its name and type, as DDL.
    pub column: String,
    /// Whether it is a `value`, a `list` or a `map`.
    pub shape: String,
    /// Whether it has a time to live, which is before its bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

impl KeptForm {
    fn of(variable: &Variable) -> KeptForm {
        KeptForm {
            column: ddl(std::slice::from_ref(&variable.field)),
            shape: variable.shape.name().to_owned(),
            forgotten: variable.ttl.is_some(),
        }
    }

    fn shape(&self) -> Option<VariableShape> {
        [VariableShape::Value, VariableShape::Items, VariableShape::Entries]
            .into_iter()
            .find(|shape| shape.name() == self.shape)
    }
}

impl fmt::Display for OperatorForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OperatorForm { name, details, key, value, kept } = self;
        write!(f, "{name}({key}) -> (")?;
        if kept.is_empty() {
            write!(f, "{value}")?;
        }
        for (number, KeptForm { column, shape, forgotten }) in kept.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let forgotten = if *forgotten { ", forgotten" } else { "" };
            write!(f, "{comma}{column} [{shape}{forgotten}]")?;
        }
        write!(f, ")")?;
        if details.is_empty() { Ok(()) } else { write!(f, " [{details}]") }
    }
}

/// Columns in Spark's DDL, by the names that the query has for them: the qualifiers of relations may be
/// others in the plan of a job that was changed elsewhere.
pub(super) fn ddl(columns: &[FieldRef]) -> String {
    let named = columns
        .iter()
        .map(|field| field.as_ref().clone().with_name(without_qualifiers(field.name())));
    format_schema(&Schema::new(named.collect::<Vec<_>>()))
}

/// What an operator can take over of other forms of its state.
#[derive(Clone, Debug)]
pub(crate) enum TakesOver {
    /// Nothing.
    Nothing,
    /// Groups, of which a plugin's aggregate may have had other columns: for each aggregate its own, and
    /// those of its earlier forms, by the numbers of their migrations.
    Groups(Arc<[GroupColumns]>),
    /// Keys of a plugin's stateful function: its variables, and of each migration the columns.
    Keys(Arc<[Variable]>, Arc<[Vec<FieldRef>]>),
}

/// The columns of one aggregate's states.
#[derive(Clone, Debug)]
pub(crate) struct GroupColumns {
    pub(crate) present: Vec<FieldRef>,
    pub(crate) earlier: Vec<Vec<FieldRef>>,
}

/// How the state of operators gets into the form that a plan has. Nothing to do is in none of them.
#[derive(Clone, Debug, Default)]
pub struct Migration {
    operators: BTreeMap<OperatorId, Arc<Conversion>>,
}

impl Migration {
    /// How state that has the forms `kept` gets to those of a plan's operators, in the first batch that runs
    /// on it; both are in the order from the sink's side.
    ///
    /// # Errors
    /// It does not: what differs, for people.
    pub fn between(
        kept: &[OperatorForm],
        operators: &[StatefulOperator],
    ) -> Result<Migration, String> {
        let planned = operators.iter().map(|operator| Formed {
            id: operator.id,
            form: operator.form(),
            takes_over: &operator.takes_over,
        });
        migration(kept, &planned.collect::<Vec<_>>())
    }

    /// Of how many operators the state gets another form.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.operators.len()
    }

    pub(super) fn of(&self, operator: OperatorId) -> Option<Arc<Conversion>> {
        self.operators.get(&operator).cloned()
    }
}

/// How the state of one operator does.
#[derive(Debug)]
pub(super) enum Conversion {
    /// Of each aggregate.
    Groups(Vec<GroupForm>),
    /// By a migration of a stateful function: what of the variables of before it reads.
    Keys { migration: u32, reads: Vec<Read> },
}

/// A variable of before.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) variable: Variable,
    /// Whether it is none of the present ones.
    pub(super) is_gone: bool,
}

/// An operator of a plan, by its form.
struct Formed<'a> {
    id: OperatorId,
    form: OperatorForm,
    takes_over: &'a TakesOver,
}

fn migration(kept: &[OperatorForm], plan: &[Formed<'_>]) -> Result<Migration, String> {
    if kept.len() != plan.len() {
        return Err(added_or_removed(kept, plan));
    }
    let mut operators = BTreeMap::new();
    for (number, (kept, planned)) in kept.iter().zip(plan).enumerate() {
        let conversion = conversion(kept, planned).map_err(|what| {
            let what = format!(
                "other stateful operators: operator {number} ({}), counted from the sink, {what}",
                planned.form.name
            );
            both(&what, &kept.to_string(), &planned.form.to_string())
        })?;
        operators.extend(conversion.map(|conversion| (planned.id, Arc::new(conversion))));
    }
    Ok(Migration { operators })
}

/// What differs between a checkpoint and a job, and how it reads on both sides.
#[must_use]
pub fn both(what: &str, checkpoint: &str, job: &str) -> String {
    format!("{what}.\n  checkpoint: {checkpoint}\n  job:        {job}")
}

fn added_or_removed(kept: &[OperatorForm], plan: &[Formed<'_>]) -> String {
    let same = kept.iter().zip(plan).take_while(|(kept, planned)| **kept == planned.form).count();
    let (what, named) = match kept.len() < plan.len() {
        true => ("was added", plan.get(same).map(|planned| &planned.form)),
        false => ("was removed", kept.get(same)),
    };
    let name = named.map_or("", |form| form.name.as_str());
    let what = format!(
        "other stateful operators: operator {same} ({name}), counted from the sink, {what}"
    );
    let list = |forms: &mut dyn Iterator<Item = &OperatorForm>| {
        let lines = forms.enumerate().map(|(number, form)| format!("{number}: {form}"));
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() { "none".to_owned() } else { lines.join("; ") }
    };
    both(&what, &list(&mut kept.iter()), &list(&mut plan.iter().map(|planned| &planned.form)))
}

/// How one operator's state gets there; `None`: it is there. An error says what became of the operator.
fn conversion(kept: &OperatorForm, planned: &Formed<'_>) -> Result<Option<Conversion>, String> {
    let form = &planned.form;
    if kept == form {
        return Ok(None);
    }
    let same = |kept: &str, now: &str, what: &str| match kept == now {
        true => Ok(()),
        false => Err(what.to_owned()),
    };
    same(&kept.name, &form.name, "was replaced by another")?;
    same(&kept.key, &form.key, "was changed: its keys differ")?;
    same(
        &kept.details,
        &form.details,
        "was changed: its kind, or when its state is evicted, differs",
    )?;
    match planned.takes_over {
        TakesOver::Nothing => Err("was changed: its values differ".to_owned()),
        TakesOver::Groups(aggregates) => groups(&kept.value, aggregates).map(Some),
        TakesOver::Keys(variables, migrations) => keys(&kept.kept, variables, migrations),
    }
}

/// The columns that the states of one aggregate have, and by which migration they become present ones.
type GroupForm = (Vec<FieldRef>, Option<u32>);

/// Finds for each aggregate in which form its columns are there.
fn groups(kept: &str, aggregates: &[GroupColumns]) -> Result<Conversion, String> {
    let mut found = forms_of(kept, aggregates).ok_or_else(|| {
        "was changed: its values differ, and no aggregate of a plugin has a migration that takes those \
         of before"
            .to_owned()
    })?;
    found.reverse();
    Ok(Conversion::Groups(found))
}

/// The forms of these aggregates, the last one's first, that together are just these columns. The columns of
/// one form may be the first ones of another.
fn forms_of(kept: &str, aggregates: &[GroupColumns]) -> Option<Vec<GroupForm>> {
    let Some((GroupColumns { present, earlier }, others)) = aggregates.split_first() else {
        return kept.is_empty().then(Vec::new);
    };
    let forms = std::iter::once((present, None)).chain(earlier.iter().zip((0..).map(Some)));
    forms.into_iter().find_map(|(columns, migration)| {
        let after = kept.strip_prefix(ddl(columns).as_str())?;
        let after = match after.strip_prefix(", ") {
            Some(after) => after,
            None if after.is_empty() || columns.is_empty() => after,
            None => return None,
        };
        let mut found = forms_of(after, others)?;
        found.push((columns.clone(), migration));
        Some(found)
    })
}

/// Finds the migration that takes all variables that are others or gone.
fn keys(
    kept: &[KeptForm],
    variables: &[Variable],
    migrations: &[Vec<FieldRef>],
) -> Result<Option<Conversion>, String> {
    let present: Vec<KeptForm> = variables.iter().map(KeptForm::of).collect();
    let gone: Vec<&KeptForm> = kept.iter().filter(|before| !present.contains(before)).collect();
    if gone.is_empty() {
        // What is new begins empty.
        return Ok(None);
    }
    let reads = |columns: &[FieldRef]| {
        let read = |column: &FieldRef| {
            let text = ddl(std::slice::from_ref(column));
            let before = kept.iter().find(|before| before.column == text)?;
            let field = Arc::new(column.as_ref().clone().with_nullable(true));
            // How long it lived does not matter any more: when it is forgotten is with its value.
            let ttl = before.forgotten.then_some(u64::MAX);
            let variable = Variable { field, shape: before.shape()?, ttl };
            Some(Read { variable, is_gone: gone.contains(&before) })
        };
        let reads = columns.iter().map(read).collect::<Option<Vec<Read>>>()?;
        let takes_all = reads.iter().filter(|read| read.is_gone).count() == gone.len();
        takes_all.then_some(reads)
    };
    let mut all = (0..).zip(migrations);
    let fit = all.find_map(|(migration, columns)| Some((migration, reads(columns)?)));
    match fit {
        Some((migration, reads)) => Ok(Some(Conversion::Keys { migration, reads })),
        None => {
            let gone: Vec<&str> = gone.iter().map(|before| before.column.as_str()).collect();
            Err(format!(
                "was changed: it keeps other values, and has no migration that takes what is there of \
                 those that are gone or changed: {}",
                gone.join(", ")
            ))
        }
    }
}

impl OperatorForm {
    /// As a checkpoint has them, in the order from the sink's side.
    #[must_use]
    pub fn write(forms: &[OperatorForm]) -> String {
        serde_json::to_string(forms).expect("texts can be written as JSON")
    }

    /// What [`write`](OperatorForm::write) wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(text: &str) -> Result<Vec<OperatorForm>, String> {
        serde_json::from_str(text).map_err(|error| format!("{FORMS} = {text}: {error}"))
    }

    pub(super) fn of(
        name: &str,
        details: &str,
        key: &[FieldRef],
        value: &[FieldRef],
    ) -> OperatorForm {
        OperatorForm {
            name: name.to_owned(),
            details: details.to_owned(),
            key: ddl(key),
            value: ddl(value),
            kept: Vec::new(),
        }
    }

    pub(super) fn keeping(self, variables: &[Variable]) -> OperatorForm {
        OperatorForm { kept: variables.iter().map(KeptForm::of).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn operator(name: &str, details: &str, key: &str, value: &str) -> OperatorForm {
        OperatorForm {
            name: name.to_owned(),
            details: details.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            kept: Vec::new(),
        }
    }

    fn between(kept: &[OperatorForm], planned: &[OperatorForm]) -> Result<Migration, String> {
        let formed = planned.iter().zip(0..).map(|(form, id)| Formed {
            id: OperatorId(id),
            form: form.clone(),
            takes_over: &TakesOver::Nothing,
        });
        migration(kept, &formed.collect::<Vec<_>>())
    }

    fn says(kept: &[OperatorForm], planned: &[OperatorForm], words: &[&str]) {
        let difference = between(kept, planned).expect_err("they differ");
        for word in words {
            assert!(difference.contains(word), "no \"{word}\" in:\n{difference}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let sums = || operator("sums", "", "k INT", "sum BIGINT");
        let join = || operator("join", "inner", "k INT", "v INT");
        assert!(between(&[sums(), join()], &[sums(), join()]).is_ok());
        assert!(between(&[], &[]).is_ok());
        let outer = operator("join", "left outer", "k INT", "v INT");
        let words = ["operator 1 (join)", "its kind", "[inner]", "[left outer]"];
        says(&[sums(), join()], &[sums(), outer], &words);
        let wide = operator("join", "inner", "k INT, l INT", "v INT");
        says(&[join()], &[wide], &["operator 0 (join)", "keys differ", "(k INT, l INT)"]);
        let more = operator("sums", "", "k INT", "sum BIGINT, n BIGINT");
        says(&[sums()], &[more], &["operator 0 (sums)", "values differ", "n BIGINT"]);
        says(&[sums()], &[join()], &["replaced", "sums(", "join("]);
        says(&[sums()], &[sums(), join()], &["operator 1 (join)", "was added"]);
        says(&[join()], &[sums(), join()], &["operator 0 (sums)", "was added"]);
        says(&[sums(), join()], &[join()], &["operator 0 (sums)", "was removed"]);
        says(&[sums()], &[], &["operator 0 (sums)", "was removed", "none"]);
    }

    fn field(name: &str, data_type: DataType) -> FieldRef {
        Arc::new(Field::new(name, data_type, true))
    }

    fn columns(names: &[&str]) -> Vec<FieldRef> {
        names.iter().map(|name| field(name, DataType::Int64)).collect()
    }

    #[test]
    fn the_form_of_each_aggregate_is_found_by_its_columns() {
        let aggregate = |present: &[&str], earlier: &[&[&str]]| GroupColumns {
            present: columns(present),
            earlier: earlier.iter().map(|form| columns(form)).collect(),
        };
        let found = |kept: &[&str], aggregates: &[GroupColumns]| {
            let Conversion::Groups(found) = groups(&ddl(&columns(kept)), aggregates)? else {
                panic!("no groups")
            };
            Ok::<_, String>(found.into_iter().map(|(_, migration)| migration).collect::<Vec<_>>())
        };
        let sum = aggregate(&["sum"], &[]);
        let mean =
            aggregate(&["mean[total]", "mean[n]"], &[&["mean[n]"], &["mean[sum]", "mean[n]"]]);
        let both = [sum.clone(), mean.clone()];
        assert_eq!(found(&["sum", "mean[total]", "mean[n]"], &both), Ok(vec![None, None]));
        assert_eq!(found(&["sum", "mean[sum]", "mean[n]"], &both), Ok(vec![None, Some(1)]));
        assert_eq!(found(&["mean[n]", "sum"], &[mean, sum]), Ok(vec![Some(0), None]));
        // One form may be the beginning of another.
        let less = aggregate(&["m[a]"], &[&["m[a]", "m[b]"]]);
        let more = aggregate(&["m[a]", "m[b]", "m[c]"], &[&["m[a]"], &["m[a]", "m[b]"]]);
        assert_eq!(found(&["m[a]", "m[b]"], std::slice::from_ref(&less)), Ok(vec![Some(0)]));
        assert_eq!(found(&["m[a]", "m[b]"], &[more]), Ok(vec![Some(1)]));
        let plain = aggregate(&["m[b]"], &[]);
        assert_eq!(found(&["m[a]", "m[b]"], &[less, plain]), Ok(vec![None, None]));
        let told = found(&["sum", "mean[other]"], &both).unwrap_err();
        assert!(told.contains("no aggregate of a plugin has a migration"), "{told}");
        assert!(found(&["sum", "mean[n]", "more"], &both).is_err());
    }

    fn variable(name: &str, shape: VariableShape, ttl: Option<u64>) -> Variable {
        Variable { field: field(name, DataType::Int64), shape, ttl }
    }

    #[test]
    fn a_migration_of_keys_takes_all_that_is_gone_or_other() {
        use VariableShape::{Items, Value};
        let kept = |variables: &[Variable]| variables.iter().map(KeptForm::of).collect::<Vec<_>>();
        let [n, m] = ["n", "m"].map(|name| variable(name, Value, None));
        let by = |before: &[&Variable], now: &[&Variable], migrations: &[&[&str]]| {
            let owned = |variables: &[&Variable]| {
                variables.iter().map(|variable| (*variable).clone()).collect::<Vec<_>>()
            };
            let migrations: Vec<_> = migrations.iter().map(|names| columns(names)).collect();
            let conversion = keys(&kept(&owned(before)), &owned(now), &migrations)?;
            Ok::<_, String>(conversion.map(|conversion| match conversion {
                Conversion::Keys { migration, reads } => {
                    let gone = reads.iter().map(|read| read.is_gone);
                    (migration, gone.collect::<Vec<_>>())
                }
                Conversion::Groups(_) => panic!("groups"),
            }))
        };
        // What is new begins empty, in any order.
        assert_eq!(by(&[&n], &[&m, &n], &[]), Ok(None));
        let told = by(&[&n, &m], &[&m], &[]).unwrap_err();
        assert!(told.contains("no migration") && told.contains("n bigint"), "{told}");
        assert_eq!(by(&[&n], &[&m], &[&["x"], &["n"]]), Ok(Some((1, vec![true]))));
        // It may look at what stays.
        assert_eq!(by(&[&n, &m], &[&m], &[&["m"], &["m", "n"]]), Ok(Some((1, vec![false, true]))));
        // Another shape, or a time to live where there was none, is another variable.
        let (items, brief) = (variable("n", Items, None), variable("m", Value, Some(1)));
        assert_eq!(
            by(&[&n, &m], &[&items, &brief], &[&["n"], &["n", "m"]]),
            Ok(Some((1, vec![true, true])))
        );
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let kept = vec![KeptForm::of(&variable("n", VariableShape::Items, Some(9)))];
        let forms = vec![
            operator("a", "b", "k INT", ""),
            OperatorForm { kept, ..operator("c", "", "k INT", "n BIGINT") },
        ];
        assert_eq!(OperatorForm::read(&OperatorForm::write(&forms)), Ok(forms));
        let told = OperatorForm::read(r#"[{"name":"a","details":"","key":"","value":"","new":1}]"#);
        assert!(told.is_err_and(|told| told.starts_with("stateful_operators = [{")));
    }
}
