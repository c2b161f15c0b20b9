//! Which repeats are deliberate: one statement a line.

use crate::query::role::role;
use expect_test::expect;
use homeostat_reflexes::sql::{Dialect, Normaliser};
use std::fmt::Write as _;

fn roles(dialect: Dialect, statements: &[&str]) -> String {
    let mut normaliser = Normaliser::new();
    let mut text = String::new();
    for statement in statements {
        let seen = normaliser.normalise(statement, dialect);
        let _ = writeln!(text, "{:<12} {}", format!("{:?}", role(seen.normal, seen.verb, seen.shape)), seen.normal);
    }
    text
}

#[test]
fn questions_of_a_loop_are_data() {
    let statements = [
        "SELECT * FROM items WHERE order_id = $1",
        "SELECT * FROM tags WHERE post_id = $1 AND kind IN ($2, $3)",
        "SELECT * FROM orders WHERE user_id = 5 ORDER BY created_at DESC LIMIT 1",
        "SELECT count(*) FROM likes WHERE post_id = $1",
        "SELECT 1 AS one FROM likes WHERE post_id = $1 LIMIT 1",
        "SELECT * FROM roles WHERE user_id = $1 AND role_id IN ($2, $3)",
        "SELECT * FROM comments WHERE commentable_type = 'Post' AND commentable_id = 7",
        "SELECT * FROM a WHERE id IN (SELECT a_id FROM b WHERE c_id = $1)",
        "SELECT * FROM events WHERE device_id = $1 AND at BETWEEN $2 AND $3",
        "SELECT * FROM prices WHERE sku = $1 AND valid_from <= now() ORDER BY valid_from DESC LIMIT 1",
        "SELECT * FROM prices WHERE product_id = $1 AND valid_from <= $2 ORDER BY valid_from DESC LIMIT 1",
        "SELECT b.id FROM b WHERE (b.id = $1 AND 1=1) LIMIT $2 OFFSET $3",
        "INSERT INTO audit (a, b) VALUES ($1, $2)",
        "INSERT INTO t (id, n) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET n = 3",
        "UPDATE jobs SET state = $1 WHERE id = $2",
        "DELETE FROM sessions WHERE id = 'abc'",
        "WITH x AS (SELECT * FROM a WHERE id = $1) SELECT * FROM x",
        "SELECT * FROM users WHERE id NOT IN (1, 2) AND org = $1",
    ];
    expect![[r#"
        Data         select * from items where order_id = ?
        Data         select * from tags where post_id = ? and kind in (?)
        Data         select * from orders where user_id = ? order by created_at desc limit ?
        Data         select count(*) from likes where post_id = ?
        Data         select ? as one from likes where post_id = ? limit ?
        Data         select * from roles where user_id = ? and role_id in (?)
        Data         select * from comments where commentable_type = ? and commentable_id = ?
        Data         select * from a where id in (select a_id from b where c_id = ?)
        Data         select * from events where device_id = ? and at between ? and ?
        Data         select * from prices where sku = ? and valid_from <= now() order by valid_from desc limit ?
        Data         select * from prices where product_id = ? and valid_from <= ? order by valid_from desc limit ?
        Data         select b.id from b where (b.id = ? and ? = ?) limit ? offset ?
        Data         insert into audit(a, b) values (?)
        Data         insert into t(id, n) values (?) on conflict(id) do update set n = ?
        Data         update jobs set state = ? where id = ?
        Data         delete from sessions where id = ?
        Data         with x as (select * from a where id = ?) select * from x
        Data         select * from users where id not in (?) and org = ?
    "#]]
    .assert_eq(&roles(Dialect::Postgresql, &statements));
}

#[test]
fn pages_batches_and_housekeeping_are_not() {
    let statements = [
        "SELECT * FROM items ORDER BY id LIMIT 100 OFFSET 200",
        "SELECT * FROM items WHERE order_id = 7 ORDER BY id LIMIT 100 OFFSET 200",
        "SELECT * FROM items WHERE user_id = $1 AND created_at < $2 ORDER BY created_at DESC LIMIT 50",
        "SELECT * FROM items WHERE created_at <= $1 ORDER BY created_at DESC LIMIT 50",
        "SELECT * FROM items WHERE id > 100 ORDER BY id ASC LIMIT 1000",
        "SELECT * FROM items WHERE tenant_id = 5 AND id > 100 ORDER BY items.id LIMIT 1000",
        "SELECT * FROM items WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 50",
        "SELECT * FROM items WHERE id BETWEEN 1 AND 1000",
        "SELECT * FROM items WHERE id >= 1 AND id < 1000",
        "SELECT * FROM items WHERE order_id IN ($1, $2, $3)",
        "SELECT * FROM items WHERE order_id = ANY($1)",
        "SELECT * FROM comments WHERE commentable_type = 'Post' AND commentable_id IN (1, 2, 3)",
        "SELECT * FROM items WHERE tenant_id = $1 AND order_id IN ($2, $3)",
        "SELECT * FROM items WHERE deleted = false AND order_id IN ($2, $3)",
        "DELETE FROM items WHERE id IN (1, 2)",
        "INSERT INTO t (a) VALUES (1), (2), (3)",
        "COPY t FROM STDIN",
        "SELECT 1",
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
        "SELECT nextval('seq')",
        "SELECT current_schema()",
        "SELECT typname FROM pg_catalog.pg_type WHERE oid = 25",
        "SELECT oid FROM pg_type WHERE typname = 'x'",
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'x'",
        "SET search_path TO x",
        "BEGIN",
        "SAVEPOINT sp_1",
        "RELEASE SAVEPOINT sp_1",
        "EXPLAIN SELECT * FROM t",
        "CREATE TABLE t (a int)",
        "SELECT * FROM users WHERE name = 'unterminated",
        "SELECT a, b, c FROM t WHERE ...",
        "DISCARD ALL",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "DEALLOCATE p1",
        "pg-pool.connect",
        "connect",
        "ping",
        "",
    ];
    expect![[r#"
        Page         select * from items order by id limit ? offset ?
        Page         select * from items where order_id = ? order by id limit ? offset ?
        Page         select * from items where user_id = ? and created_at < ? order by created_at desc limit ?
        Page         select * from items where created_at <= ? order by created_at desc limit ?
        Page         select * from items where id > ? order by id limit ?
        Page         select * from items where tenant_id = ? and id > ? order by items.id limit ?
        Page         select * from items where (created_at, id) < (?, ?) order by created_at desc, id desc limit ?
        Page         select * from items where id between ? and ?
        Page         select * from items where id >= ? and id < ?
        Keys         select * from items where order_id in (?)
        Batch        select * from items where order_id = any (?)
        Keys         select * from comments where commentable_type = ? and commentable_id in (?)
        Keys         select * from items where tenant_id = ? and order_id in (?)
        Keys         select * from items where deleted = ? and order_id in (?)
        Keys         delete from items where id in (?)
        Batch        insert into t(a) values (?)
        Batch        copy t from stdin
        Housekeeping select ?
        Housekeeping select pg_advisory_unlock_all(); close all; unlisten *; reset all
        Housekeeping select nextval(?)
        Housekeeping select current_schema()
        Housekeeping select typname from pg_catalog.pg_type where oid = ?
        Housekeeping select oid from pg_type where typname = ?
        Housekeeping select column_name from information_schema.columns where table_name = ?
        Housekeeping set search_path to x
        Housekeeping begin
        Housekeeping savepoint sp_1
        Housekeeping release savepoint sp_1
        Housekeeping explain select * from t
        Housekeeping create table t(a int)
        Cut          select * from users where name = ?
        Cut          select a, b, c from t where . . .
        Housekeeping discard all
        Housekeeping show transaction isolation level
        Housekeeping deallocate p1
        Housekeeping pg - pool.connect
        Housekeeping connect
        Housekeeping ping
        Data         
    "#]]
    .assert_eq(&roles(Dialect::Postgresql, &statements));
}

#[test]
fn other_stores_have_their_own_words() {
    let statements = [
        r#"{"find":"reviews","filter":{"productid":{"buffer":"?"}}}"#,
        r#"{"find":"reviews","filter":{"productid":17}}"#,
        r#"{"find":"reviews","filter":{"productid":{"$in":[1,2]}}}"#,
        r#"{"find":"reviews","skip":20,"limit":10}"#,
        r#"{"getMore":123,"collection":"reviews"}"#,
        r#"{"insert":"reviews","documents":[{"a":1}]}"#,
        r#"{"aggregate":"x","pipeline":[{"$match":{"a":1}}]}"#,
        r#"{"ping":1}"#,
        "GET key",
        "HGETALL user:17",
        "MATCH (n:Person {id: $id}) RETURN n",
        "SELECT TOP 10 * FROM [dbo].[Orders] WHERE [CustomerId] = @p0",
        "SELECT * FROM [Orders] ORDER BY [Id] OFFSET 10 ROWS FETCH NEXT 10 ROWS ONLY",
        "select 1 from dual",
        "reviews.find",
    ];
    expect![[r#"
        Data         {"find":"reviews","filter":{"productid":{"buffer":?}}}
        Data         {"find":"reviews","filter":{"productid":?}}
        Batch        {"find":"reviews","filter":{"productid":{"$in":[?]}}}
        Page         {"find":"reviews","skip":?,"limit":?}
        Page         {"getMore":?,"collection":"reviews"}
        Data         {"insert":"reviews","documents":[{"a":?}]}
        Data         {"aggregate":"x","pipeline":[{"$match":{"a":?}}]}
        Housekeeping {"ping":?}
        Data         get ?
        Data         hgetall ?
        Data         match (n : person ?) return n
        Data         select top ? * from dbo.`Orders` where `CustomerId` = ?
        Page         select * from `Orders` order by `Id` offset ? rows fetch next ? rows only
        Housekeeping select ? from dual
        Data         reviews.find
    "#]]
    .assert_eq(&roles(Dialect::Generic, &statements));
}

#[test]
fn mysql_and_sqlite_have_theirs() {
    let statements = [
        "SELECT * FROM `items` WHERE `order_id` = 5",
        "SELECT * FROM items LIMIT 10, 20",
        "SELECT @@session.transaction_isolation",
        "SELECT LAST_INSERT_ID()",
        "SHOW FULL FIELDS FROM `users`",
        "SELECT sqlite_version(*)",
        "SELECT name FROM sqlite_master WHERE type = 'table'",
        "PRAGMA table_info(x)",
    ];
    expect![[r#"
        Data         select * from items where order_id = ?
        Page         select * from items limit ?, ?
        Housekeeping select @@session.transaction_isolation
        Housekeeping select last_insert_id()
        Housekeeping show full fields from users
        Housekeeping select sqlite_version(*)
        Housekeeping select name from sqlite_master where type = ?
        Housekeeping pragma table_info(x)
    "#]]
    .assert_eq(&roles(Dialect::Mysql, &statements));
}
