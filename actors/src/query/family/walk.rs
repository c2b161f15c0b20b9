//! One walk over a syntax tree for everything that only looks at it. The code of a walk is made for each visitor anew and is
//! large, so there is one visitor, and who looks is called by it.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Visit, Visitor};

use super::GO_ON;

/// What a walk comes by, from the outside inwards.
pub(super) enum Node<'n> {
    Query(&'n Query),
    Relation(&'n ObjectName),
    Expr(&'n Expr),
}

/// Calls `see` for every node of a tree, with how many queries of that tree are around it.
pub(super) fn walk(tree: &impl Visit, see: &mut dyn FnMut(usize, Node<'_>)) {
    let _: ControlFlow<()> = tree.visit(&mut Walk { depth: 0, see });
}

struct Walk<'w> {
    depth: usize,
    see: &'w mut dyn FnMut(usize, Node<'_>),
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        (self.see)(self.depth, Node::Query(query));
        self.depth += 1;
        GO_ON
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        GO_ON
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        (self.see)(self.depth, Node::Relation(relation));
        GO_ON
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        (self.see)(self.depth, Node::Expr(expr));
        GO_ON
    }
}
