//! The house's own entity, in its newest version, with all that a client may say of it.

pub(crate) const SCHEMA: &str = include_str!("../../../../schemas/users/v2.avsc");

pub(crate) const BODY: &str = r#"{"name":"Johannes Doe","age":30,"occupation":"Engineer for turbines","first_name":"Johannes","last_name":"Doe"}"#;

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "made, and not looked at")]
pub(crate) struct User {
    name: String,
    age: i32,
    occupation: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
}
