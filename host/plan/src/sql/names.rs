//! The names of tables and columns, which are matched without regard to case.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, VisitMut, VisitorMut,
};

use super::grouping::{window_function, window_named};
use super::limits::QuerySize;
use super::naming;

/// Names that the text may mean, as they are written where they are defined.
#[derive(Default, Clone)]
pub(crate) struct Names {
    /// And each table's columns.
    tables: BTreeMap<String, Vec<String>>,
    /// How much each table brings into a plan.
    sizes: BTreeMap<String, QuerySize>,
    columns: Spellings,
    /// Names that the text itself gives to columns.
    aliases: Spellings,
    /// Functions of plugins, by their lower case.
    plugin_functions: BTreeSet<String>,
    /// Functions that may give another value each time, by their lower case.
    varying: BTreeSet<String>,
    /// Names that stand before a column's, by their lower case.
    qualifiers: BTreeMap<String, String>,
}

impl Names {
    /// Adds a table with its columns and their fields.
    pub(crate) fn add_table(
        &mut self,
        name: &str,
        schema: &arrow::datatypes::Schema,
        size: QuerySize,
    ) {
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        self.tables.insert(name.to_owned(), columns);
        self.sizes.insert(name.to_lowercase(), size);
        for field in schema.fields() {
            self.add_field(field);
        }
    }

    /// How much a table brings into the plan of who reads it; nothing, if there is none of that name.
    pub(crate) fn size_of(&self, table: &str) -> Option<QuerySize> {
        self.sizes.get(&table.to_lowercase()).copied()
    }

    /// Adds a function of a plugin.
    pub(crate) fn add_plugin_function(&mut self, function: &str) {
        self.plugin_functions.insert(function.to_lowercase());
    }

    pub(super) fn is_plugin_function(&self, name: &str) -> bool {
        self.plugin_functions.contains(&name.to_lowercase())
    }

    /// Says that two calls of a function may give two values.
    pub(crate) fn add_varying(&mut self, function: &str) {
        self.varying.insert(function.to_lowercase());
    }

    pub(super) fn varies(&self, function: &str) -> bool {
        !self.varying.is_empty() && self.varying.contains(&function.to_lowercase())
    }

    /// Whether there is a column of that name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.has(name)
    }

    pub(super) fn forget_table(&mut self, name: &str) {
        self.tables.retain(|table, _| !table.eq_ignore_ascii_case(name));
    }

    /// The columns of a table, if there is just one of that name.
    pub(super) fn columns_of(&self, table: &str) -> Option<&[String]> {
        let mut alike = self.tables.iter().filter(|(name, _)| name.eq_ignore_ascii_case(table));
        match (self.tables.get(table), alike.next(), alike.next()) {
            (Some(columns), ..) | (None, Some((_, columns)), None) => Some(columns),
            _ => None,
        }
    }

    /// Writes a column's name as where it is defined. Columns of tables go before names that the
    /// text gives.
    pub(super) fn spell_column(&self, ident: &mut Ident) {
        match self.has_column(&ident.value) {
            true => self.columns.spell(ident),
            false => self.aliases.spell(ident),
        }
    }

    /// How a column of that name is written in the tables that there are; as it is here, if in none.
    pub(crate) fn known(&self, name: &str) -> String {
        let mut ident = Ident::new(name);
        self.columns.spell(&mut ident);
        ident.value
    }

    /// Writes a table's name as where it is defined.
    pub(super) fn spell_table(&self, ident: &mut Ident) {
        match self.qualifiers.get(&ident.value.to_lowercase()) {
            Some(written) if !self.tables.contains_key(&ident.value) => {
                ident.value.clone_from(written);
            }
            _ => as_written(self.tables.keys(), ident),
        }
    }

    /// Writes the parts of `table.column.field`, of which the first may be left out.
    pub(super) fn spell_path(&self, idents: &mut [Ident]) {
        let Some((first, rest)) = idents.split_first_mut() else {
            return;
        };
        let is_column = self.columns.contains(&first.value) || self.aliases.contains(&first.value);
        match self.qualifiers.contains_key(&first.value.to_lowercase()) && !is_column {
            true => self.spell_table(first),
            false => self.spell_column(first),
        }
        rest.iter_mut().for_each(|ident| self.spell_column(ident));
    }

    /// Takes the names that a text gives to tables and columns, and writes each table's one way.
    pub(super) fn spell_aliases(&mut self, query: &mut Query) {
        for table in self.tables.keys() {
            self.qualifiers.entry(table.to_lowercase()).or_insert_with(|| table.clone());
        }
        let _ = query.visit(&mut Spell(self));
    }

    /// The columns of something that is selected from, where they are known.
    pub(super) fn columns_in(&self, table: &TableFactor) -> Option<Vec<String>> {
        let renamed = |alias: &Option<TableAlias>| match alias {
            Some(alias) if !alias.columns.is_empty() => {
                Some(alias.columns.iter().map(|column| column.name.value.clone()).collect())
            }
            _ => None,
        };
        match table {
            TableFactor::Table { name, alias, args: None, .. } => renamed(alias).or_else(|| {
                let name = name.0.last()?.as_ident()?;
                self.columns_of(&name.value).map(<[String]>::to_vec)
            }),
            TableFactor::Derived { subquery, alias, .. } => {
                renamed(alias).or_else(|| self.columns_from(&subquery.body))
            }
            _ => None,
        }
    }

    fn columns_from(&self, query: &SetExpr) -> Option<Vec<String>> {
        match query {
            SetExpr::Select(select) => {
                let columns = select.projection.iter().map(|item| self.columns_by(item, select));
                columns.collect::<Option<Vec<_>>>().map(|columns| columns.concat())
            }
            SetExpr::SetOperation { left, .. } => self.columns_from(left),
            SetExpr::Query(query) => self.columns_from(&query.body),
            _ => None,
        }
    }

    fn columns_by(&self, item: &SelectItem, select: &Select) -> Option<Vec<String>> {
        match (item, select.from.as_slice()) {
            (SelectItem::ExprWithAlias { alias, .. }, _) => Some(vec![alias.value.clone()]),
            (SelectItem::UnnamedExpr(expr), _) => Some(vec![default_name(expr, self)]),
            (SelectItem::Wildcard(options), [from])
                if from.joins.is_empty() && *options == Default::default() =>
            {
                self.columns_in(&from.relation)
            }
            _ => None,
        }
    }

    fn add_field(&mut self, field: &arrow::datatypes::Field) {
        self.columns.insert(field.name().clone());
        if let arrow::datatypes::DataType::Struct(fields) = field.data_type() {
            fields.iter().for_each(|field| self.add_field(field));
        }
    }
}

