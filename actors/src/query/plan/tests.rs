use super::*;
use serde_json::json;

fn columns(root: &Value) -> Vec<String> {
    candidates(root).into_iter().map(|found| format!("{}.{} ({})", found.schema, found.table, found.columns.join(", "))).collect()
}

fn scan(table: &str, filter: &str) -> Value {
    json!({ "Node Type": "Seq Scan", "Schema": "public", "Relation Name": table, "Alias": table, "Total Cost": 1000.0, "Filter": filter })
}

#[test]
fn a_normal_form_becomes_a_statement_that_can_be_prepared() {
    for (normal, text, parameters) in [
        ("select * from t where a = ? and b in (?) limit ?", "select * from t where a = $1 and b in ( $2 , $3 , $4 ) limit 100", 4),
        ("select * from t order by a offset ? limit ?", "select * from t order by a offset 0 limit 100", 0),
        ("select * from \"Bar\".\"Foo\" where \"Id\" = ?", "select * from \"Bar\" . \"Foo\" where \"Id\" = $1", 1),
        ("delete from t where at < now() - interval ?", "delete from t where at < now ( ) - interval '1'", 0),
        ("select * from t where active is ?", "select * from t where active is TRUE", 0),
        ("select * from t where d > date ?", "select * from t where d > date '2000-01-01'", 0),
    ] {
        assert_eq!(statement(normal, 100), Some(Statement { text: text.to_owned(), parameters }), "{normal}");
    }
    for broken in
        ["select * from", "select ?; drop table t", "", "((((", "select a from t order by ?", "select a, count(*) from t group by ?"]
    {
        assert_eq!(statement(broken, 100), None, "{broken}");
    }
}

#[test]
fn a_filter_gives_what_is_equal_first_and_then_what_bounds() {
    let root = scan("orders", "((orders.total > $3) AND (orders.customer_id = $1) AND ((orders.status)::text = ANY (ARRAY[$2, $4])))");
    assert_eq!(
        columns(&root),
        [
            "public.orders (customer_id, status, total)",
            "public.orders (customer_id, status)",
            "public.orders (customer_id)",
            "public.orders (status)",
            "public.orders (total)"
        ]
    );
}

#[test]
fn branches_of_or_are_columns_by_themselves() {
    let root = scan("c", "((c.name = $1) OR (c.email = $2))");
    assert_eq!(columns(&root), ["public.c (name)", "public.c (email)"]);
}

#[test]
fn what_stands_beside_a_subplan_is_read() {
    let root = scan("t", "((NOT (hashed SubPlan 1)) AND (t.a = $1) AND (t.\"B c\" IS NULL))");
    assert_eq!(columns(&root)[0], "public.t (a, B c)");
}

#[test]
fn joins_and_orders_are_of_the_relations_below() {
    let root = json!({ "Node Type": "Sort", "Total Cost": 3000.0, "Sort Key": ["o.created_at DESC", "o.id DESC"], "Plans": [
        { "Node Type": "Hash Join", "Total Cost": 2500.0, "Hash Cond": "(i.order_id = o.id)", "Plans": [
            { "Node Type": "Seq Scan", "Schema": "public", "Relation Name": "order_items", "Alias": "i", "Total Cost": 1500.0 },
            { "Node Type": "Seq Scan", "Schema": "shop", "Relation Name": "orders", "Alias": "o", "Total Cost": 900.0,
              "Filter": "(o.customer_id = $1)" }] }] });
    assert_eq!(
        columns(&root),
        [
            "public.order_items (order_id)",
            "shop.orders (customer_id, created_at, id)",
            "shop.orders (id, customer_id)",
            "shop.orders (customer_id)",
            "shop.orders (id)",
            "shop.orders (created_at, id)",
            "shop.orders (created_at)"
        ]
    );
}

#[test]
fn cheap_scans_and_the_databases_own_tables_are_left_alone() {
    let root = json!({ "Node Type": "Nested Loop", "Total Cost": 1000.0, "Plans": [
        { "Node Type": "Seq Scan", "Schema": "public", "Relation Name": "states", "Alias": "s", "Total Cost": 1.6, "Filter": "(s.name = $1)" },
        { "Node Type": "Seq Scan", "Schema": "pg_catalog", "Relation Name": "pg_class", "Alias": "c", "Total Cost": 900.0, "Filter": "(c.relname = $1)" }] });
    assert!(columns(&root).is_empty());
}

#[test]
fn anything_else_is_no_plan() {
    for nonsense in [json!(null), json!([]), json!({ "Plans": 7 }), json!({ "Relation Name": 1 })] {
        assert!(candidates(&nonsense).is_empty());
        assert_eq!(cost(&nonsense), None);
    }
}

#[test]
fn what_runs_for_every_row_costs_as_often() {
    let root = json!({ "Node Type": "Seq Scan", "Schema": "public", "Relation Name": "customers", "Alias": "c", "Total Cost": 900_000.0, "Plan Rows": 1000,
        "Filter": "(c.id < $1)", "Plans": [{ "Node Type": "Aggregate", "Parent Relationship": "SubPlan", "Total Cost": 800.0, "Plan Rows": 1, "Plans": [
            { "Node Type": "Seq Scan", "Parent Relationship": "Outer", "Schema": "public", "Relation Name": "orders", "Alias": "o", "Total Cost": 799.0,
              "Filter": "(o.customer_id = c.id)" }] }] });
    assert!(columns(&root).contains(&"public.orders (customer_id)".to_owned()), "{:?}", columns(&root));
}
