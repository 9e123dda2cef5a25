//! A table that was there before us, as a user has one: adopted as it is, or refused before anything is done.

use anyhow::{Context, Result};
use e2e::{Servers, System};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, MySqlPool, Row};

use crate::every_type::{forget, refusal, until_persisted};

const ID: &str = "id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY";

/// A system whose database somebody has used for years.
async fn with_tables(statements: &[&str]) -> Result<System> {
    let system = System::prepare(Servers::shared())?;
    let root = Box::pin(MySqlPool::connect(&system.accounts.root)).await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.replace("{ID}", ID))).execute(&root).await.context("a statement")?;
    }
    Ok(system)
}

async fn tag(system: &System, id: &str) -> Result<(String, i64)> {
    let row = sqlx::query("SELECT CAST(tag AS CHAR), CAST(version AS SIGNED) FROM users WHERE id = ?").bind(id);
    let row = row.fetch_one(&system.table().await?).await?;
    Ok((row.get(0), row.get(1)))
}

#[tokio::test]
async fn a_table_of_users_that_was_there_is_read_written_and_deleted_from_as_our_own() -> Result<()> {
    let system = with_tables(&[
        "CREATE TABLE users ({ID}, name VARCHAR(300) NOT NULL, age SMALLINT NOT NULL, tag VARCHAR(9) NOT NULL DEFAULT 'none', \
         KEY ages (age)) DEFAULT CHARSET=utf8mb4",
        "INSERT INTO users (id, name, age, tag) VALUES ('1', 'Ann', 31, 'mine'), ('2', 'Bob', 32, 'mine'), \
         ('3', 'Cid', 33, 'mine')",
    ])
    .await?
    .up()
    .await?;

    let shown = system.call(Method::GET, "/users/1", None).await?;
    assert_eq!(
        (&shown.headers()["etag"], &shown.headers()["write-behind-state"]),
        (&"\"0\"".parse()?, &"persisted".parse()?)
    );
    let ann = r#"{"id":"1","name":"Ann","age":31,"occupation":null,"first_name":null,"last_name":null}"#;
    assert_eq!(shown.text().await?, ann);
    // The second time it comes from the cache.
    let again = system.call(Method::GET, "/users/1", None).await?;
    assert_eq!((&again.headers()["etag"], again.status()), (&"\"0\"".parse()?, StatusCode::OK));
    assert_eq!(again.text().await?, ann);

    let version = system.put("users", "1", &json!({ "name": "Eve", "age": 35 })).await?["version"].as_i64();
    system.call(Method::DELETE, "/users/2", None).await?.error_for_status()?;
    system.put("users", "4", &json!({ "name": "Dan", "age": 34 })).await?;
    for id in ["1", "4"] {
        until_persisted(&system, &format!("/users/{id}")).await?;
    }
    forget(&system, "users:1").await?;
    let shown: Value = system.call(Method::GET, "/users/1", None).await?.json().await?;
    assert_eq!((&shown["name"], &shown["age"]), (&json!("Eve"), &json!(35)));
    assert_eq!(system.call(Method::GET, "/users/2", None).await?.status(), 404);
    assert_eq!(tag(&system, "1").await?, ("mine".to_owned(), version.context("a version")?), "a column of theirs");
    assert_eq!(tag(&system, "3").await?, ("mine".to_owned(), 0), "a row that nobody wrote");
    assert_eq!(tag(&system, "4").await?.0, "none", "a new row has their default");

    let table = system.table().await?;
    system
        .eventually("the view shows what is not deleted", async || {
            let ids: Vec<String> =
                sqlx::query_scalar("SELECT id FROM users_live ORDER BY id").fetch_all(&table).await?;
            Ok(ids == ["1", "3", "4"])
        })
        .await
}

#[tokio::test]
async fn a_table_that_cannot_be_adopted_is_refused_once_by_name_and_nothing_is_published() -> Result<()> {
    let system = with_tables(&["CREATE TABLE users ({ID}, name DATE)"]).await?;
    let ids = system.schemas.join("ids.json");
    std::fs::remove_file(&ids)?;
    let said = refusal(&system.spec("persister", "migrate", &system.accounts.migrate).arg("migrate"))?;
    let why = "table users, column name: is date, of which VARCHAR(255)";
    assert!(said.contains(why) && said.contains("rename the one in the table"), "{said}");
    assert!(!said.contains("table users: table users"), "the table is named twice: {said}");
    assert!(!ids.exists(), "an id was published although the table is refused");
    Ok(())
}