/// Names, found without regard to case.
#[derive(Default, Clone)]
struct Spellings(BTreeMap<String, BTreeSet<String>>);

impl Spellings {
    fn insert(&mut self, name: String) {
        self.0.entry(name.to_ascii_lowercase()).or_default().insert(name);
    }

    fn of(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(&name.to_ascii_lowercase())
    }

    /// In whatever case.
    fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// In this very spelling.
    fn contains(&self, name: &str) -> bool {
        self.of(name).is_some_and(|spellings| spellings.contains(name))
    }

    /// Writes a name as the known one that differs from it in case only, if there is just one.
    fn spell(&self, ident: &mut Ident) {
        if let Some(spellings) = self.of(&ident.value) {
            as_written(spellings.iter(), ident);
        }
    }
}

/// The known name that differs from `ident` in case only, if there is just one.
fn as_written<'a>(known: impl Iterator<Item = &'a String> + Clone, ident: &mut Ident) {
    if known.clone().any(|name| *name == ident.value) {
        return;
    }
    let mut alike = known.filter(|name| name.eq_ignore_ascii_case(&ident.value));
    if let (Some(name), None) = (alike.next(), alike.next()) {
        ident.value.clone_from(name);
    }
}

/// The name of a column without an alias.
pub(super) fn default_name(expr: &Expr, names: &Names) -> String {
    match expr {
        Expr::Identifier(ident) => match window_named(&ident.value) {
            Some(name) => name.to_owned(),
            None => ident.value.clone(),
        },
        Expr::CompoundIdentifier(idents) => {
            idents.last().map(|last| last.value.clone()).unwrap_or_default()
        }
        other => match window_function(other) {
            Some(name) => name.to_owned(),
            None => naming::column(other, names),
        },
    }
}

struct Spell<'a>(&'a mut Names);

impl Spell<'_> {
    fn table(&mut self, ident: &mut Ident) {
        let written = self.0.qualifiers.entry(ident.value.to_lowercase());
        written.or_insert_with(|| ident.value.clone());
        self.0.spell_table(ident);
    }

    fn alias(&mut self, alias: &mut TableAlias) {
        self.table(&mut alias.name);
        for column in &alias.columns {
            self.0.aliases.insert(column.name.value.clone());
        }
    }
}

impl VisitorMut for Spell<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.alias(&mut table.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.0.aliases.insert(alias.value.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } = table
        {
            self.alias(alias);
        }
        ControlFlow::Continue(())
    }
}
