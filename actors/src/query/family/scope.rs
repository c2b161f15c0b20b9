//! Which name stands for which table, from the inside outwards.

use sqlparser::ast::{FromTable, Ident, ObjectName, Statement, TableFactor, TableObject, TableWithJoins, UpdateTableFromKind};

/// What one relation in `FROM` is called.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The name by which columns refer to it.
    pub(super) called: String,
    /// The table behind it; `None` for a subquery or a function.
    pub(super) table: Option<String>,
}

/// The last part of a name.
pub(super) fn last_part(name: &ObjectName) -> &str {
    name.0.last().and_then(|part| part.as_ident()).map_or("", |ident| ident.value.as_str())
}

/// A name without quotes.
pub(super) fn full_name(name: &ObjectName) -> String {
    let parts: Vec<&str> = name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.as_str()).collect();
    parts.join(".")
}

/// Calls `each` with every table factor of a list, also those joined in brackets, without entering subqueries.
pub(super) fn for_each_factor<'a>(tables: &'a [TableWithJoins], each: &mut impl FnMut(&'a TableFactor)) {
    for table in tables {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    for_each_factor(std::slice::from_ref(table_with_joins), each);
                }
                other => each(other),
            }
        }
    }
}

/// What a table factor is called.
pub(super) fn relation(factor: &TableFactor) -> Relation {
    match factor {
        TableFactor::Table { name, alias, args, .. } => Relation {
            called: alias.as_ref().map_or_else(|| last_part(name).to_owned(), |alias| alias.name.value.clone()),
            table: args.is_none().then(|| full_name(name)),
        },
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => {
            Relation { called: alias.as_ref().map_or_else(String::new, |alias| alias.name.value.clone()), table: None }
        }
        _ => Relation { called: String::new(), table: None },
    }
}

/// The tables that a statement other than a query names outside of its subqueries.
pub(super) fn statement_lists(statement: &Statement) -> Vec<&[TableWithJoins]> {
    match statement {
        Statement::Update(update) => {
            let mut lists = vec![std::slice::from_ref(&update.table)];
            match &update.from {
                Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => lists.push(tables),
                None => {}
            }
            lists
        }
        Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            let mut lists: Vec<&[TableWithJoins]> = vec![from];
            lists.extend(delete.using.as_deref());
            lists
        }
        _ => Vec::new(),
    }
}

/// The table that a statement inserts into, and its alias.
pub(super) fn insert_target(statement: &Statement) -> Option<Relation> {
    let Statement::Insert(insert) = statement else { return None };
    let TableObject::TableName(name) = &insert.table else { return None };
    let called = insert.table_alias.as_ref().map_or_else(|| last_part(name).to_owned(), |alias| alias.alias.value.clone());
    Some(Relation { called, table: Some(full_name(name)) })
}

/// Finds what a qualifier stands for, the innermost scope first.
pub(super) fn find<'s, T>(scopes: &'s [Vec<T>], qualifier: &Ident, called: impl Fn(&T) -> &str) -> Option<(usize, &'s T)> {
    let (depth, index) = place(scopes, qualifier, called)?;
    Some((depth, scopes.get(depth)?.get(index)?))
}

/// As [`find`], by the depth of the scope and the index in it.
pub(super) fn place<T>(scopes: &[Vec<T>], qualifier: &Ident, called: impl Fn(&T) -> &str) -> Option<(usize, usize)> {
    let scopes = scopes.iter().enumerate().rev();
    scopes.into_iter().find_map(|(depth, scope)| Some((depth, scope.iter().position(|one| called(one) == qualifier.value)?)))
}
